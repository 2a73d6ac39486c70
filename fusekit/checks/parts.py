"""Checks of encoders, decoders and edge operators."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fusekit.checks.base import (
    SIZES,
    Findings,
    accelerators,
    check_reach,
    check_unchanged,
    difference,
    images,
    is_finite,
    leaves,
    mapped,
)
from fusekit.errors import DeviceError, OptionError
from fusekit.models.parts import PartKind, build_part
from fusekit.registry.contract import registered
from fusekit.registry.discovery import registries
from fusekit.weights.store import read_weights, save_weights


@dataclass(frozen=True)
class _Subject:
    """A part that is checked.

    Attributes:
        kind: such as ``encoder``.
        name: as registered.
        options: that it is built with.
        inputs: makes inputs, tensors or trees of them, of a batch, a size and a seed.
        findings: to be added to.
    """

    kind: PartKind
    name: str
    options: Mapping[str, Any]
    inputs: Callable[[int, Sequence[int], int], Any]
    findings: Findings

    def build(self, seed: int = 0) -> nn.Module:
        """Return the part in evaluation mode, its initial values drawn from ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            part: nn.Module = build_part(self.kind, self.name, self.options)
        return part.eval()


def check_encoder(name: str, options: Mapping[str, Any] | None = None, edge: str = "none") -> list[str]:
    """Check an encoder against its contract: shapes, sizes, batches, types, reach, gradients, saving.

    Args:
        name: as registered.
        options: keyword arguments of its class.
        edge: edge operator that it is built with.

    Returns:
        what is wrong, one line a finding that names the encoder; nothing where all is well.
    """
    findings = Findings(registered(registries().encoders, name))
    subject = _Subject(
        "encoder", name, {**(options or {}), "edge": edge}, lambda b, s, seed: images(1, b, s, seed=seed)[0], findings
    )
    with findings.during(f"when it is built with edge={edge!r}"), torch.no_grad():
        part = subject.build()
        channels = getattr(part, "channels", None)
        several = isinstance(channels, tuple) and all(isinstance(each, int) for each in channels)
        if not isinstance(channels, int) and not several:
            findings.add(
                "does not say how many channels its features have; set self.channels, one number or one a level"
            )
        if not isinstance(getattr(part, "edge", None), nn.Module):
            findings.add("does not show its edge operator; set self.edge to what build_part('edge operator', …) gives")
        if several:
            found = [leaf.shape[1] for leaf in leaves(part(subject.inputs(1, (24, 20), 0)))]
            if (*found,) != channels:
                findings.add(f"says channels = {channels}, and its levels have {found}")
        _check_part(subject, part)
    return findings.found


