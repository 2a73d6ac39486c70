"""What the turns of a race come to: times, stages, ratios, rates, and how exact each entrant is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from fusekit.images.ranges import output_to_unit
from fusekit_bench.speed_race import Turn, ratios, spread
from fusekit_bench.speed_worker import Introduction

_STAGES = ("encode", "rule", "decode")


class Rate(NamedTuple):
    """A `Probe` in one dtype."""

    dtype: torch.dtype
    name: str
    work: Callable[[], Any]
    operations: int

    @property
    def label(self) -> str:
        """What it is called in the race."""
        return f"{self.name} {self.dtype}"


class Entry(NamedTuple):
    """All that was found of one entrant.

    Attributes:
        of: it.
        turns: its times.
        report: what the rule says of how it came to its weights.
        operations: ``plain``, those of the plain network, and ``executed``, those it carries out itself or ``None``.
        memory: bytes ``before`` and at the ``peak``, where they were measured.
    """

    of: Introduction
    turns: Sequence[Turn]
    report: Mapping[str, Any]
    operations: Mapping[str, int | None]
    memory: Mapping[str, int] | None


def row(
    entry: Entry, entries: Sequence[Entry], rates: Sequence[Rate], turns: Mapping[str, Sequence[Turn]], batch: int
) -> dict[str, Any]:
    """Return what is told of one entrant; a spread has the ``median`` of the rounds and their quartiles.

    Returns:
        - ``who``, ``kind``, ``form``, ``dtype``, ``backend``: what ran.
        - ``seconds``: spread, of a call with the whole batch; ``rounds``: its values; ``pairs_per_second``.
        - ``ratio``, ``ratio_tuned``, ``ratio_against``: spread of the seconds of the oracle, of the tuned one, and of
          the other function, over these, round by round; ``None`` without them.
        - ``stages``: ``encode``, ``rule``, ``decode``, ``rest``: spread, and ``share`` of the whole; empty where the
          model has no such stages.
        - ``rule_report``: what the rule says of how it came to its weights, or ``None``.
        - ``operations``: of the plain network and executed, convolutions and matrix products, a multiply-add as two.
        - ``gflops``: both a second of encoding and decoding, spread.
        - ``of_convolution``, ``of_product``: spread of the executed ones over the machine's rate in that dtype.
        - ``deviation``, ``psnr``: greatest absolute difference of the raw output to that of the oracle in float32,
          and dB of the image as it would be written, ``None`` for equal ones; both ``None`` without an oracle and a
          float32 form.
        - ``memory``: bytes.
    """
    seconds = [turn.seconds for turn in entry.turns]
    entrant, facts = entry.of.entrant, entry.of.facts
    return {
        "who": _who(entry),
        "kind": entrant.kind,
        "form": "oracle" if entrant.kind in ("oracle", "tuned") else facts["form"],
        **{key: facts[key] for key in ("dtype", "backend")},
        "seconds": spread(seconds),
        "rounds": seconds,
        "pairs_per_second": batch / spread(seconds)["median"],
        "ratio": _ratio("oracle", entries, seconds),
        "ratio_tuned": _ratio("tuned", entries, seconds),
        "ratio_against": _ratio("against", entries, seconds),
        "stages": _stages(entry.turns),
        "rule_report": dict(entry.report) or None,
        **_rates(entry, rates, turns),
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
    return None if other is None else spread(ratios([turn.seconds for turn in other.turns], seconds))


def _stages(turns: Sequence[Turn]) -> dict[str, dict[str, float]]:
    if not turns[0].stages:
        return {}
    columns = {name: [turn.stages.get(name, 0.0) for turn in turns] for name in _STAGES}
    columns["rest"] = [max(turn.seconds - sum(turn.stages.values()), 0.0) for turn in turns]
    whole = [turn.seconds for turn in turns]
    return {name: {**spread(each), "share": spread(ratios(each, whole))["median"]} for name, each in columns.items()}


def _rates(entry: Entry, rates: Sequence[Rate], turns: Mapping[str, Sequence[Turn]]) -> dict[str, Any]:
    if entry.of.policy is None:
        return {"operations": None, "gflops": None, "of_convolution": None, "of_product": None}
    seconds = [_network_seconds(turn) for turn in entry.turns]
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
            of_rate = None if executed is None else spread(ratios(executed, _gflops(rate, turns[rate.label])))
            found[f"of_{rate.name}"] = of_rate
    return found


def _network_seconds(turn: Turn) -> float:
    """Return the seconds of encoding and decoding, or of the whole where these are not known."""
    return turn.stages.get("encode", 0.0) + turn.stages.get("decode", 0.0) or turn.seconds


def _gflops(rate: Rate, turns: Sequence[Turn]) -> list[float]:
    return [rate.operations / turn.seconds / 1e9 for turn in turns]


def _exactness(entry: Entry, entries: Sequence[Entry]) -> dict[str, float | None]:
    """Return greatest difference and PSNR to the oracle's output, or to that of our first form in float32."""
    candidates = [each for each in entries if each.of.facts["dtype"] == "float32"]
    reference = next((each for each in candidates if each.of.entrant.kind == "oracle"), None) or next(
        iter(candidates), None
    )
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


def rate_row(rate: Rate, turns: Sequence[Turn]) -> dict[str, Any]:
    """Return what the machine does of one kind of work: ``name``, ``dtype`` and ``gflops``, a spread."""
    return {
        "name": rate.name,
        "dtype": str(rate.dtype).removeprefix("torch."),
        "gflops": spread(_gflops(rate, turns)),
    }


def file_row(turns: Sequence[Turn]) -> dict[str, Any]:
    """Return the spread of ``read``, two PNG files, and ``write``, one with its record, in seconds a pair."""
    return {name: spread([turn.stages[name] for turn in turns]) for name in ("read", "write")}
