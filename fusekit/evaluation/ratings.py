"""Ratings of one or several methods on the same cases: means, ranks, tests, and how much each method copies."""

from __future__ import annotations

import itertools
import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fusekit.cases.case import Case
from fusekit.cases.patterns import stem_of
from fusekit.errors import count_of
from fusekit.evaluation.copying import NEARLY_A_COPY, TOLD_BY, Sharing, mean_of
from fusekit.evaluation.left_out import LeftOut
from fusekit.evaluation.rate import Rating
from fusekit.evaluation.reading import DataRanges, Read, read_all
from fusekit.evaluation.significance import holm, randomization_tests
from fusekit.options import MAX_PIXELS
from fusekit.registry.discovery import registries


@dataclass(repr=False)
class Comparison:
    """Ratings of fused images, by method, image and metric.

    Attributes:
        metrics: ids, in the order asked for.
        cases: image name → the case, whose sources it is rated against.
        fused: method → image name → path of the fused image.
        left_out: what there is and is not rated.
        data_range: which stored values are black and white, as given to `fusekit.evaluate`.
        asked: the same for each image, with what was found in folders.
        nan: what becomes of values that are no numbers.
        page: which image of files that hold several.
        max_pixels: the most pixels that an image file may have.
        ratings: method → image name → metric → rating. All methods have the same images.
        sharing: method → image name → what the fused image has of each source.
        ranges: method → image name → stored values that were black and white, of each source and the fused image.
        doubts: kind → what of the ranges only the user can settle; the first of each kind.
        failed: image name → what is wrong with it; such images are left out for all methods.
    """

    metrics: list[str]
    cases: dict[str, Case]
    fused: dict[str, dict[str, Path]]
    left_out: LeftOut
    data_range: tuple[str, ...] = ()
    asked: DataRanges | None = None
    nan: str = "refuse"
    page: int | None = None
    max_pixels: int = MAX_PIXELS
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    sharing: dict[str, dict[str, Sharing]] = field(default_factory=dict)
    ranges: dict[str, dict[str, list[tuple[float, float]]]] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    # By metric and part, then by method: what takes long and is asked for by every report.
    _ranks: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict, init=False)
    _p_values: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict, init=False)

    def __repr__(self) -> str:
        left_out = f", {len(self.failed)} images failed" if self.failed else ""
        counts = f"{len(self.methods)} methods, {len(self.images)} images, {len(self.metrics)} metrics"
        return f"Comparison({counts}{left_out})"

    @property
    def reading(self) -> dict[str, Any]:
        """The choices of how files are read, as keywords."""
        return {"nan": self.nan, "page": self.page, "max_pixels": self.max_pixels}

    def read(self, image: str, method: str) -> Read:
        """Return the sources of an image, and what a method fused of them.

        Raises:
            InputError: one cannot be read or used, or the sizes differ.
            OptionError: a range cannot be used.
        """
        ranges = self.data_range if self.asked is None else self.asked
        return read_all(self.cases[image].files, self.fused[method][image], ranges, **self.reading)

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in the order given."""
        return list(self.fused)

    @property
    def computed(self) -> list[str]:
        """Ids of the metrics that are computed: those asked for, and those that copying is told by."""
        return list(dict.fromkeys([*self.metrics, *TOLD_BY]))

    @property
    def steps(self) -> int:
        """How many values there are to compute: a metric, a method and a case."""
        return len(self.cases) * len(self.fused) * len(self.computed)

    @property
    def images(self) -> list[str]:
        """Names of the images that were rated."""
        return list(next(iter(self.ratings.values()), {}))

    @property
    def extent(self) -> str:
        """How many cases were rated, and of how many, in words."""
        rated, there = len(self.images), count_of(range(self.left_out.cases), "case")
        return there if rated == self.left_out.cases else f"{rated} of {there}"

    @property
    def sources(self) -> list[str]:
        """What the sources are called: by their folders, or by their files where these tell them apart."""
        case = next(iter(self.cases.values()))
        for names in (case.roles, [stem_of(path.name) for path in case.files] if len(self.cases) == 1 else []):
            if len(set(names)) == len(names) and all(names):
                return list(names)
        return [f"source {number}" for number in range(1, len(case.sources) + 1)]

    def values(self, method: str, metric: str, part: str = "value") -> list[float]:
        """Return one number an image: the metric's ``value``, or its ``worst`` source's if there is one."""
        return [part_of(rating[metric], part) for rating in self.ratings[method].values()]

    def mean(self, method: str, metric: str, part: str = "value") -> float:
        """Return the mean over the images."""
        return statistics.fmean(self.values(method, metric, part))

    def std(self, method: str, metric: str, part: str = "value") -> float:
        """Return the sample standard deviation over the images; 0 for a single one, NaN where a value is infinite."""
        return deviation(self.values(method, metric, part))

    def by_source(self, metric: str) -> bool:
        """Return whether the metric has values of each source, of several."""
        row = next(iter(next(iter(self.ratings.values())).values()))
        return len(row[metric]["per_source"] or ()) > 1

    def best(self, metric: str, part: str = "value") -> str:
        """Return the method with the best mean, by the metric's direction."""
        means = {method: self.mean(method, metric, part) for method in self.methods}
        return min(means, key=lambda method: _badness(metric, means[method]))

    def rank(self, method: str, metric: str, part: str = "value") -> float:
        """Return the method's rank by one metric, 1 the best, averaged over the images; equal values share ranks."""
        if (metric, part) not in self._ranks:
            columns = [self.values(each, metric, part) for each in self.methods]
            rows = [ranks([_badness(metric, value) for value in values]) for values in zip(*columns, strict=True)]
            found = [statistics.fmean(column) for column in zip(*rows, strict=True)]
            self._ranks[metric, part] = dict(zip(self.methods, found, strict=True))
        return self._ranks[metric, part][method]

    def mean_rank(self, method: str, part: str = "value") -> float:
        """Return the method's rank, 1 the best, averaged over images and metrics.

        Args:
            method: one of them.
            part: ``value``, as papers do; or ``worst``, by which a metric that has values of each source counts by that
                of its worst, so that what an image has of one source does not make up for the lack of another.
        """
        return statistics.fmean(self.rank(method, metric, part) for metric in self.metrics)

    def significance(self, metric: str, part: str = "value") -> dict[str, float]:
        """Return, for each method but the best, the p-value of its difference from the best on this metric.

        A two-sided paired randomisation test over the images, corrected for the number of methods by Holm's procedure.
        """
        if not self._p_values:
            self._test_all()
        return self._p_values[metric, part]

    def _test_all(self) -> None:
        """Test every metric and part at once, since the draws take longest."""
        tests = []
        for metric, part in itertools.product(self.metrics, ("value", "worst")):
            best = self.best(metric, part)
            tests += [(metric, part, best, method) for method in self.methods if method != best]
            self._p_values[metric, part] = {}
        pairs = [(self.values(best, *of), self.values(method, *of)) for *of, best, method in tests]
        raw = randomization_tests(pairs) if pairs else []
        for (metric, part), found in itertools.groupby(zip(tests, raw, strict=True), lambda each: each[0][:2]):
            rows = list(found)
            adjusted = holm([p_value for _, p_value in rows])
            self._p_values[metric, part] = {test[3]: p for (test, _), p in zip(rows, adjusted, strict=True)}

    def copying(self, method: str) -> float | None:
        """Return the mean over the images of `copying_of`, or ``None`` where no image has it."""
        return mean_of(each["copying"] for each in self.sharing[method].values())

    def shared(self, method: str, what: Literal["correlation", "vif"]) -> list[float]:
        """Return each source's ``correlation`` or ``vif`` with the fused images, the mean over the images."""
        rows = [each[what] for each in self.sharing[method].values()]
        return [statistics.fmean(column) for column in zip(*rows, strict=True)]

    def worst_vif(self, method: str) -> float:
        """Return the visual information fidelity of the worse source, the mean over the images."""
        return statistics.fmean(min(each["vif"]) for each in self.sharing[method].values())

    def copies(self) -> dict[str, str]:
        """Return the methods that are nearly a copy of one source, each with the name of that source."""
        found = {}
        for method in self.methods:
            if (self.copying(method) or 0) >= NEARLY_A_COPY:
                shares = [abs(each) for each in self.shared(method, "correlation")]
                found[method] = self.sources[shares.index(max(shares))]
        return found

    def worst_images(self, method: str, metric: str | None = None, part: str = "worst") -> list[str]:
        """Return the images in the order of a metric, the worst first; by default of their places over all metrics."""
        return self._ordered([method], self.metrics if metric is None else [metric], part)

    def worst_cases(self) -> list[str]:
        """Return the images in the order of how they fare over all methods and metrics, the worst first."""
        return self._ordered(self.methods, self.metrics, "worst")

    def _ordered(self, methods: Sequence[str], metrics: Sequence[str], part: str) -> list[str]:
        places = dict.fromkeys(self.images, 0.0)
        for method, metric in itertools.product(methods, metrics):
            badness = [_badness(metric, value) for value in self.values(method, metric, part)]
            for image, place in zip(places, ranks(badness), strict=True):
                places[image] -= place
        return sorted(places, key=lambda image: places[image])


def part_of(rating: Rating, part: str) -> float:
    """Return the ``value`` of a rating, or its ``worst`` source's where it has one."""
    worst = rating["worst"]
    return worst if part == "worst" and worst is not None else rating["value"]


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation; 0 for a single value, NaN where one is infinite."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


def ranks(scores: Sequence[float]) -> list[float]:
    """Return each score's rank, 1 that of the least; equal scores share their ranks."""
    ordered = sorted(scores)
    return [(bisect_left(ordered, own) + bisect_right(ordered, own) + 1) / 2 for own in scores]


def _badness(metric: str, value: float) -> float:
    """Return a number that is smaller the better ``value`` is."""
    return value if registries().metrics.entry(metric).details["direction"] == "lower" else -value
