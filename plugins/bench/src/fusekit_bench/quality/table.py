"""A quality table: its rows, and their statistics as pandas frames."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.evaluation.rate import Rating
from fusekit.evaluation.ratings import deviation, part_of, ranks
from fusekit_bench.quality.methods import RECONSTRUCTION, Measure, Method, paper_measures

if TYPE_CHECKING:
    from pandas import DataFrame

#: By what methods are ranked: a fusion should be ahead in all three.
RANKED = (Measure("qabf"), Measure("vif"), Measure("scd"))


@dataclass
class Row:
    """A method on a dataset.

    Attributes:
        dataset: what was fused.
        method: with the weights of the last replicate.
        ratings: replicate's label → image → measure's name → rating.
        facts: replicate's label → model, weights, rule, commit, data, device, versions, training.
        cases: of the last replicate.
        partial: whether it is of some of the dataset's test pairs only, as the published images of others may be.
    """

    dataset: Dataset
    method: Method
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)
    partial: bool = False

    @property
    def name(self) -> str:
        """The method's name; no other row of the dataset has it."""
        return self.method.name

    def weights(self) -> list[str]:
        """Return the SHA-256 of the weights of each replicate; none for a model without weights."""
        return [facts["weights"]["sha256"] for facts in self.facts.values() if facts.get("weights")]

    def on(self, pairs: Sequence[str], data: dict[str, Any]) -> Row:
        """Return the row of some of its pairs, whose facts are ``data``."""
        ratings = {label: {pair: images[pair] for pair in pairs} for label, images in self.ratings.items()}
        facts = {label: {**each, "data": data} for label, each in self.facts.items()}
        return replace(self, ratings=ratings, facts=facts, cases=[each for each in self.cases if each.name in pairs])


@dataclass(frozen=True)
class Subset:
    """Some test pairs of a dataset, of which others published fused images, with all methods on just these.

    Attributes:
        names: of the methods whose pairs these are.
        pairs: names.
        rows: of the methods that have all these pairs, of which no other pair is counted.
    """

    names: list[str]
    pairs: list[str]
    rows: list[Row]


@dataclass
class Table:
    """All rows of a bench.

    Attributes:
        title: ``series``, ``paper`` or ``ablation``.
        measures: columns, in the order asked for.
        commit: of the code that made it.
        rows: dataset after dataset.
        copies: of each dataset what a copy of a source gets, in no one's place.
    """

    title: str
    measures: list[Measure]
    commit: str
    rows: list[Row] = field(default_factory=list)
    copies: list[Row] = field(default_factory=list)

    def row(self, dataset: Dataset, method: Method) -> Row:
        """Return the row of a method on a dataset, a new one if there is none."""
        rows = self.copies if method.copies else self.rows
        for row in rows:
            if (row.dataset.name, row.name) == (dataset.name, method.name):
                row.method = method
                return row
        rows.append(Row(dataset, method))
        return rows[-1]

    def copies_of(self, dataset: str) -> list[Row]:
        """Return the rows of the copies of a dataset's sources."""
        return [row for row in self.copies if row.dataset.name == dataset]

    def by_dataset(self) -> dict[str, list[Row]]:
        """Return the rows of all test pairs under their dataset's name: those whose means compare."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            if not row.partial:
                groups.setdefault(row.dataset.name, []).append(row)
        return groups

    def subsets(self, dataset: str) -> list[Subset]:
        """Return the sets of pairs of a dataset that the rows of some pairs only are of, in the rows' order."""
        rows = [row for row in self.rows if row.dataset.name == dataset]
        pairs_of = {row.name: [case.name for case in row.cases] for row in rows}
        found: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            if row.partial:
                found.setdefault(tuple(pairs_of[row.name]), []).append(row)
        subsets = []
        for pairs, own in found.items():
            data = next(iter(own[0].facts.values()))["data"]
            having = [row.on(pairs, data) for row in rows if set(pairs) <= set(pairs_of[row.name])]
            subsets.append(Subset([row.name for row in own], list(pairs), having))
        return subsets

    @property
    def ranked(self) -> list[Measure]:
        """The measures that methods are ranked by, as far as they were computed."""
        return [each for each in RANKED if each in self.measures]


def values(rows: Sequence[Row], measures: Sequence[Measure], part: str = "") -> DataFrame:
    """Return a line an image; where there are several replicates, each one's mean over its images.

    Args:
        rows: of one dataset.
        measures: the columns, by their names.
        part: ``value`` or ``worst``; what each measure's table shows by default.

    Returns:
        lines by ``method``, ``replicate`` and ``image``, or without the last.
    """
    from pandas import DataFrame, MultiIndex

    found = {
        (row.name, label, image): [part_of(rated[each.name], part or each.part) for each in measures]
        for row in rows
        for label, images in row.ratings.items()
        for image, rated in images.items()
    }
    index = MultiIndex.from_tuples(found, names=["method", "replicate", "image"])
    frame = DataFrame(list(found.values()), index, [each.name for each in measures])
    if index.unique("replicate").size > 1:
        frame = frame.groupby(level=["method", "replicate"], sort=False).agg(statistics.fmean)
    return frame


def summary(rows: Sequence[Row], measures: Sequence[Measure], part: str = "") -> DataFrame:
    """Return a line a method of what its `values` come to.

    Returns:
        columns by what it is and the measure's name: ``mean`` and ``std``, the sample standard deviation (0 for a
        single value, NaN where one is infinite); ``gain``, the mean so that more is better; ``rank`` by it, 1 the
        best, where equal means share theirs.
    """
    from pandas import DataFrame, concat

    groups = values(rows, measures, part).groupby(level="method", sort=False)
    means = groups.agg(statistics.fmean)
    gains = means * [-1 if each.arrow == "↓" else 1 for each in measures]
    places = {name: ranks([-gain for gain in gains[name]]) for name in gains}
    frames = {"mean": means, "std": groups.agg(deviation), "gain": gains, "rank": DataFrame(places, gains.index)}
    return concat(frames, axis=1)


def by_rank(rows: Sequence[Row], measures: Sequence[Measure]) -> list[Row]:
    """Return the rows in the order of their mean rank over the measures, the best first."""
    means = summary(rows, measures)["rank"].agg(statistics.fmean, axis=1)
    return sorted(rows, key=lambda row: float(means[row.name]))


def title(measure: Measure) -> str:
    """Return what a column is called: the metric, and on what or of which source."""
    if measure == RECONSTRUCTION:
        return "reconstruction, dB"
    if measure.view == "float":
        return f"{measure.metric} (paper)" if measure in paper_measures() else f"{measure.metric} (float)"
    return f"{measure.metric}, worse source" if measure.part == "worst" else measure.metric
