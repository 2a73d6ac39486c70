"""Checks of models: what the spec and the model say of themselves is true, on every way that fusekit takes them."""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusekit.checks.base import (
    Findings,
    accelerators,
    check_json,
    check_reach,
    check_threads,
    check_unchanged,
    difference,
    images,
    is_finite,
)
from fusekit.checks.parts import check_gradients
from fusekit.errors import InputError, OptionError, RuleError, TrainingError
from fusekit.fusing.plan import Plan, make_plan
from fusekit.fusing.tiled import fuse_tiled
from fusekit.images.tiles import Reach
from fusekit.models.base import BoundRule, EncoderDecoder, FusionModel
from fusekit.models.load import build_network
from fusekit.models.objectives import Objectives
from fusekit.models.shapes import pad_to_multiple
from fusekit.registry.contract import Component
from fusekit.registry.discovery import registries
from fusekit.registry.registry import entry_of
from fusekit.registry.specs import ModelSpec
from fusekit.weights.metadata import read_metadata
from fusekit.weights.resolve import find_bundled
from fusekit.weights.store import read_weights, save_weights

#: Greatest side of the images that reach and tiles are tried on.
_MOST_SIDE = 512
#: Least side of tiles.
_TILE = 16


@dataclass(frozen=True)
class _Subject:
    """A model that is checked.

    Attributes:
        spec: that it is registered under.
        config: keyword arguments of its factory.
        findings: to be added to.
    """

    spec: ModelSpec
    config: Mapping[str, Any]
    findings: Findings

    @property
    def counts(self) -> list[int]:
        """Numbers of sources to try: the least, and up to three where the model takes them."""
        least, most = self.spec.n_sources
        return sorted({least, min(max(least, 3), most or max(least, 3))})

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Sizes to try, for each of the dims: the least, odd multiples of what is padded to, odd and narrow ones."""
        least, multiple = max(self.spec.min_size, 1), self.spec.multiple
        once = -(-least // multiple) * multiple
        base = max(once, 8)
        found: list[tuple[int, ...]] = []
        for axes in self.spec.dims:
            found += [
                (least,) * axes,
                (once,) * (axes - 1) + (once + 2 * multiple,),
                tuple(base + 5 + 4 * axis for axis in range(axes)),
                (least,) * (axes - 1) + (base + 1,),
            ]
        return list(dict.fromkeys(found))

    @property
    def ordinary(self) -> tuple[int, int]:
        """A size of two axes that is nothing special."""
        least = max(self.spec.min_size, 16)
        return least + 3, least + 8

    def build(self, seed: int = 0) -> FusionModel:
        """Return the model in evaluation mode with initial values drawn from ``seed``."""
        return build_network(self.spec, self.config, seed).eval()


def check_model(
    model: str | ModelSpec,
    config: Mapping[str, Any] | None = None,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
) -> list[str]:
    """Check a model against its contract.

    Numbers and sizes of sources, batches, types and devices, untouched inputs, the rules that its family takes, that
    the declared reach is true and that tiles give the whole, its faster forms, training with gradients, saving and
    reading, and that weights that come along fit it. The first of these weights are used; a model without any is tried
    with initial values.

    Args:
        model: registered name, or a spec that need not be registered yet.
        config: keyword arguments of the factory instead of the spec's, for a model that cannot be built by these.
        dtypes: types that it claims to run in, of ``float32``, ``bfloat16`` and ``float16``.

    Returns:
        what is wrong, one line a finding that names the model; nothing where all is well.

    Raises:
        UnknownNameError: there is no such model.
    """
    spec: ModelSpec = model if isinstance(model, ModelSpec) else registries().models.entry(model).details["spec"]
    with _registered(spec):
        owner = registries().models.entry(spec.id).owner
        findings = Findings(Component("model", spec.id, owner))
        subject = _Subject(spec, {**spec.config, **(config or {})}, findings)
        with findings.during("to be built"):
            network = subject.build()
            _read_bundled(subject, network, use_first=not config)
            _check_all(subject, network, dtypes)
        return findings.found


@contextmanager
def _registered(spec: ModelSpec) -> Iterator[None]:
    """Have a spec registered for a while, by the package of its factory where it is not registered yet."""
    models = registries().models
    before = models.snapshot()
    if spec.id not in before or before[spec.id].details["spec"] != spec:
        models.restore({name: entry for name, entry in before.items() if name != spec.id})
        models.add(entry_of(spec, spec.factory.partition(".")[0].partition(":")[0]))
    try:
        yield
    finally:
        models.restore(before)


def _read_bundled(subject: _Subject, network: FusionModel, *, use_first: bool) -> None:
    """Find weights that come along and do not fit; leave the first of them in the model."""
    if not use_first:
        return
    first: Path | None = None
    for weights in subject.spec.weights:
        path = find_bundled(subject.spec.id, weights.file)
        if path is None:
            continue
        with subject.findings.during(f"to read its weights {weights.tag!r}"):
            read_weights(network, path, subject.spec.id)
            first = first or path
    if first is not None:
        read_weights(network, first, subject.spec.id)


def _check_all(subject: _Subject, network: FusionModel, dtypes: Sequence[str]) -> None:
    stages: tuple[tuple[str, Callable[[_Subject, FusionModel], None]], ...] = (
        ("with sources of several sizes", _check_sizes),
        ("with the wrong number of sources", _check_counts),
        ("with rules", _check_rules),
        ("with batches", _check_batch),
        ("with its reach", _check_reach),
        ("in tiles", _check_tiles),
        ("in its other forms", _check_forms),
        ("in training", _check_training),
        ("when it is saved and read again", _check_saving),
        ("in two threads", _check_threads),
        ("on another device", _check_devices),
    )
    for what, stage in stages:
        with subject.findings.during(what), torch.no_grad():
            stage(subject, network)
        # What follows would only say it again.
        if stage is _check_sizes and subject.findings.found:
            return
    for dtype in dtypes:
        if dtype != "float32":
            with subject.findings.during(f"in {dtype}"), torch.no_grad():
                _check_dtype(subject, network, getattr(torch, dtype))


def _sources(subject: _Subject, batch: int, size: Sequence[int], count: int = 0, seed: int = 0) -> list[Tensor]:
    return images(count or subject.counts[0], batch, size, seed=seed)


def _check_sizes(subject: _Subject, network: FusionModel) -> None:
    findings = subject.findings
    for count in subject.counts:
        for size in subject.sizes:
            shown = "×".join(map(str, size))
            with findings.during(f"for {count} sources of {shown} pixels"):
                sources = _sources(subject, 1, size, count)
                before = [each.clone() for each in sources]
                fused = network.fuse(sources)
                check_unchanged(findings, before, sources)
                if fused.shape != sources[0].shape:
                    findings.add(f"gives an image {tuple(fused.shape)} for sources {tuple(sources[0].shape)}")
                elif not is_finite(fused):
                    findings.add(f"gives values that are not finite for {count} sources of {shown} pixels")


def _check_counts(subject: _Subject, network: FusionModel) -> None:
    least, most = subject.spec.n_sources
    for count in (least - 1, None if most is None else most + 1):
        if count is None or count < 1:
            continue
        try:
            network.fuse(_sources(subject, 1, _size_of(subject), count))
        except InputError:
            continue
        subject.findings.add(f"fuses {count} sources, and its spec has n_sources {subject.spec.n_sources}")


def _size_of(subject: _Subject) -> tuple[int, ...]:
    return subject.ordinary if 2 in subject.spec.dims else (max(subject.spec.min_size, 9),) * 3


def _check_rules(subject: _Subject, network: FusionModel) -> None:
    sources, policy = _sources(subject, 1, _size_of(subject)), subject.spec.rule_policy
    if policy == "free":
        for rule in ("mean", "max", "l1"):
            with subject.findings.during(f"with the rule {rule!r}"):
                network.fuse(sources, rule)
        return
    try:
        network.fuse(sources, "mean")
    except RuleError:
        return
    subject.findings.add(f"takes the rule 'mean', and its spec has rule_policy {policy!r}; refuse it with RuleError")


def _check_batch(subject: _Subject, network: FusionModel) -> None:
    sources = _sources(subject, 2, _size_of(subject), seed=1)
    together = network.fuse(sources)
    alone = torch.cat([network.fuse([each[index : index + 1] for each in sources]) for index in range(2)])
    if difference(together, alone) > 1e-4:
        subject.findings.add("gives other values for a batch of two than for its images one by one")


def _rule_of(network: FusionModel, name: str) -> Any:
    free = isinstance(network, EncoderDecoder) and not isinstance(network, BoundRule)
    return network.choose_rule(name if free else None)


def _check_reach(subject: _Subject, network: FusionModel) -> None:
    reach: object = network.reach
    if reach is None or 2 not in subject.spec.dims:
        return
    if not isinstance(reach, Reach):
        subject.findings.add(f"declares the reach {reach!r}; give a Reach(encode, decode), or None")
        return
    total, multiple = reach.encode + reach.decode, math.lcm(subject.spec.multiple, reach.multiple)
    side = max(total + 24 + multiple, subject.spec.min_size)
    side += -side % multiple
    if side > _MOST_SIDE:
        return
    exact, rule = copy.deepcopy(network).double(), _rule_of(network, "mean")
    sources = [each.double() for each in _sources(subject, 1, (side, side), seed=2)]
    base = None
    for place in (0, len(sources) - 1):
        given = list(sources)

        def fused(image: Tensor, given: list[Tensor] = given, place: int = place) -> Tensor:
            given[place] = image
            return exact.run(given, rule).image

        base = check_reach(subject.findings, fused, sources[place], total, multiple, base)


def _check_tiles(subject: _Subject, network: FusionModel) -> None:
    reach, spec = network.reach, subject.spec
    if not isinstance(reach, Reach) or 2 not in spec.dims or spec.tiling != "exact":
        return
    total = reach.encode + reach.decode
    size = (max(_TILE + total + 13, spec.min_size), max(2 * _TILE + 5, spec.min_size))
    if max(size) > _MOST_SIDE:
        return
    rules = ("mean", "l1") if spec.rule_policy == "free" else ("",)
    for name in rules:
        rule = _rule_of(network, name)
        padded = [pad_to_multiple(each, spec.multiple, spec.padding) for each in _sources(subject, 1, size, seed=3)]
        plan = make_plan(network, rule, padded, _TILE, None)
        assert isinstance(plan, Plan)
        tiled, whole = fuse_tiled(network, padded, rule, plan).image, network.run(padded, rule).image
        if difference(tiled, whole) > 1e-4:
            under = f" under the rule {name!r}" if name else ""
            subject.findings.add(
                f"gives another image in tiles than as a whole{under}; declare a greater reach or multiple, or "
                'tiling="discouraged" or "whole" in the spec'
            )
            return


def _check_forms(subject: _Subject, network: FusionModel) -> None:
    sources = _sources(subject, 1, _size_of(subject), seed=4)
    wanted = network.fuse(sources)
    # The compiler takes minutes, and is nobody's plugin.
    for form in (each for each in network.forms if each not in ("plain", "compile")):
        with subject.findings.during(f"in the form {form!r}"):
            try:
                found = network.use_form(form).fuse(sources)
            finally:
                network.use_form("plain")
            if difference(found, wanted) > 1e-3:
                subject.findings.add(f"gives other values in the form {form!r} than by its plain modules")


def _check_training(subject: _Subject, network: FusionModel) -> None:
    findings, spec = subject.findings, subject.spec
    trained = subject.build().train()
    if not any(each.requires_grad for each in trained.parameters()) or 2 not in spec.dims:
        return
    side = max(spec.min_size, 24)
    side += -side % spec.multiple
    count = subject.counts[0] if trained.trains_on_sources else 1
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            loss, terms = trained.training_loss(_sources(subject, 2, (side, side), count), Objectives(0.2, 0.0))
        except TrainingError:
            return
        if not isinstance(loss, Tensor) or loss.dim() or not loss.requires_grad:
            findings.add("gives a training loss that is no scalar with gradients")
            return
        torch.autograd.backward(loss)
    if not is_finite(loss):
        findings.add("gives a training loss that is not finite")
    check_gradients(findings, trained)
    term: object
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.dim() or term.requires_grad:
            findings.add(f"gives the training term {name!r} as something else than a scalar without gradients")
    if isinstance(network, EncoderDecoder) and not isinstance(network, BoundRule):
        (x,) = _sources(subject, 1, (side, side), 1)
        if difference(network.training_forward(x), network.reconstruct(x)) > 1e-3:
            findings.add("gives another reconstruction by training_forward than by reconstruct")


def _check_saving(subject: _Subject, network: FusionModel) -> None:
    sources = _sources(subject, 1, _size_of(subject), seed=5)
    check_json(subject.findings, network.header, "a configuration")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(network, path, network.header)
        config = {**subject.spec.config, **(read_metadata(path).get("config") or {})}
        other = build_network(subject.spec, config, seed=1).eval()
        read_weights(other, path, subject.spec.id)
    if difference(other.fuse(sources), network.fuse(sources)) > 0:
        subject.findings.add(
            "is another one after its weights were saved and read; keep all that is trained in its state dict, and "
            "all that it is built with in its arguments"
        )


def _check_threads(subject: _Subject, network: FusionModel) -> None:
    def fused(sources: list[Tensor]) -> Tensor:
        with torch.inference_mode():
            return network.fuse(sources)

    check_threads(subject.findings, fused, [_sources(subject, 1, _size_of(subject), seed=seed) for seed in (6, 7)])


def _check_dtype(subject: _Subject, network: FusionModel, dtype: torch.dtype) -> None:
    sources = _sources(subject, 1, _size_of(subject), seed=8)
    wanted, lesser = network.fuse(sources), copy.deepcopy(network).to(dtype)
    found = lesser.fuse([each.to(dtype) for each in sources])
    shown = str(dtype).removeprefix("torch.")
    if not is_finite(found):
        subject.findings.add(f"gives values that are not finite in {shown}")
    elif float((found.float() - wanted).abs().mean()) > 0.05 * max(1.0, float(wanted.abs().max())):
        subject.findings.add(f"gives another image in {shown} than in float32, by more than rounding")


def _check_devices(subject: _Subject, network: FusionModel) -> None:
    sources = _sources(subject, 1, _size_of(subject), seed=9)
    wanted = network.fuse(sources)
    for device in accelerators():
        with subject.findings.during(f"on {device}", OptionError):
            found = copy.deepcopy(network).to(device).fuse([each.to(device) for each in sources])
            if difference(found, wanted) > 1e-2:
                subject.findings.add(f"gives other values on {device} than on the CPU")
