"""From what a user says of weights (nothing, a tag, a path, a hub address) to a verified file on this machine."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusekit.errors import UnknownNameError, WeightsError
from fusekit.machine.files import sha256_of
from fusekit.registry.specs import ModelSpec, WeightsSpec
from fusekit.weights.hub import WEIGHTS, download

_HUB = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class ResolvedWeights:
    """A weights file on this machine.

    Attributes:
        name: what the record calls it, such as ``ehdran.ct-mri``.
        path: the safetensors file.
        sha256: of its bytes.
        origin: ``bundled``, ``file`` or ``hub:owner/name@commit``.
        modalities: of the images that they were trained on; empty where nothing is known.
    """

    name: str
    path: Path
    sha256: str
    origin: str
    modalities: tuple[str, ...] = ()


def bundled_folders() -> list[Path]:
    """Return the folders that hold bundled weights: inside the installed package, and in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    folders = [package / "_weights"]
    if (package.parent / "pyproject.toml").is_file():
        folders.insert(0, package.parent / "weights")
    return [folder for folder in folders if folder.is_dir()]


def find_bundled(model: str, file: str) -> Path | None:
    """Return the bundled file of a model, or ``None``.

    ``file`` is a name under ``weights/<model>/``, or ``package:path`` for weights that a plugin ships itself.
    """
    package, separator, inside = file.partition(":")
    if separator:
        found = importlib.util.find_spec(package)
        places = [Path(each) / inside for each in (found.submodule_search_locations or [])] if found else []
    else:
        places = [folder / model / file for folder in bundled_folders()]
    return next((path for path in places if path.is_file()), None)


def is_hub_address(text: str) -> bool:
    """Return whether ``text`` is ``hub:owner/name`` with or without ``@revision``."""
    return text.startswith("hub:")


def resolve(
    spec: ModelSpec, weights: str | Path | None = None, modalities: Sequence[str] = ()
) -> ResolvedWeights | None:
    """Find, fetch if need be, and verify the weights of a model.

    Args:
        spec: the model.
        weights: ``None`` for those that fit the modalities, or else the model's default; a tag; a file or folder; or
            ``hub:owner/name[@revision]``.
        modalities: that the sources show, as `modality_of` calls them; empty if unknown.

    Returns:
        the file, or ``None`` where nothing was asked and the model has no weights of its own.

    Raises:
        UnknownNameError: no such tag.
        WeightsError: no such file, not to be had from the hub, or another digest than the spec's.
    """
    if weights is None:
        fitting = spec.weights_for(modalities)
        return None if fitting is None else _of_spec(spec, fitting)
    text = str(weights)
    if isinstance(weights, str) and is_hub_address(text):
        return from_hub(text)
    named = spec.find_weights(text)
    if named is not None:
        return _of_spec(spec, named)
    path = Path(weights)
    if path.exists() or isinstance(weights, Path) or path.suffix or len(path.parts) > 1:
        return from_path(path)
    tags = [each.tag for each in spec.weights]
    raise UnknownNameError(f"weights of {spec.id!r}", text, tags, "or give a file, a folder or hub:owner/name")


def from_path(path: Path) -> ResolvedWeights:
    """Return the weights of a file, or of a folder that holds ``model.safetensors``."""
    if path.is_dir():
        inside = path / WEIGHTS
        if not inside.is_file():
            raise WeightsError(f"the folder {path} holds no {WEIGHTS}; name the weights file itself")
        path = inside
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}; check the path, or see 'fusekit list weights'")
    return ResolvedWeights(path.name, path, sha256_of(path), "file")


def from_hub(address: str) -> ResolvedWeights:
    """Fetch ``model.safetensors`` of ``hub:owner/name[@revision]`` into the hub's cache, unless it is there."""
    repository, revision = parse_hub_address(address)
    path, commit = download(repository, WEIGHTS, revision)
    return ResolvedWeights(repository, path, sha256_of(path), f"hub:{repository}@{commit}")


def parse_hub_address(address: str) -> tuple[str, str]:
    """Split ``hub:owner/name[@revision]`` into repository and revision (``main`` where none is given)."""
    found = _HUB.fullmatch(address)
    if found is None:
        raise WeightsError(f"{address!r} is not a hub address; write hub:owner/name or hub:owner/name@revision")
    return found["repository"], found["revision"] or "main"


def _of_spec(spec: ModelSpec, weights: WeightsSpec) -> ResolvedWeights:
    name = f"{spec.id}.{weights.tag}"
    path, origin = find_bundled(spec.id, weights.file), "bundled"
    if path is None:
        if not weights.hub:
            raise WeightsError(f"the weights {name} ({weights.file}) are not installed; reinstall, or pass a file")
        path, commit = download(weights.hub, weights.file, weights.revision)
        origin = f"hub:{weights.hub}@{commit}"
    digest = sha256_of(path)
    if weights.sha256 and digest != weights.sha256:
        raise WeightsError(
            f"{path} is not the file that {name} should be: its sha256 is {digest[:16]}… and not "
            f"{weights.sha256[:16]}…; reinstall, or remove it from the hub's cache"
        )
    return ResolvedWeights(name, path, digest, origin, weights.modalities)
