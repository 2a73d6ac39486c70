"""Ratings of one or several fused folders against the same sources."""

from __future__ import annotations

import itertools
import math
import statistics
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fusekit.cases.case import Case
from fusekit.cases.folders import images_in, matched
from fusekit.cases.splits import series_of
from fusekit.errors import FusekitWarning, InputError, count_of, one_line, some
from fusekit.evaluation.copying import NEARLY_A_COPY, TOLD_BY, Sharing, copying_of, mean_of
from fusekit.evaluation.rate import Rating, evaluate_detailed, metric_names
from fusekit.evaluation.significance import holm, randomization_test
from fusekit.registry.discovery import registries

#: Told how many of `Comparison.steps` are done, and which image is being rated.
Report = Callable[[int, str], None]


@dataclass
class LeftOut:
    """What there is and is not rated.

    Attributes:
        cases: how many the sources have, of those that were asked for.
        lacking: method → names of the cases that it has no fused image for; such a case is rated for no method.
        unmatched: method → names of its images that belong to no sources.
        incomplete: source folder → names that it lacks and another source folder has.
    """

    cases: int
    lacking: dict[str, list[str]] = field(default_factory=dict)
    unmatched: dict[str, list[str]] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> list[tuple[str, list[str]]]:
        """Return what a reader must know: sentences, each with all the names that it tells the first of."""
        found = [
            (
                f"{method} lacks {len(names)} of {count_of(range(self.cases), 'case')}, which are not rated: "
                f"{some(names)}; fuse them too, or choose cases by --names",
                names,
            )
            for method, names in self.lacking.items()
        ]
        found = [each for each in found if each[1]]
        if found and len(self.lacking) > 1:
            common = self.cases - len(set().union(*self.lacking.values()))
            found.append((f"all methods are rated on the {count_of(range(common), 'case')} that each of them has", []))
        found += [
            (
                f"{method} holds {count_of(names, 'image')} of no case, not rated: {some(names)}; "
                "a fused image is called as its sources are",
                names,
            )
            for method, names in self.unmatched.items()
            if names
        ]
        found += [
            (f"{folder} lacks {count_of(names, 'image')} that another source has: {some(names)}", names)
            for folder, names in self.incomplete.items()
            if names
        ]
        return found


@dataclass(repr=False)
class Comparison:
    """Ratings of fused images, by method, image and metric.

    Attributes:
        metrics: ids, in the order asked for.
        cases: image name → the case, whose sources it is rated against.
        fused: method → image name → path of the fused image.
        left_out: what there is and is not rated.
        ratings: method → image name → metric → rating. All methods have the same images.
        sharing: method → image name → what the fused image has of each source.
        failed: image name → what is wrong with it; such images are left out for all methods.
    """

    metrics: list[str]
    cases: dict[str, Case]
    fused: dict[str, dict[str, Path]]
    left_out: LeftOut
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    sharing: dict[str, dict[str, Sharing]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _p_values: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict, init=False, repr=False)

    def __repr__(self) -> str:
        left_out = f", {len(self.failed)} images failed" if self.failed else ""
        counts = f"{len(self.methods)} methods, {len(self.images)} images, {len(self.metrics)} metrics"
        return f"Comparison({counts}{left_out})"

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
        for names in (case.roles, [path.stem for path in case.files]):
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
        own = self.methods.index(method)
        columns = [self.values(each, metric, part) for each in self.methods]
        return statistics.fmean(
            ranks([_badness(metric, value) for value in values])[own] for values in zip(*columns, strict=True)
        )

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
        if (metric, part) not in self._p_values:
            best = self.best(metric, part)
            others = [method for method in self.methods if method != best]
            reference = self.values(best, metric, part)
            raw = [randomization_test(reference, self.values(method, metric, part)) for method in others]
            self._p_values[metric, part] = dict(zip(others, holm(raw), strict=True))
        return self._p_values[metric, part]

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


def compare(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: str | Sequence[str] | None = None,
    names: str | None = None,
    report: Report | None = None,
) -> Comparison:
    """Rate fused images against their sources: one set of files, or folders matched by file name.

    What is left out, and a method that is nearly a copy of one source, is warned of by `FusekitWarning`.

    Args:
        sources: one file or more, or as many folders.
        fused: method → fused file or folder, of the same kind as the sources.
        metrics: as in `fusekit.evaluate`.
        names: list of names to rate (see `fusekit.cases.folders.read_names`); by default all that every folder holds.
        report: told of the progress, see `Report`.

    Raises:
        InputError: files and folders are mixed, nothing matches, or a folder lacks an image that is asked for.
        UnknownNameError: there is no such metric.
    """
    comparison = matched_up(sources, fused, metrics, names)
    rate_all(comparison, report)
    return comparison


