"""How far each metric is from published implementations, on image triples with known values."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fusekit
from fusekit.errors import InputError
from fusekit.evaluation.rate import read_luminance
from fusekit.metrics.build import build_metric
from fusekit.metrics.levels import levels
from fusekit.metrics.qy import Moments
from fusekit.registry.discovery import BUILTIN_OWNER, registries
from fusekit.version import code_version
from fusekit_bench.calibration_table import NOT_CALIBRATED, REFERENCES, STATED, Reference

#: Triple → quantity → implementation → value; strings are numbers that JSON has not, ``None`` is an error.
Published = Mapping[str, Mapping[str, Mapping[str, float | str | None]]]


@dataclass(frozen=True)
class Deviation:
    """How far a metric is from one published implementation.

    Attributes:
        reference: the row of the table.
        triples: the number of triples with a published value.
        absolute: the greatest absolute deviation.
        relative: the greatest relative deviation.
        worst: the triple that has it.
    """

    reference: Reference
    triples: int
    absolute: float
    relative: float
    worst: str

    @property
    def within(self) -> bool:
        """Whether enough triples have a value, and all deviate by less than the tolerance."""
        return self.triples >= self.reference.least and self.relative < self.reference.tolerance

    @property
    def verdict(self) -> str:
        """``"within"``, ``"within, as stated"`` or ``"EXCEEDED"``."""
        if not self.within:
            return "EXCEEDED"
        return "within, as stated" if self.reference.grade == STATED else "within"


class Triples:
    """The images and published values of a golden folder, and our values of them, each computed once.

    Args:
        folder: with ``values.json`` and ``triples/NAME/{A,B,F}.png``.

    Raises:
        InputError: the folder does not hold them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.published: Published = _read_values(folder)
        self._images: dict[str, list[Tensor]] = {}
        self._values: dict[tuple[str, str], float] = {}
        self._textured: dict[str, bool] = {}

    def names(self) -> list[str]:
        """Return the triples' names, in alphabetical order."""
        return sorted(self.published)

    def images(self, triple: str) -> list[Tensor]:
        """Return A, B and F of a triple, (1, 1, H, W) each in [0, 1]."""
        if triple not in self._images:
            paths = [self.folder / "triples" / triple / f"{letter}.png" for letter in "ABF"]
            self._images[triple] = [read_luminance(path) for path in paths]
        return self._images[triple]

    def value(self, metric: str, triple: str) -> float:
        """Return our value of a metric on a triple."""
        if (metric, triple) not in self._values:
            first, second, fused = self.images(triple)
            with torch.no_grad():
                self._values[metric, triple] = build_metric(metric)([first, second], fused).item()
        return self._values[metric, triple]

    def textured(self, triple: str) -> bool:
        """Return whether no 7×7 window of any of the three images is flat."""
        if triple not in self._textured:
            planes = torch.stack([levels(image) for image in self.images(triple)])
            self._textured[triple] = not bool(Moments(planes).flat.any())
        return self._textured[triple]

    def known(self, reference: Reference, triple: str) -> float | None:
        """Return the published value in our unit, or ``None`` where there is none, or none that counts."""
        value = self.published[triple].get(reference.quantity, {}).get(reference.implementation)
        if value is None or math.isnan(float(value)) or not reference.serves(triple):
            return None
        if reference.textured and not self.textured(triple):
            return None
        return float(value) * reference.factor


def deviation(triples: Triples, reference: Reference, names: Iterable[str] | None = None) -> Deviation:
    """Compare a metric with one published implementation, on the triples of these names or on all."""
    count, most, worst, furthest = 0, 0.0, "", 0.0
    for triple in triples.names() if names is None else names:
        wanted = triples.known(reference, triple)
        if wanted is None:
            continue
        value = triples.value(reference.metric, triple)
        absolute = 0.0 if value == wanted else abs(value - wanted)
        relative = absolute / max(abs(wanted), 1e-12) if absolute else 0.0
        count, furthest = count + 1, max(furthest, absolute)
        # A value that is no number exceeds every tolerance.
        if not worst or relative > most or math.isnan(relative):
            most, worst = math.inf if math.isnan(relative) else relative, triple
    return Deviation(reference, count, furthest, most, worst)


