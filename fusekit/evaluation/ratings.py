"""Ratings of one or several fused folders against the same sources."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusekit.cases.case import Case, check_distinct_files
from fusekit.cases.folders import images_in, matched
from fusekit.cases.patterns import patterns_of, stem_of
from fusekit.cases.splits import series_of
from fusekit.errors import InputError, OptionError, one_line
from fusekit.evaluation.rate import Rating, evaluate_detailed, metric_names
from fusekit.evaluation.significance import holm, randomization_test
from fusekit.machine.files import is_folder
from fusekit.registry.discovery import registries


@dataclass(repr=False)
class Comparison:
    """Ratings of fused images, by method, image and metric.

    Attributes:
        metrics: ids, in the order asked for.
        cases: image name → the case, whose sources it is rated against.
        fused: method → image name → path of the fused image.
        ratings: method → image name → metric → rating. All methods have the same images.
        failed: image name → what is wrong with it; such images are left out for all methods.
    """

    metrics: list[str]
    cases: dict[str, Case]
    fused: dict[str, dict[str, Path]]
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        left_out = f", {len(self.failed)} images failed" if self.failed else ""
        counts = f"{len(self.methods)} methods, {len(self.images)} images, {len(self.metrics)} metrics"
        return f"Comparison({counts}{left_out})"

    @property
    def methods(self) -> list[str]:
        """Names of the methods, in the order given."""
        return list(self.fused)

    @property
    def images(self) -> list[str]:
        """Names of the images that were rated."""
        return list(next(iter(self.ratings.values()), {}))

    def values(self, method: str, metric: str, part: str = "value") -> list[float]:
        """Return one number an image: the metric's ``value``, or its ``worst`` source's if there is one."""
        return [part_of(rating[metric], part) for rating in self.ratings[method].values()]

    def mean(self, method: str, metric: str, part: str = "value") -> float:
        """Return the mean over the images."""
        return statistics.fmean(self.values(method, metric, part))

    def std(self, method: str, metric: str, part: str = "value") -> float:
        """Return the sample standard deviation over the images; 0 for a single one, NaN where a value is infinite."""
        return deviation(self.values(method, metric, part))

    def best(self, metric: str, part: str = "value") -> str:
        """Return the method with the best mean, by the metric's direction."""
        means = {method: self.mean(method, metric, part) for method in self.methods}
        return min(means, key=lambda method: _badness(metric, means[method]))

    def mean_rank(self, method: str) -> float:
        """Return the method's rank, 1 the best, averaged over images and metrics; equal values share their ranks."""
        own, places = self.methods.index(method), []
        for metric in self.metrics:
            columns = [self.values(each, metric) for each in self.methods]
            for values in zip(*columns, strict=True):
                places.append(ranks([_badness(metric, value) for value in values])[own])
        return statistics.fmean(places)

    def significance(self, metric: str) -> dict[str, float]:
        """Return, for each method but the best, the p-value of its difference from the best on this metric.

        A two-sided paired randomisation test over the images, corrected for the number of methods by Holm's procedure.
        """
        best = self.best(metric)
        others = [method for method in self.methods if method != best]
        reference = self.values(best, metric)
        raw = [randomization_test(reference, self.values(method, metric)) for method in others]
        return dict(zip(others, holm(raw), strict=True))

    def worst_images(self, method: str, metric: str, count: int | None = None) -> list[str]:
        """Return the images in the order of the metric, the worst first."""
        values = dict(zip(self.images, self.values(method, metric), strict=True))
        return sorted(values, key=lambda image: -_badness(metric, values[image]))[:count]


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
    return [sum(each < own for each in scores) + (sum(each == own for each in scores) + 1) / 2 for own in scores]


def _badness(metric: str, value: float) -> float:
    """Return a number that is smaller the better ``value`` is."""
    return value if registries().metrics.entry(metric).details["direction"] == "lower" else -value


def compare(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: str | Sequence[str] | None = None,
    names: str | None = None,
    report: Callable[[str], None] | None = None,
    match: Sequence[str] = (),
) -> Comparison:
    """Rate fused images against their sources: one set of files, or folders matched by file name.

    Args:
        sources: two or more files, or as many folders.
        fused: method → fused file or folder, of the same kind as the sources.
        metrics: as in `fusekit.evaluate`.
        names: list of names to rate (see `fusekit.cases.names.read_names`); by default all that every folder holds.
        report: called with the name of each image that is done.
        match: patterns of the names in folders (see `fusekit.cases.folders.matched`): one a source, and, where they are
            called otherwise than by what is common, one a fused folder behind them.

    Raises:
        InputError: files and folders are mixed, nothing matches, or a fused folder lacks an image that is asked for.
        UnknownNameError: there is no such metric.
    """
    kinds = {is_folder(path) for path in (*sources, *fused.values())}
    if len(kinds) > 1:
        raise InputError("give files only, or folders only: sources and fused images are matched one by one")
    chosen = metric_names(metrics)
    if kinds == {False}:
        if match:
            raise OptionError("--match finds the images of folders that belong together; leave it out, or give folders")
        check_distinct_files(sources)
        name = stem_of(next(iter(fused.values())).name)
        roles = tuple(path.parent.name for path in sources)
        case = Case(name, tuple(sources), roles, series_of(name))
        comparison = Comparison(chosen, {name: case}, {method: {name: path} for method, path in fused.items()})
    else:
        comparison = _of_folders(sources, fused, chosen, names, match)
    for image in list(comparison.cases):
        _rate_image(comparison, image)
        if report is not None:
            report(image)
    if not comparison.images:
        first = next(iter(comparison.failed.items()), ("", "no image"))
        raise InputError(f"no image could be rated; {first[0]}: {first[1]}")
    return comparison


def _of_folders(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: list[str],
    names: str | None,
    match: Sequence[str],
) -> Comparison:
    count = len(sources)
    cases = {case.name: case for case in matched(sources, names, match=match[:count]) if case.complete}
    patterns = patterns_of(match[count:], len(fused))
    listings = {
        method: images_in(folder, pattern) for (method, folder), pattern in zip(fused.items(), patterns, strict=True)
    }
    common = [name for name in cases if all(name in listing for listing in listings.values())]
    if names is not None and len(common) < len(cases):
        missing = next(name for name in cases if name not in common)
        lacking = next(method for method, listing in listings.items() if missing not in listing)
        raise InputError(f"{names} lists {missing}, which {fused[lacking]} lacks; fuse it first")
    if not common:
        raise InputError("no file name is in all of the source and fused folders; images are matched by file name")
    return Comparison(
        metrics,
        {name: cases[name] for name in common},
        {method: {name: listing[name] for name in common} for method, listing in listings.items()},
    )


def _rate_image(comparison: Comparison, image: str) -> None:
    """Rate one image for all methods; if it fails for one, it is left out for all, so that means stay comparable."""
    rows = {}
    for method in comparison.methods:
        try:
            rows[method] = evaluate_detailed(
                comparison.cases[image].files, comparison.fused[method][image], comparison.metrics
            )
        # A metric of a plugin may raise anything; the other images go on.
        except (Exception, SystemExit) as error:
            comparison.failed[image] = one_line(error)
            return
    for method, row in rows.items():
        comparison.ratings.setdefault(method, {})[image] = row
