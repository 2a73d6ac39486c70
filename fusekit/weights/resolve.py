"""From what a user says of weights (nothing, a tag, a path, a hub address) to a verified file on this machine."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusekit.errors import UnknownNameError, WeightsError
from fusekit.machine.files import is_folder, sha256_of, stat_of, why
from fusekit.registry.specs import ModelSpec, WeightsSpec
from fusekit.weights.folders import Held, is_checkpoint, of_checkpoint, weights_in
from fusekit.weights.hub import WEIGHTS, download
from fusekit.weights.metadata import read_metadata

_HUB = re.compile(r"hub:(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_PIN = "#sha256="


@dataclass(frozen=True)
class ResolvedWeights:
    """A weights file on this machine.

    Attributes:
        name: what the record calls it, such as ``ehdran.ct-mri``.
        path: the safetensors file.
        sha256: of its bytes.
        origin: ``bundled``, ``file`` or ``hub:owner/name@commit``.
        modalities: of the images that they were trained on; empty where nothing is known.
        prefix: before the model's keys in the file; a run's checkpoint holds more than one set.
        note: what a user has to know of them; empty where there is nothing.
    """

    name: str
    path: Path
    sha256: str
    origin: str
    modalities: tuple[str, ...] = ()
    prefix: str = ""
    note: str = ""


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
    spec: ModelSpec | None, weights: str | Path | None = None, modalities: Sequence[str] = ()
) -> ResolvedWeights | None:
    """Find, fetch if need be, and verify the weights of a model.

    Args:
        spec: the model; ``None`` where none is known, and then there are no tags.
        weights: ``None`` for those that fit the modalities, or else the model's default; a tag; a file or folder; or
            ``hub:owner/name[@revision]``. Behind any of them ``#sha256=DIGEST`` says which file it must be.
        modalities: that the sources show, as `modality_of` calls them; empty if unknown.

    Returns:
        the file, or ``None`` where nothing was asked and the model has no weights of its own.

    Raises:
        UnknownNameError: no such tag.
        WeightsError: no such file, not to be had from the hub, or another digest than the spec's or the user's.
    """
    if weights is None:
        fitting = None if spec is None else spec.weights_for(modalities)
        return None if spec is None or fitting is None else _of_spec(spec, fitting)
    text, digest = split_pin(str(weights))
    named = None if spec is None else spec.find_weights(text)
    if spec is not None and named is not None:
        found = _of_spec(spec, named)
    elif is_hub_address(text):
        found = from_hub(text)
    elif is_path(text) or isinstance(weights, Path):
        found = from_path(Path(text))
    else:
        of, tags = ("weights", []) if spec is None else (f"weights of {spec.id!r}", [each.tag for each in spec.weights])
        raise UnknownNameError(of, text, tags, "or give a file, a folder or hub:owner/name")
    return pinned(found, digest)


def split_pin(text: str) -> tuple[str, str | None]:
    """Split ``…#sha256=DIGEST`` into what names the weights and the digest, ``None`` where none is given.

    Raises:
        WeightsError: it is no SHA-256 in hexadecimal digits.
    """
    name, mark, digest = text.rpartition(_PIN)
    if not mark:
        return text, None
    if not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise WeightsError(f"the sha256 of {name} must be its 64 hexadecimal digits, not {digest[:80]!r}")
    return name, digest.lower()


def pinned(found: ResolvedWeights, digest: str | None) -> ResolvedWeights:
    """Return the weights, if their file has the digest that the user names.

    Raises:
        WeightsError: it has another.
    """
    if digest is not None and found.sha256 != digest:
        remedy = "or remove it from the hub's cache" if found.origin.startswith("hub:") else "or copy the file again"
        raise WeightsError(
            f"{found.path} is not the file that was asked for: its sha256 is {found.sha256} and not {digest}; correct "
            f"the digest, {remedy}"
        )
    return found


def is_path(text: str) -> bool:
    """Return whether a text is a path: of something that is there, or with a folder or an extension."""
    path = Path(text)
    try:
        there = stat_of(path) is not None
    except OSError:
        there = True
    return there or bool(path.suffix) or len(path.parts) > 1


def from_path(path: Path) -> ResolvedWeights:
    """Return the weights of a file, of a folder of `model.save`, or of a run of ``fusekit train``.

    Raises:
        WeightsError: there are none, or the file cannot be read.
    """
    if is_folder(path):
        held = weights_in(path)
    else:
        metadata = read_metadata(path)
        held = of_checkpoint(path, metadata) if is_checkpoint(metadata) else Held(path)
    return ResolvedWeights(held.path.name, held.path, digest_of(held.path), "file", prefix=held.prefix, note=held.note)


def from_hub(address: str) -> ResolvedWeights:
    """Fetch ``model.safetensors`` of ``hub:owner/name[@revision]`` into the hub's cache, unless it is there.

    A commit that is there is not asked for; the origin of what a branch or tag leads to names its commit.
    """
    repository, revision = parse_hub_address(address)
    path, commit = download(repository, WEIGHTS, revision)
    return ResolvedWeights(repository, path, digest_of(path), f"hub:{repository}@{commit}")


def parse_hub_address(address: str) -> tuple[str, str]:
    """Split ``hub:owner/name[@revision]`` into repository and revision (``main`` where none is given)."""
    found = _HUB.fullmatch(address)
    if found is None:
        raise WeightsError(f"{address!r} is not a hub address; write hub:owner/name or hub:owner/name@revision")
    return found["repository"], found["revision"] or "main"


def how_to_get(spec: ModelSpec) -> str:
    """Return how a user comes to weights of a model: the commands that make them, as the end of a sentence."""
    model = spec.id
    train = f"train some (fusekit train FOLDERS --model {model} -o RUN)"
    if spec.base:
        train = (
            f"train some (fusekit train FOLDERS --model {spec.base} -o BASE, then fusekit train FOLDERS --model "
            f"{model} --init BASE -o RUN)"
        )
    return (
        f"{train} or convert published ones (fusekit weights convert "
        f"CHECKPOINT --model {model} -o FILE.safetensors), and give --weights RUN or FILE.safetensors"
    )


def _of_spec(spec: ModelSpec, weights: WeightsSpec) -> ResolvedWeights:
    name = f"{spec.id}.{weights.tag}"
    path, origin = find_bundled(spec.id, weights.file), "bundled"
    if path is None:
        if not weights.hub:
            raise WeightsError(
                f"the weights {name} ({weights.file}) are not installed; reinstall them, or {how_to_get(spec)}"
            )
        path, commit = download(weights.hub, weights.file, weights.revision)
        origin = f"hub:{weights.hub}@{commit}"
    digest = digest_of(path)
    if weights.sha256 and digest != weights.sha256:
        raise WeightsError(
            f"{path} is not the file that {name} should be: its sha256 is {digest[:16]}… and not "
            f"{weights.sha256[:16]}…; reinstall, or remove it from the hub's cache"
        )
    return ResolvedWeights(name, path, digest, origin, weights.modalities)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a weights file.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {why(error)}; check its permissions, or copy it again") from error
