"""How far each metric is from published implementations, on image triples with known values.

``references.csv`` beside this file is the table: what each metric is compared with, for the command, the page of the
docs and the tests.
"""

from __future__ import annotations

import csv
import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fusekit.errors import InputError
from fusekit.evaluation.rate import read_luminance
from fusekit.machine.parsing import read_json
from fusekit.metrics.build import build_metric
from fusekit.metrics.levels import levels
from fusekit.metrics.qy import Moments
from fusekit.registry.discovery import BUILTIN_OWNER, registries
from fusekit_bench.publish import Result, facts, table

#: Triple → quantity → implementation → value; strings are numbers that JSON has not, ``None`` is an error.
Published = Mapping[str, Mapping[str, Mapping[str, float | str | None]]]

#: Formulas without a choice of border or precision: six digits and more.
CLOSED = "closed form"
#: Filters whose borders, guards or precision differ in the published code: three digits and more.
FILTER = "filter"
#: The published code deviates from its definition, or is no reference; the remark says how, the tolerance by how much.
STATED = "stated"
#: The largest tolerance of a grade.
LIMITS = {CLOSED: 1e-6, FILTER: 1e-3, STATED: math.inf}


@dataclass(frozen=True)
class Reference:
    """A published implementation of a metric.

    Attributes:
        metric: our id.
        quantity: its key in the golden values.
        implementation: the key of the implementation there.
        grade: `CLOSED`, `FILTER` or `STATED`.
        tolerance: the relative deviation that no triple may reach.
        least: the number of triples that must have a value.
        factor: of the published value, to our unit.
        without: beginnings of the names of triples that are left out, for the reason in the remark.
        textured: whether only triples without any flat window count.
        remark: why the tolerance is not tighter, or what differs.
    """

    metric: str
    quantity: str
    implementation: str
    grade: str
    tolerance: float
    least: int
    factor: float = 1.0
    without: tuple[str, ...] = ()
    textured: bool = False
    remark: str = ""

    def serves(self, triple: str) -> bool:
        """Return whether the reference counts for the triple of this name."""
        return not triple.startswith(self.without) if self.without else True


def _read_table() -> tuple[list[Reference], dict[str, str]]:
    """Return the references, and why other metrics have none: rows of the grade ``none``."""
    references, others = [], {}
    with Path(__file__).with_name("references.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["grade"] == "none":
                others[row["metric"]] = row["remark"]
                continue
            numbers = {"tolerance": float(row["tolerance"]), "least": int(row["least"])}
            more = {"factor": float(row["factor"] or 1), "without": tuple(row["without"].split())}
            references.append(Reference(**{**row, **numbers, **more, "textured": bool(row["textured"])}))  # type: ignore[arg-type]
    return references, others


#: What metrics are calibrated against; and those that no published implementation calibrates, with the reason.
REFERENCES, NOT_CALIBRATED = _read_table()


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
        # Each is computed once, as long as this object lives.
        self.images = functools.cache(self._images)
        self.value = functools.cache(self._value)
        self.textured = functools.cache(self._textured)

    def names(self) -> list[str]:
        """Return the triples' names, in alphabetical order."""
        return sorted(self.published)

    def _images(self, triple: str) -> list[Tensor]:
        """Return A, B and F of a triple, (1, 1, H, W) each in [0, 1]."""
        return [read_luminance(self.folder / "triples" / triple / f"{letter}.png") for letter in "ABF"]

    def _value(self, metric: str, triple: str) -> float:
        """Return our value of a metric on a triple."""
        first, second, fused = self.images(triple)
        with torch.no_grad():
            return float(build_metric(metric)([first, second], fused))

    def _textured(self, triple: str) -> bool:
        """Return whether no 7×7 window of any of the three images is flat."""
        return not bool(Moments(torch.stack([levels(image) for image in self.images(triple)])).flat.any())

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
        found = read_json(path)
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


def result(found: Sequence[Deviation]) -> Result:
    """Return the calibration as data, as the page of the docs, and as rows."""
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
    data = {**facts(), "calibrated": rows, "not_calibrated": uncalibrated()}
    return Result(data, _page(found, data), rows)


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

`fusekit bench calibration --golden DIR --markdown docs/calibration.md --overwrite` wrote this page with fusekit
{version}, code `{code}`, torch {torch}.
*Tolerance* is the greatest relative deviation allowed on any triple; the tests assert it.
"""


def _page(found: Sequence[Deviation], data: Mapping[str, Any]) -> str:
    """Return the calibration as a Markdown page: the table, its remarks as notes, and what is not calibrated."""
    count = max((each.triples for each in found), default=0)
    remarks = list(dict.fromkeys(each.reference.remark for each in found if each.reference.remark))
    headers = ["metric", "reference implementation", "triples", "max absolute", "max relative", "tolerance", "grade"]
    rows = []
    for each in found:
        of = each.reference
        cells = [f"`{of.metric}`", of.implementation, each.triples, _small(each.absolute), _small(each.relative)]
        note = remarks.index(of.remark) + 1 if of.remark else ""
        rows.append([*cells, f"{of.tolerance:.0e}", of.grade, each.verdict, note])
    lines = [_INTRODUCTION.format(triples=count, **{key: data[key] for key in ("version", "code", "torch")})]
    lines += ["## Calibrated", "", *table([*headers, "verdict", "note"], rows, "llrrrrllr")]
    lines += ["", "Notes:", "", *(f"{number}. {remark}" for number, remark in enumerate(remarks, 1))]
    others = [[f"`{name}`", reason] for name, reason in data["not_calibrated"].items()]
    return "\n".join([*lines, "", "## Not calibrated", "", *table(["metric", "reason"], others)])


def _small(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
