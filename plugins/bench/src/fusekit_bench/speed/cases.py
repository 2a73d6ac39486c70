"""What is raced, and by whom: pairs of any size; our forms of a model, the reference, anyone's function."""

from __future__ import annotations

import importlib
import itertools
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import InputError, OptionError, WeightsError, size_text
from fusekit.fusing.run import run
from fusekit.images import samples
from fusekit.images.files import read_image, write_image
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import luminance_of, unit_luminance
from fusekit.images.resample import resize_to
from fusekit.machine.devices import resolve_device, resolve_dtype
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import build_network, load
from fusekit.models.locate import locate
from fusekit.models.shapes import crop_to, pad_to_multiple
from fusekit.pipeline import fuse
from fusekit.registry.specs import ModelSpec
from fusekit.rules.base import FusionRule
from fusekit_bench.requests import Speed
from fusekit_bench.speed import reference

#: Forms that are raced whatever the model: ``composed`` is the fastest that it has.
_ALWAYS = {"composed": "fastest", "plain": "plain"}


@dataclass(frozen=True)
class Case:
    """What is raced: one model and rule on images of one size.

    Attributes:
        model: a name as for `fusekit.load`.
        rule: a name, or ``None`` for the model's own.
        device: as for `fusekit.load`.
        size: height and width.
        batch: pairs a call.
        images: two files, or ``None`` for the embedded CT and MRI.
        fit: how they are brought to the size, ``resample`` or ``mirror``.
    """

    model: str
    rule: str | None = None
    device: str = "auto"
    size: tuple[int, int] = (256, 256)
    batch: int = 1
    images: tuple[Path, Path] | None = None
    fit: str = "resample"

    def pair(self) -> list[Image]:
        """Return the two images."""
        return pair(self.images, self.size, self.fit)


@dataclass(frozen=True)
class Entrant:
    """Who fuses.

    Attributes:
        kind: ``reference``, ``tuned`` (the reference in its best form), ``ours`` or ``against``.
        form: of ours: ``composed``, ``plain``, or another one of the model.
        dtype: as for `fusekit.load`.
        backend: as for `fusekit.load`; ``None`` for its default.
        target: of ``against``, ``module:callable``.
        choices: of the tuned reference.
    """

    kind: str
    form: str = "composed"
    dtype: str = "float32"
    backend: str | None = None
    target: str = ""
    choices: reference.Choices = field(default_factory=reference.Choices)

    @property
    def label(self) -> str:
        """What the entrant is called in tables."""
        if self.kind != "ours":
            return {"reference": "reference", "tuned": "reference, tuned", "against": self.target}[self.kind]
        return " ".join(part for part in (self.form, self.dtype, self.backend) if part)


def cases(request: Speed) -> list[Case]:
    """Return the races to run."""
    lists = (request.models, request.rules or (None,), request.devices, request.sizes, request.batch)
    every = dict.fromkeys(itertools.product(*lists))
    return [Case(*each, images=request.images, fit=request.fit) for each in every]


def entrants(request: Speed, *, published: bool) -> list[Entrant]:
    """Return who runs in a race, the references first.

    Args:
        request: what races.
        published: whether the authors' order of operations is known of the race's model.
    """
    references = [Entrant("reference"), *([Entrant("tuned")] if request.tuned else [])]
    found = references if request.reference and published else []
    ours = itertools.product(request.forms, request.dtypes, request.backends or (None,))
    found += [Entrant("ours", *each) for each in dict.fromkeys(ours)]
    return found + ([Entrant("against", target=request.against)] if request.against else [])


# --- images ------------------------------------------------------------------------------------------------------


def mirrored(picture: Array, height: int, width: int) -> Array:
    """Return a picture (H, W) mirrored on at its far borders, or cut, to (height, width)."""
    missing = [(0, max(0, side - length)) for side, length in zip((height, width), picture.shape, strict=True)]
    return np.pad(picture, missing, mode="symmetric")[:height, :width].copy()


def _resampled(picture: Array, height: int, width: int) -> Array:
    """Return a picture (H, W) resampled to (height, width), in float32."""
    tensor = torch.from_numpy(picture.astype(np.float32))[None, None]
    return resize_to(tensor, (height, width))[0, 0].numpy()