def check_decoder(
    name: str,
    options: Mapping[str, Any] | None = None,
    channels: int = 8,
    encoder: str = "",
    encoder_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Check a decoder against its contract, as `check_encoder` does.

    Args:
        name: as registered.
        options: keyword arguments of its class beside ``channels``.
        channels: C of the features (B, C, H, W) that it is given.
        encoder: a registered encoder whose features it is given instead, for decoders of several levels.
        encoder_options: keyword arguments of that encoder.
    """
    findings = Findings(registered(registries().decoders, name))
    given: Any = channels
    source = None
    if encoder:
        source = build_part("encoder", encoder, {"edge": "none", **(encoder_options or {})}).eval()
        given = source.channels

    def inputs(batch: int, size: Sequence[int], seed: int) -> Any:
        if source is None:
            return images(1, batch, size, channels, seed)[0]
        with torch.no_grad():
            return source(images(1, batch, size, seed=seed)[0])

    subject = _Subject("decoder", name, {**(options or {}), "channels": given}, inputs, findings)
    with findings.during(f"when it is built with channels={given}"), torch.no_grad():
        _check_part(subject, subject.build())
    return findings.found


def check_edge_operator(name: str, channels: int = 4) -> list[str]:
    """Check an edge operator against its contract, as `check_encoder` does; and its `ignores_constants`.

    Args:
        name: as registered.
        channels: of the features that it is given.
    """
    findings = Findings(registered(registries().edge_operators, name))
    subject = _Subject(
        "edge operator",
        name,
        {"channels": channels},
        lambda b, s, seed: images(1, b, s, channels, seed)[0],
        findings,
    )
    with findings.during(f"when it is built with channels={channels}"), torch.no_grad():
        part = subject.build()
        _check_part(subject, part)
        if getattr(part, "ignores_constants", False):
            x = subject.inputs(1, (12, 9), 3)
            for factor, constant in ((-1.5, 0.3), (2.0, -4.0)):
                if difference(part(factor * x + constant), abs(factor) * part(x)) > 1e-4:
                    findings.add(
                        "says ignores_constants, and its answer to w·F + b is not |w| times that to F; leave it False"
                    )
                    break
    return findings.found


def _check_part(subject: _Subject, part: nn.Module) -> None:
    findings = subject.findings
    for size in SIZES:
        with findings.during(f"for {size[0]}×{size[1]} pixels"):
            given = subject.inputs(2, size, 0)
            before = mapped(torch.clone, given)
            output = part(given)
            check_unchanged(findings, before, given)
            if not is_finite(output):
                findings.add(f"gives values that are not finite for {size[0]}×{size[1]} pixels")
    if findings.found:
        return
    stages: tuple[tuple[str, Callable[[_Subject, nn.Module], None]], ...] = (
        ("with batches", _check_batch),
        ("with its reach", _check_reach),
        ("in bfloat16", _check_bfloat16),
        ("in training", _check_gradients),
        ("when it is saved and read again", _check_saving),
        ("on another device", _check_devices),
    )
    for what, stage in stages:
        with findings.during(what):
            stage(subject, part)


def _check_batch(subject: _Subject, part: nn.Module) -> None:
    both = subject.inputs(2, (14, 11), 1)
    together = part(both)
    for index in range(2):
        own = slice(index, index + 1)
        alone = part(mapped(lambda leaf, own=own: leaf[own], both))  # type: ignore[misc]
        if difference(mapped(lambda leaf, own=own: leaf[own], together), alone) > 1e-4:  # type: ignore[misc]
            subject.findings.add("gives other values for a batch of two than for its images one by one")
            return


def _check_reach(subject: _Subject, part: nn.Module) -> None:
    reach, multiple = getattr(part, "reach", None), getattr(part, "multiple", 1)
    if reach is None:
        return
    if not isinstance(reach, int) or reach < 0:
        subject.findings.add(f"declares the reach {reach!r}; give a number of pixels from 0, or None")
        return
    side = reach + 24 + multiple
    given = subject.inputs(1, (side + side % 2, side + side % 2), 2)
    if isinstance(given, Tensor):
        exact = copy.deepcopy(part).double()
        check_reach(subject.findings, exact, given.double(), reach, multiple)


def _check_bfloat16(subject: _Subject, part: nn.Module) -> None:
    given = subject.inputs(1, (14, 11), 1)
    wanted = part(given)
    found = copy.deepcopy(part).bfloat16()(mapped(Tensor.bfloat16, given))
    types = {leaf.dtype for leaf in leaves(found)}
    if types != {torch.bfloat16}:
        subject.findings.add(f"answers bfloat16 with {', '.join(sorted(map(str, types)))}")
    elif difference(found, wanted) > 0.1:
        subject.findings.add("gives other values in bfloat16 than in float32, by more than rounding")


def _check_gradients(subject: _Subject, part: nn.Module) -> None:
    trained = subject.build().train()
    if not any(each.requires_grad for each in trained.parameters()):
        return
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        output = trained(subject.inputs(2, (16, 16), 4))
        torch.autograd.backward(torch.stack([leaf.float().square().mean() for leaf in leaves(output)]).sum())
    check_gradients(subject.findings, trained)


def check_gradients(findings: Findings, module: nn.Module) -> None:
    """Find parameters that a backward pass has left without a finite gradient."""
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            findings.add(f"gives its parameter {name} no gradient in training; use it, or leave it out")
        elif not parameter.grad.isfinite().all():
            findings.add(f"gives its parameter {name} a gradient that is not finite")


def _check_saving(subject: _Subject, part: nn.Module) -> None:
    given = subject.inputs(1, (14, 11), 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.safetensors"
        save_weights(part, path, {})
        other = subject.build(seed=1)
        read_weights(other, path, subject.name)
    if difference(other(given), part(given)) > 0:
        subject.findings.add(
            "is another one after its weights were saved and read; keep all that is trained in its state dict"
        )


def _check_devices(subject: _Subject, part: nn.Module) -> None:
    given = subject.inputs(1, (14, 11), 1)
    for device in accelerators():
        with subject.findings.during(f"on {device}", DeviceError, OptionError):
            found = copy.deepcopy(part).to(device)(mapped(lambda leaf, device=device: leaf.to(device), given))  # type: ignore[misc]
            if difference(found, part(given)) > 1e-2:
                subject.findings.add(f"gives other values on {device} than on the CPU")
