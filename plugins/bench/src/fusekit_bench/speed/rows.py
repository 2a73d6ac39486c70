"""What the rounds of a race come to: times, stages, ratios, rates, and how exact each entrant is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from fusekit.images.ranges import output_to_unit
from fusekit_bench.speed.race import Timing, ratios, spread
from fusekit_bench.speed.rates import Rate
from fusekit_bench.speed.workers import Introduction

_STAGES = ("encode", "rule", "decode")


class Entry(NamedTuple):
    """All that was found of one entrant.

    Attributes:
        of: it.
        timings: its times.
        report: what the rule says of how it came to its weights.
        operations: ``plain``, those of the plain network, and ``executed``, those it carries out itself or ``None``.
        memory: bytes ``before`` and at the ``peak``, where they were measured.
    """

    of: Introduction
    timings: Sequence[Timing]
    report: Mapping[str, Any]
    operations: Mapping[str, int | None]
    memory: Mapping[str, int] | None


def row(
    entry: Entry, entries: Sequence[Entry], rates: Sequence[Rate], timings: Mapping[str, Sequence[Timing]], batch: int
) -> dict[str, Any]:
    """Return what is told of one entrant; a spread has the ``median`` of the rounds and their quartiles.

    Returns:
        - ``who``, ``kind``, ``form``, ``dtype``, ``backend``: what ran.
        - ``seconds``: spread, of a call with the whole batch; ``rounds``: its values; ``pairs_per_second``.
        - ``ratio``, ``ratio_tuned``, ``ratio_against``: spread of the seconds of the reference, of the tuned one, and
          of the other function, over these, round by round; ``None`` without them.
        - ``stages``: ``encode``, ``rule``, ``decode``, ``rest``: spread, and ``share`` of the whole; empty where the
          model has no such stages.
        - ``rule_report``: what the rule says of how it came to its weights, or ``None``.
        - ``operations``: of the plain network and executed, convolutions and matrix products, a multiply-add as two.
        - ``gflops``: both a second of encoding and decoding, spread.
        - ``of_convolution``, ``of_product``: spread of the executed ones over the machine's rate in that dtype.
        - ``deviation``, ``psnr``: greatest absolute difference of the raw output to that of the reference in float32,
          and dB of the image as it would be written, ``None`` for equal ones; both ``None`` without a reference and a
          float32 form.
        - ``memory``: bytes.
    """
    seconds = [timing.seconds for timing in entry.timings]
    entrant, facts = entry.of.entrant, entry.of.facts
    return {
        "who": _who(entry),
        "kind": entrant.kind,
        "form": "reference" if entrant.kind in ("reference", "tuned") else facts["form"],
        **{key: facts[key] for key in ("dtype", "backend")},
        "seconds": spread(seconds),
        "rounds": seconds,
        "pairs_per_second": batch / spread(seconds)["median"],
        "ratio": _ratio("reference", entries, seconds),
        "ratio_tuned": _ratio("tuned", entries, seconds),
        "ratio_against": _ratio("against", entries, seconds),
        "stages": _stages(entry.timings),
        "rule_report": dict(entry.report) or None,
        **_rates(entry, rates, timings),
        **_exactness(entry, entries),
        "memory": None if entry.memory is None else dict(entry.memory),
    }


def _who(entry: Entry) -> str:
    """Return an entrant's label, and in brackets what was chosen for it where it was left open."""
    label = entry.of.entrant.label
    if entry.of.entrant.kind != "ours":
        return label
    ran = [entry.of.facts[key] for key in ("form", "dtype", "backend")]
    chosen = [each for each in ran if each not in (*label.split(), "torch")]
    return f"{label} ({', '.join(chosen)})" if chosen else label


def _ratio(kind: str, entries: Sequence[Entry], seconds: Sequence[float]) -> dict[str, float] | None:
    other = next((each for each in entries if each.of.entrant.kind == kind), None)
    return None if other is None else spread(ratios([timing.seconds for timing in other.timings], seconds))


def _stages(timings: Sequence[Timing]) -> dict[str, dict[str, float]]:
    if not timings[0].stages:
        return {}
    columns = {name: [timing.stages.get(name, 0.0) for timing in timings] for name in _STAGES}
    columns["rest"] = [max(timing.seconds - sum(timing.stages.values()), 0.0) for timing in timings]
    whole = [timing.seconds for timing in timings]
    return {name: {**spread(each), "share": spread(ratios(each, whole))["median"]} for name, each in columns.items()}


def _rates(entry: Entry, rates: Sequence[Rate], timings: Mapping[str, Sequence[Timing]]) -> dict[str, Any]:
    if entry.of.policy is None:
        return {"operations": None, "gflops": None, "of_convolution": None, "of_product": None}
    seconds = [_network_seconds(timing) for timing in entry.timings]
    gflops = {
        name: None if count is None else [count / each / 1e9 for each in seconds]
        for name, count in entry.operations.items()
    }
    found: dict[str, Any] = {
        "operations": dict(entry.operations),
        "gflops": {name: None if each is None else spread(each) for name, each in gflops.items()},
    }
    executed, dtype = gflops["executed"], getattr(torch, entry.of.facts["dtype"])
    for rate in rates:
        if rate.dtype == dtype:
            of_rate = None if executed is None else spread(ratios(executed, _gflops(rate, timings[rate.label])))
            found[f"of_{rate.name}"] = of_rate
    return found


def _network_seconds(timing: Timing) -> float:
    """Return the seconds of encoding and decoding, or of the whole where these are not known."""
    return timing.stages.get("encode", 0.0) + timing.stages.get("decode", 0.0) or timing.seconds


def _gflops(rate: Rate, timings: Sequence[Timing]) -> list[float]:
    return [rate.operations / timing.seconds / 1e9 for timing in timings]


def _exactness(entry: Entry, entries: Sequence[Entry]) -> dict[str, float | None]:
    """Return greatest difference and PSNR to the reference's output, or to that of our first form in float32."""
    candidates = [each for each in entries if each.of.facts["dtype"] == "float32"]
    references = [each for each in candidates if each.of.entrant.kind == "reference"]
    reference = next(iter([*references, *candidates]), None)
    if reference is None:
        return {"deviation": None, "psnr": None}
    policy, ours, theirs = reference.of.policy, entry.of.images, reference.of.images
    assert policy is not None
    written = [output_to_unit(each, policy).astype(np.float64) for each in (ours, theirs)]
    error = float(np.square(written[0] - written[1]).mean())
    return {
        "deviation": float(np.abs(ours - theirs).max()),
        "psnr": -10 * math.log10(error) if error else None,
    }


def rate_row(rate: Rate, timings: Sequence[Timing]) -> dict[str, Any]:
    """Return what the machine does of one kind of work: ``name``, ``dtype`` and ``gflops``, a spread."""
    return {
        "name": rate.name,
        "dtype": str(rate.dtype).removeprefix("torch."),
        "gflops": spread(_gflops(rate, timings)),
    }


def file_row(timings: Sequence[Timing]) -> dict[str, Any]:
    """Return the spread of ``read``, two PNG files, and ``write``, one with its record, in seconds a pair."""
    return {name: spread([timing.stages[name] for timing in timings]) for name in ("read", "write")}
