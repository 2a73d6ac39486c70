"""Who races: our forms of a model, the oracles, and anyone else's function, made ready for one pair of images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fusekit.errors import OptionError, size_text
from fusekit.fusing.run import run_model
from fusekit.images.image import Image
from fusekit.models.base import EncoderDecoder, FusionModel
from fusekit.models.describe import machine
from fusekit.models.load import load
from fusekit.models.shapes import crop_to, pad_to_multiple
from fusekit.rules.base import FusionRule
from fusekit_bench import speed_oracle
from fusekit_bench.adapters import import_attribute
from fusekit_bench.speed_images import pair, units
from fusekit_bench.speed_race import Stopwatch

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
    images: tuple[str, str] | None = None
    fit: str = "resample"

    def pair(self) -> list[Image]:
        """Return the two images."""
        return pair([Path(each) for each in self.images] if self.images else None, self.size, self.fit)


@dataclass(frozen=True)
class Entrant:
    """One way to fuse.

    Attributes:
        kind: ``oracle``, ``tuned`` (the oracle in its best form), ``ours`` or ``against``.
        form: of ours: ``composed``, ``plain``, or another one of the model.
        dtype: as for `fusekit.load`.
        backend: as for `fusekit.load`; ``None`` for its default.
        target: of ``against``, ``module:callable``.
        choices: of the tuned oracle.
    """

    kind: str
    form: str = "composed"
    dtype: str = "float32"
    backend: str | None = None
    target: str = ""
    choices: speed_oracle.Choices = field(default_factory=speed_oracle.Choices)

    @property
    def label(self) -> str:
        """What the entrant is called in tables."""
        if self.kind != "ours":
            return {"oracle": "oracle", "tuned": "oracle, tuned", "against": self.target}[self.kind]
        return " ".join(part for part in (self.form, self.dtype, self.backend) if part)


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


def load_form(case: Case, entrant: Entrant) -> FusionModel:
    """Load a model as an entrant runs it; who brings other code gets the plain modules, which set nothing.

    Raises:
        FusekitError: of `fusekit.load`; or there is no such form.
    """
    form = entrant.form if entrant.kind == "ours" else "plain"
    options: dict[str, Any] = {"form": _ALWAYS.get(form, form)}
    if entrant.backend is not None:
        options["backend"] = entrant.backend
    network = load(case.model, device=case.device, dtype=entrant.dtype, **options)
    if form not in _ALWAYS and network.form != form:
        raise OptionError(
            f"the model {case.model!r} has no form {form!r} here and would run {network.form!r}; "
            f"choose {', '.join(_ALWAYS)}"
        )
    return network


def prepare(case: Case, entrant: Entrant, images: Sequence[Image]) -> Ready:
    """Make an entrant ready: load the model, put the images where it takes them from.

    Raises:
        FusekitError: a choice that this machine cannot serve, or a function that does not fuse.
    """
    if entrant.kind == "against":
        return _prepare_other(case, entrant, images)
    network = load_form(case, entrant)
    rule = network.choose_rule(case.rule)
    parameter = next(network.parameters(), torch.zeros(()))
    given = units(images, case.batch, network)
    sources = [torch.from_numpy(each)[:, None].to(parameter.device, parameter.dtype) for each in given]
    if entrant.kind in ("oracle", "tuned"):
        network = speed_oracle.published(network, entrant.choices)
        rule = speed_oracle.published_rule(rule, entrant.choices)

    ran: list[Any] = []

    @torch.inference_mode()
    def fuse() -> Tensor:
        padded = [pad_to_multiple(source, network.spec.multiple, network.spec.padding) for source in sources]
        fusion = network.run(padded, rule)
        ran[:] = [dict(fusion.report[0]) if fusion.report else {}]
        return crop_to(fusion.image, sources[0].shape[2:])

    def fuse_one() -> Tensor:
        found = run_model(network, [each[0] for each in given], rule)
        ran[:] = [dict(found.report)]
        return torch.from_numpy(found.image)[None, None]

    def report() -> dict[str, Any]:
        return dict(ran[0]) if ran else {}

    # What `fusekit fuse` runs may cut an image into tiles; the authors' code does not.
    as_fused = entrant.kind == "ours" and case.batch == 1 and parameter.device.type == "cpu"
    return Ready(fuse_one if as_fused else fuse, network, rule, sources, machine(network), report)


def watch(ready: Ready, stopwatch: Stopwatch) -> None:
    """Let a stopwatch see the stages ``encode``, ``rule`` and ``decode`` of a model that has them."""
    network, rule = ready.network, ready.rule
    if not isinstance(network, EncoderDecoder) or rule is None:
        return
    # On the objects themselves, as a model may look at the type of its rule.
    _watch_methods(network, ("encode_sources",), "encode", stopwatch)
    _watch_methods(network, ("decode", "decode_sum"), "decode", stopwatch)
    _watch_rule(rule, stopwatch)


def _watch_rule(rule: Any, stopwatch: Stopwatch) -> Any:
    """Watch a rule, what it gathers from tiles, and the rule that comes of it; return the rule."""
    _watch_methods(rule, ("apply", "weigh", "weights"), "rule", stopwatch)
    survey_of = getattr(rule, "survey", None)
    if survey_of is None:
        return rule

    def survey(*arguments: Any) -> Any:
        found = survey_of(*arguments)
        if found is not None:
            methods = [name for name in dir(found) if not name.startswith("_") and callable(getattr(found, name))]
            _watch_methods(found, methods, "rule", stopwatch)
            rule_of = found.rule
            found.rule = lambda: _watch_rule(rule_of(), stopwatch)
        return found

    rule.survey = survey
    return rule


def _watch_methods(owner: object, names: Sequence[str], stage: str, stopwatch: Stopwatch) -> None:
    for name in names:
        if hasattr(owner, name):
            setattr(owner, name, stopwatch.stage(stage, getattr(owner, name)))


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


def first_output(case: Case, entrant: Entrant, ready: Ready) -> Tensor:
    """Return the raw fused images (B, 1, H, W), float32 on the CPU, once they are known to be such.

    Raises:
        OptionError: another's function fails or returns something else, or an image is not finite.
    """
    try:
        images = ready.fuse().float().cpu()
    except Exception as error:
        if entrant.kind != "against":
            raise
        raise OptionError(
            f"--against {entrant.target} fails for two images of {size_text(case.size)} pixels: "
            f"{type(error).__name__}: {error}"
        ) from error
    if tuple(images.shape) != (case.batch, 1, *case.size):
        raise OptionError(
            f"--against {entrant.target} returns arrays of shape {tuple(images.shape[2:])} for two images of "
            f"{size_text(case.size)} pixels; it is to return one array (H, W)"
        )
    if not images.isfinite().all():
        raise OptionError(f"{entrant.label} gives values that are not finite; times of it would say nothing")
    return images