def pair(files: Sequence[Path] | None, size: tuple[int, int], fit: str = "resample") -> list[Image]:
    """Return two grey images of a size, from given files or the embedded CT and MRI.

    Args:
        files: two of them, or none.
        size: height and width.
        fit: how they come to the size: ``resample``, or ``mirror`` at their far borders and cut.

    Raises:
        OptionError: not two files are given.
        InputError: one cannot be read.
    """
    paths = list(files) if files else [samples.path("ct"), samples.path("mri")]
    if len(paths) != 2:
        raise OptionError(f"--images takes two files, not {len(paths)}")
    images = []
    for path in paths:
        image = read_image(path)
        values = (mirrored if fit == "mirror" else _resampled)(luminance_of(image), *size)
        images.append(from_pixels(values if image.depth == "float32" else np.rint(values).astype(image.depth)))
    return images


def units(images: Sequence[Image], batch: int, model: FusionModel) -> list[Array]:
    """Return each image as the model takes it, shifted down by 8 rows from one to the next of a batch.

    Returns:
        one array (batch, H, W) float32 in [0, 1] an image.
    """
    luminances = [unit_luminance(image, model.spec.normalization) for image in images]
    return [np.stack([np.roll(each, 8 * index, axis=0) for index in range(batch)]) for each in luminances]


class Files:
    """Reading two PNG files and writing one with its record, as ``fusekit fuse`` does, in a folder of its own.

    Args:
        images: the sources.
        model: makes the image that is written.
        rule: for that model.
    """

    def __init__(self, images: Sequence[Image], model: FusionModel, rule: FusionRule | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fusekit-bench-")
        folder = Path(self._folder.name)
        self._sources = [folder / f"source-{number}.png" for number in (1, 2)]
        for path, image in zip(self._sources, images, strict=True):
            if image.depth == "float32":
                raise InputError("--images takes images of 8 or 16 bits, so that reading and writing PNG can be timed")
            write_image(path, image)
        self._normalization = model.spec.normalization
        self._output = folder / "fused.png"
        self._fused = fuse(self._sources, model, rule=rule)

    def read(self) -> None:
        """Read both sources."""
        for path in self._sources:
            unit_luminance(read_image(path), self._normalization)

    def write(self) -> None:
        """Write the fused image and its record."""
        self._fused.save(self._output, overwrite=True)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


# --- entrants ----------------------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """An entrant made ready for a case.

    Attributes:
        fuse: returns the fused images (B, 1, H, W), raw.
        network: ``None`` of others' functions.
        rule: of the network.
        sources: what ``fuse`` fuses: tensors (B, 1, H, W), or for others' functions arrays (B, H, W).
        facts: device, dtype, backend and form that run.
        report: returns what the rule says of the last fusion.
    """

    fuse: Callable[[], Tensor]
    network: FusionModel | None
    rule: FusionRule | None
    sources: Sequence[Any]
    facts: dict[str, Any]
    report: Callable[[], dict[str, Any]] = dict


def has_weights(network: FusionModel) -> bool:
    """Return whether trained weights are loaded, or none are needed."""
    made_of = network.provenance
    return (made_of is not None and made_of.weights is not None) or not any(True for _ in network.parameters())


def load_form(case: Case, entrant: Entrant) -> FusionModel:
    """Load a model as an entrant runs it; who brings other code gets the plain modules, which set nothing.

    A model that comes without trained weights has initial ones: times do not depend on their values.

    Raises:
        FusekitError: of `fusekit.load`; or there is no such form.
    """
    form = entrant.form if entrant.kind == "ours" else "plain"
    options: dict[str, Any] = {"form": _ALWAYS.get(form, form)}
    if entrant.backend is not None:
        options["backend"] = entrant.backend
    try:
        network = load(case.model, device=case.device, dtype=entrant.dtype, **options)
    except WeightsError:
        located = locate(case.model, None)
        if located.weights is not None:
            raise
        network = _initial(located.spec, case.device, entrant.dtype, **options)
    if form not in _ALWAYS and network.form != form:
        raise OptionError(
            f"the model {case.model!r} has no form {form!r} here and would run {network.form!r}; "
            f"choose {', '.join(_ALWAYS)}"
        )
    return network


def _initial(spec: ModelSpec, device: str, dtype: str, form: str, backend: str = "auto") -> FusionModel:
    """Return a model with initial weights, as `fusekit.load` returns one with trained weights."""
    network = build_network(spec, dict(spec.config))
    network.to(resolve_device(device), torch.float32 if dtype == "auto" else resolve_dtype(dtype))
    return network.eval().use_form(form).use_backend(backend)


def prepare(case: Case, entrant: Entrant) -> Ready:
    """Make an entrant ready: load the model, put the images where it takes them from.

    Raises:
        FusekitError: a choice that this machine cannot serve, or a function that does not fuse.
    """
    images = case.pair()
    if entrant.kind == "against":
        return _prepare_other(case, entrant, images)
    network = load_form(case, entrant)
    rule = network.choose_rule(case.rule)
    given = units(images, case.batch, network)
    sources = [torch.from_numpy(each)[:, None].to(network.device, network.dtype) for each in given]
    if entrant.kind != "ours":
        network = reference.published(network, entrant.choices)
        rule = reference.published_rule(rule, entrant.choices)

    said: dict[str, Any] = {}

    @torch.inference_mode()
    def fuse_batch() -> Tensor:
        padded = [pad_to_multiple(source, network.spec.multiple, network.spec.padding) for source in sources]
        fusion = network.run(padded, rule)
        said.update(_of_batch(fusion.report) if fusion.report else {})
        return crop_to(fusion.image, sources[0].shape[2:])

    def fuse_one() -> Tensor:
        (found,) = run(network, [[each[0] for each in given]], rule)
        said.update(found.report)
        return torch.from_numpy(found.image)[None, None]

    # What `fusekit fuse` runs may cut an image into tiles; the authors' code does not.
    as_fused = entrant.kind == "ours" and case.batch == 1 and network.device.type == "cpu"
    return Ready(fuse_one if as_fused else fuse_batch, network, rule, sources, machine(network), lambda: dict(said))


def _of_batch(reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a rule says of all images of a batch: what it says of one, with the counts of each source of all."""
    found = dict(reports[0])
    if counts := [each["decomposed_channels"] for each in reports if "decomposed_channels" in each]:
        found["decomposed_channels"] = [list(itertools.chain(*of_source)) for of_source in zip(*counts, strict=True)]
    return found


def tuned(entrant: Entrant, case: Case) -> Entrant:
    """Return the tuned reference with the choices that serve it best, and others as they are."""
    if entrant.kind != "tuned":
        return entrant
    ready = prepare(case, entrant)
    assert ready.network is not None
    rule = ready.network.choose_rule(case.rule)
    return replace(entrant, choices=reference.choose(ready.network, rule, ready.sources))


def _prepare_other(case: Case, entrant: Entrant, images: Sequence[Image]) -> Ready:
    function = import_attribute(entrant.target)
    if not callable(function):
        raise OptionError(f"--against {entrant.target} is not callable; it is to fuse a list of two arrays (H, W)")
    given = units(images, case.batch, load_form(case, entrant))
    for array in given:
        array.flags.writeable = False
    pairs = [[array[index] for array in given] for index in range(case.batch)]

    def fuse() -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(function(each), dtype=np.float32) for each in pairs]))[:, None]

    return Ready(fuse, None, None, given, {"device": None, "dtype": None, "backend": None, "form": None})


