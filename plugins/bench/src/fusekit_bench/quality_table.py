"""The rows of a quality table, their statistics and ranks, and the paper's tables as data."""

from __future__ import annotations

import functools
import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.evaluation.rate import Rating
from fusekit_bench.quality_methods import Method
from fusekit_bench.quality_scores import RECONSTRUCTION, Measure, paper_measures

#: By what methods are ranked: a fusion should be ahead in all three.
RANKED = (Measure("qabf"), Measure("vif"), Measure("scd"))
_PAPER = Path(__file__).with_name("paper.json")


@dataclass
class Row:
    """A method on a dataset.

    Attributes:
        dataset: what was fused.
        method: with the weights of the last replicate.
        ratings: replicate's label → image → measure's name → rating.
        facts: replicate's label → model, weights, rule, commit, data, device, versions, training.
        cases: of the last replicate.
    """

    dataset: Dataset
    method: Method
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    def values(self, measure: Measure, part: str = "") -> list[float]:
        """Return a value an image; where there are several replicates, each one's mean over its images."""
        part = part or measure.part
        lists = [[part_of(image[measure.name], part) for image in images.values()] for images in self.ratings.values()]
        return lists[0] if len(lists) == 1 else [statistics.fmean(each) for each in lists]

    def mean(self, measure: Measure, part: str = "") -> float:
        """Return the mean of the values."""
        return statistics.fmean(self.values(measure, part))

    def std(self, measure: Measure, part: str = "") -> float:
        """Return their sample standard deviation; 0 for a single value, NaN where one is infinite."""
        values = self.values(measure, part)
        if not all(map(math.isfinite, values)):
            return math.nan
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def weights(self) -> list[str]:
        """Return the SHA-256 of the weights of each replicate; none for a model without weights."""
        return [facts["weights"]["sha256"] for facts in self.facts.values() if facts["weights"]]


def part_of(rating: Rating, part: str) -> float:
    """Return the ``value`` of a rating, or its ``worst`` source's where it has one."""
    worst = rating["worst"]
    return worst if part == "worst" and worst is not None else rating["value"]


@dataclass
class Table:
    """All rows of a bench.

    Attributes:
        title: ``series``, ``paper`` or ``ablation``.
        measures: columns, in the order asked for.
        commit: of the code that made it.
        rows: dataset after dataset.
    """

    title: str
    measures: list[Measure]
    commit: str
    rows: list[Row] = field(default_factory=list)

    def row(self, dataset: Dataset, method: Method) -> Row:
        """Return the row of a method on a dataset, a new one if there is none."""
        for row in self.rows:
            if row.dataset.name == dataset.name and row.method.name == method.name:
                row.method = method
                return row
        self.rows.append(Row(dataset, method))
        return self.rows[-1]

    def by_dataset(self) -> dict[str, list[Row]]:
        """Return the rows under their dataset's name."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.dataset.name, []).append(row)
        return groups

    @property
    def ranked(self) -> list[Measure]:
        """The measures that methods are ranked by, as far as they were computed."""
        return [each for each in RANKED if each in self.measures]


def best(rows: list[Row], measure: Measure) -> list[Row]:
    """Return the rows with the best mean, several where they are equal."""
    least = min(_badness(row, measure) for row in rows)
    return [row for row in rows if _badness(row, measure) == least]


def ranks(rows: list[Row], measure: Measure) -> list[float]:
    """Return each row's rank by its mean, 1 the best; equal means share their ranks."""
    scores = [_badness(row, measure) for row in rows]
    return [sum(each < own for each in scores) + (scores.count(own) + 1) / 2 for own in scores]


def surplus(row: Row, others: list[Row], measure: Measure) -> float:
    """Return by how much a row's mean is better than the best of others'; negative where it is worse."""
    return min(_badness(other, measure) for other in others) - _badness(row, measure)


def _badness(row: Row, measure: Measure) -> float:
    return row.mean(measure) if measure.arrow == "↓" else -row.mean(measure)


@functools.cache
def paper_tables() -> dict[str, Any]:
    """Return the paper's tables: ``citation``, ``metrics``, ``tables`` and ``ablation`` by name of the data."""
    tables: dict[str, Any] = json.loads(_PAPER.read_text(encoding="utf-8"))
    return tables


def title(measure: Measure) -> str:
    """Return what a column is called: the metric, and on what or of which source."""
    if measure == RECONSTRUCTION:
        return "reconstruction, dB"
    if measure.view == "float":
        return f"{measure.metric} (paper)" if measure in paper_measures() else f"{measure.metric} (float)"
    return f"{measure.metric}, worse source" if measure.part == "worst" else measure.metric