def golden_folder(given: Path | None) -> Path:
    """Return the folder of golden values: the one given, or ``golden/metrics`` of that in ``FUSEKIT_SHARED``.

    Raises:
        InputError: neither names one.
    """
    shared = os.environ.get("FUSEKIT_SHARED")
    if given is None and not shared:
        raise InputError(
            "no folder of golden values is named; give --golden DIR, with values.json and triples/ in it, or set "
            "FUSEKIT_SHARED to the folder that holds golden/metrics"
        )
    return given if given is not None else Path(str(shared)) / "golden" / "metrics"


def _read_values(folder: Path) -> Published:
    path = folder / "values.json"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; name the folder that holds values.json and triples/"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); copy the golden values again") from error
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise InputError(f"{path} does not map triples to quantities; copy the golden values again")
    return found


def calibrate(folder: Path, progress: Callable[[Sequence[str]], Iterable[str]] = iter) -> list[Deviation]:
    """Compare all built-in metrics with all their published implementations.

    Args:
        folder: of golden values.
        progress: passes the triples' names on, one at a time as they are worked through.
    """
    triples = Triples(folder)
    for triple in progress(triples.names()):
        for reference in REFERENCES:
            if triples.known(reference, triple) is not None:
                triples.value(reference.metric, triple)
    return [deviation(triples, reference) for reference in REFERENCES]


def uncalibrated() -> dict[str, str]:
    """Return the built-in metrics that no published implementation calibrates, with the reason."""
    calibrated = {reference.metric for reference in REFERENCES}
    names = [entry.name for entry in registries().metrics if entry.owner == BUILTIN_OWNER]
    return {name: NOT_CALIBRATED.get(name, "not in the table") for name in names if name not in calibrated}


def as_data(found: Sequence[Deviation]) -> dict[str, Any]:
    """Return the calibration as JSON-able data."""
    rows = [
        {
            **asdict(each.reference),
            "triples": each.triples,
            "max_absolute": each.absolute,
            "max_relative": each.relative,
            "worst_triple": each.worst,
            "verdict": each.verdict,
        }
        for each in found
    ]
    return {
        "version": fusekit.__version__,
        "code": code_version(),
        "torch": str(torch.__version__),
        "calibrated": rows,
        "not_calibrated": uncalibrated(),
    }


_INTRODUCTION = """\
# Calibration

Every metric beside the published implementations that compute its definition: the same image triples, our value and
theirs. The images are eight-bit pairs of visible and infrared, CT, PET or SPECT and MRI pictures with the results of
fusion methods, crops of them, and degenerate cases, {triples} in all; not every implementation ran on every triple.
`octave:` is published MATLAB code run in Octave 7.3, `python:` published Python code or a package.

| grade | what it means | must hold |
|---|---|---|
| closed form | a formula without a choice of border or precision | 1e-6 relative, or tighter |
| filter | borders, guards or precision of filters differ | 1e-3 relative, or tighter |
| stated | the published code deviates from its definition, or is no reference | the deviation that is stated |

`fusekit bench calibration --golden DIR --markdown docs/calibration.md` wrote this page with fusekit {version}, code
`{code}`, torch {torch}. *Tolerance* is the greatest relative deviation allowed on any triple; the tests assert it.
"""


def page(found: Sequence[Deviation]) -> str:
    """Return the calibration as a Markdown page: the table, its remarks as notes, and what is not calibrated."""
    data = as_data(found)
    count = max((each.triples for each in found), default=0)
    remarks = list(dict.fromkeys(each.reference.remark for each in found if each.reference.remark))
    lines = [
        _INTRODUCTION.format(triples=count, **{key: data[key] for key in ("version", "code", "torch")}),
        "## Calibrated",
        "",
        "| metric | reference implementation | triples | max absolute | max relative | tolerance | grade | verdict "
        "| note |",
        "|---|---|--:|--:|--:|--:|---|---|--:|",
    ]
    for each in found:
        reference = each.reference
        note = str(remarks.index(reference.remark) + 1) if reference.remark else ""
        lines.append(
            f"| `{reference.metric}` | {reference.implementation} | {each.triples} | {_small(each.absolute)} | "
            f"{_small(each.relative)} | {reference.tolerance:.0e} | {reference.grade} | {each.verdict} | {note} |"
        )
    lines += ["", "Notes:", "", *(f"{number}. {remark}" for number, remark in enumerate(remarks, 1))]
    lines += ["", "## Not calibrated", "", "| metric | reason |", "|---|---|"]
    lines += [f"| `{name}` | {reason} |" for name, reason in data["not_calibrated"].items()]
    return "\n".join(lines) + "\n"


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