def import_attribute(target: str) -> Any:
    """Import ``module:attribute``, someone's code to be timed; the module is looked for in the current folder too.

    Raises:
        OptionError: it is not of that form, or cannot be imported.
    """
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise OptionError(f"--against takes MODULE:ATTRIBUTE, not {target!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise OptionError(f"--against {target} cannot be imported: {type(error).__name__}: {error}") from error


def first_output(case: Case, entrant: Entrant, ready: Ready) -> Tensor:
    """Return the raw fused images (B, 1, H, W), float32 on the CPU, once they are known to be such.

    Raises:
        OptionError: another's function fails or returns something else, or an image is not finite.
    """
    size = size_text(case.size)
    try:
        images = ready.fuse().float().cpu()
    except Exception as error:
        if entrant.kind != "against":
            raise
        raise OptionError(
            f"--against {entrant.target} fails for two images of {size} pixels: {type(error).__name__}: {error}"
        ) from error
    if tuple(images.shape) != (case.batch, 1, *case.size):
        raise OptionError(
            f"--against {entrant.target} returns arrays of shape {tuple(images.shape[2:])} for two images of {size} "
            "pixels; it is to return one array (H, W)"
        )
    if not images.isfinite().all():
        raise OptionError(f"{entrant.label} gives values that are not finite; times of it would say nothing")
    return images