def matched_up(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: str | Sequence[str] | None = None,
    names: str | None = None,
) -> Comparison:
    """Return a comparison of which nothing is rated yet; arguments, errors and warnings as for `compare`."""
    kinds = {path.is_dir() for path in (*sources, *fused.values())}
    if len(kinds) > 1:
        raise InputError("give files only, or folders only: sources and fused images are matched one by one")
    chosen = metric_names(metrics)
    if kinds == {False}:
        name = next(iter(fused.values())).stem
        roles = tuple(path.parent.name for path in sources)
        case = Case(name, tuple(sources), roles, series_of(name))
        paths = {method: {name: path} for method, path in fused.items()}
        return Comparison(chosen, {name: case}, paths, LeftOut(1))
    comparison = _of_folders(sources, fused, chosen, names)
    for line, _ in comparison.left_out.told():
        warnings.warn(line, FusekitWarning, stacklevel=2)
    return comparison


def rate_all(comparison: Comparison, report: Report | None = None) -> None:
    """Rate what was matched up.

    Args:
        comparison: is filled.
        report: told of the progress, see `Report`.

    Raises:
        InputError: no image could be rated.
    """
    a_case = comparison.steps // len(comparison.cases)
    for number, image in enumerate(comparison.cases):
        _rate_image(comparison, image, _counting(report, number * a_case, image))
    if not comparison.images:
        first = next(iter(comparison.failed.items()), ("", "no image"))
        raise InputError(f"no image could be rated; {first[0]}: {first[1]}")
    for method, source in comparison.copies().items():
        warnings.warn(
            f"{method} is nearly a copy of {source} (copying {comparison.copying(method):.2f}, where 1 is a copy); "
            "judge it by the values of the worse source, --per-source",
            FusekitWarning,
            stacklevel=2,
        )


def _counting(report: Report | None, start: int, image: str) -> Callable[[str], None]:
    """Return what is called with each metric that is begun on an image, and counts them for ``report``."""
    steps = itertools.count(start)

    def begun(_: str) -> None:
        if report is not None:
            report(next(steps), image)

    return begun


def _of_folders(
    sources: Sequence[Path], fused: Mapping[str, Path], metrics: list[str], names: str | None
) -> Comparison:
    asked = matched(sources, names)
    cases = {case.name: case for case in asked if case.complete}
    listings = {method: images_in(folder) for method, folder in fused.items()}
    common = [name for name in cases if all(name in listing for listing in listings.values())]
    if names is not None and len(common) < len(asked):
        missing = next(case for case in asked if case.name not in common)
        folders = [*zip(sources, missing.sources, strict=True)]
        folders += [(fused[method], listing.get(missing.name)) for method, listing in listings.items()]
        lacking = next(folder for folder, path in folders if path is None)
        raise InputError(f"{names} lists {missing.name}, which {lacking} lacks; add it, or take it off the list")
    if not common:
        raise InputError("no file name is in all of the source and fused folders; images are matched by file name")
    return Comparison(
        metrics,
        {name: cases[name] for name in common},
        {method: {name: listing[name] for name in common} for method, listing in listings.items()},
        _left_out(sources, asked, {case.name for case in matched(sources)}, listings),
    )


def _left_out(
    sources: Sequence[Path], asked: Sequence[Case], known: Set[str], listings: Mapping[str, Mapping[str, Path]]
) -> LeftOut:
    """Say what is not rated of the cases that are asked for, and of fused images that are called as none ``known``."""
    cases = [case.name for case in asked if case.complete]
    each = listings.items()
    return LeftOut(
        len(cases),
        {method: [name for name in cases if name not in listing] for method, listing in each},
        {method: [path.name for name, path in listing.items() if name not in known] for method, listing in each},
        {
            str(folder): [case.name for case in asked if case.sources[place] is None]
            for place, folder in enumerate(sources)
        },
    )


def _rate_image(comparison: Comparison, image: str, begun: Callable[[str], None]) -> None:
    """Rate one image for all methods; if it fails for one, it is left out for all, so that means stay comparable."""
    files, rows = comparison.cases[image].files, {}
    for method in comparison.methods:
        try:
            path = comparison.fused[method][image]
            rows[method] = evaluate_detailed(files, path, comparison.computed, begun)
        # A metric of a plugin may raise anything; the other images go on.
        except (Exception, SystemExit) as error:
            comparison.failed[image] = f"{method}: {one_line(error)}"
            return
    between = [_of_each_source(evaluate_detailed(files, path, ["cc"])["cc"]) for path in files]
    for method, row in rows.items():
        correlation, vif = (_of_each_source(row[name]) for name in TOLD_BY)
        sharing: Sharing = {"copying": copying_of(correlation, between), "correlation": correlation, "vif": vif}
        comparison.sharing.setdefault(method, {})[image] = sharing
        comparison.ratings.setdefault(method, {})[image] = {name: row[name] for name in comparison.metrics}


def _of_each_source(rating: Rating) -> list[float]:
    values = rating["per_source"]
    assert values is not None, "cc and vif compare source by source"
    return values
