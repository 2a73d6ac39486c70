"""Methods compared: what belongs together is matched up, and rated case by case."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from torch import Tensor

from fusekit.cases.case import Case, check_distinct_files
from fusekit.cases.folders import image_files, images_in, matched
from fusekit.cases.patterns import patterns_of, stem_of
from fusekit.cases.splits import series_of
from fusekit.errors import Doubt, FusekitWarning, InputError, OptionError, one_line
from fusekit.evaluation.copying import TOLD_BY, Sharing, copying_of
from fusekit.evaluation.left_out import LeftOut, left_out, nothing_in_common
from fusekit.evaluation.rate import Rating, build_metrics, metric_names, rate_tensors
from fusekit.evaluation.ratings import Comparison
from fusekit.evaluation.reading import DataRanges, Read, asked_ranges, read_settled
from fusekit.images.files import check_page, is_page
from fusekit.images.folder_ranges import in_folder
from fusekit.machine.faults import in_our_words
from fusekit.machine.files import check_reachable, is_folder
from fusekit.metrics.base import Metric
from fusekit.options import MAX_PIXELS, as_texts, check_nan, check_reading

#: Told how many of `Comparison.steps` are done, and which image is being rated.
Report = Callable[[int, str], None]


@in_our_words
def compare(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: str | Sequence[str] | None = None,
    names: str | None = None,
    report: Report | None = None,
    match: Sequence[str] = (),
    data_range: str | Sequence[str] = (),
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
    nan: str = "refuse",
) -> Comparison:
    """Rate fused images against their sources: one set of files, or folders matched by file name.

    What is left out, and a method that is nearly a copy of one source, is warned of by `FusekitWarning`.

    Args:
        sources: one file or more, or as many folders.
        fused: method → fused file or folder, of the same kind as the sources.
        metrics: as in `fusekit.evaluate`.
        names: list of names to rate (see `fusekit.cases.names.read_names`); by default all that every folder holds.
        report: told of the progress, see `Report`.
        match: patterns of the names in folders (see `fusekit.cases.folders.matched`): one a source, and, where they are
            called otherwise than by what is common, one a fused folder behind them.
        data_range: as in `fusekit.evaluate`; ``folder`` finds one range in all images of a source's folder.
        page: likewise.
        max_pixels: likewise.
        nan: likewise.

    Raises:
        InputError: files and folders are mixed, nothing matches, or a folder lacks an image that is asked for.
        OptionError: the patterns are none, or not one a folder.
        UnknownNameError: there is no such metric.
    """
    comparison = matched_up(sources, fused, metrics, names, match, data_range, page, max_pixels, nan)
    rate_all(comparison, report)
    return comparison


def matched_up(
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: str | Sequence[str] | None = None,
    names: str | None = None,
    match: Sequence[str] = (),
    data_range: str | Sequence[str] = (),
    page: int | None = None,
    max_pixels: int = MAX_PIXELS,
    nan: str = "refuse",
) -> Comparison:
    """Return a comparison of which nothing is rated yet; arguments, errors and warnings as for `compare`."""
    check_reading(page, max_pixels)
    check_nan(nan)
    for path in (*sources, *fused.values()):
        check_reachable(path)
    kinds = {is_folder(path) for path in (*sources, *fused.values())}
    if len(kinds) > 1:
        raise InputError("give files only, or folders only: sources and fused images are matched one by one")
    chosen = metric_names(metrics)
    asked = asked_ranges(data_range, sources, folders=kinds == {True})
    if kinds == {False}:
        if match:
            raise OptionError("--match finds the images of folders that belong together; leave it out, or give folders")
        check_distinct_files(sources)
        name = stem_of(next(iter(fused.values())).name)
        roles = tuple(path.parent.name for path in sources)
        case = Case(name, tuple(sources), roles, series_of(name))
        paths = {method: {name: path} for method, path in fused.items()}
        comparison = Comparison(chosen, {name: case}, paths, LeftOut(1))
    else:
        comparison = _of_folders(sources, fused, chosen, names, match)
    comparison.data_range, comparison.nan = as_texts(data_range, "data_range"), nan
    comparison.page, comparison.max_pixels = page, max_pixels
    comparison.asked = _found_in_folders(asked, comparison) if kinds == {True} else asked
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
        OptionError: a page is asked for, and no file holds several.
        PluginError: a metric cannot be imported or built.
        WeightsError: a metric needs weights that are not there.
    """
    metrics = build_metrics(comparison.computed)
    a_case = comparison.steps // len(comparison.cases)
    paged = [
        _rate_image(comparison, image, metrics, _counting(report, number * a_case, image))
        for number, image in enumerate(comparison.cases)
    ]
    if not comparison.images:
        first = next(iter(comparison.failed.items()), ("", "no image"))
        raise InputError(f"no image could be rated; {first[0]}: {first[1]}")
    check_page(comparison.page, any(paged))
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
    sources: Sequence[Path],
    fused: Mapping[str, Path],
    metrics: list[str],
    names: str | None,
    match: Sequence[str],
) -> Comparison:
    count = len(sources)
    own, theirs = patterns_of(match[:count], count), patterns_of(match[count:], len(fused))
    called = [path.name for path in sources]
    if len(set(called)) < count:
        called = [f"{folder} {pattern.text}" for folder, pattern in zip(sources, own, strict=True)]
    asked = matched(sources, names, match=match[:count], roles=called)
    cases = {case.name: case for case in asked if case.complete}
    holdings = {
        method: images_in(folder, pattern) for (method, folder), pattern in zip(fused.items(), theirs, strict=True)
    }
    common = [name for name in cases if all(name in held for held in holdings.values())]
    if names is not None and len(common) < len(asked):
        missing = next(case for case in asked if case.name not in common)
        folders = [*zip(sources, missing.sources, strict=True)]
        folders += [(fused[method], held.get(missing.name)) for method, held in holdings.items()]
        lacking = next(folder for folder, path in folders if path is None)
        raise InputError(f"{names} lists {missing.name}, which {lacking} lacks; add it, or take it off the list")
    if not common:
        raise InputError(nothing_in_common(cases, fused, holdings))
    known = [name for folder, pattern in zip(sources, own, strict=True) for name in images_in(folder, pattern)]
    images = {method: image_files(folder) for method, folder in fused.items()}
    return Comparison(
        metrics,
        {name: cases[name] for name in common},
        {method: {name: held[name] for name in common} for method, held in holdings.items()},
        left_out(asked, called, holdings, images, known),
    )


def _found_in_folders(asked: DataRanges, comparison: Comparison) -> DataRanges:
    """Return ranges with what is found in all images of a source's folder that are rated."""
    opened = partial(read_settled, nan="background", page=comparison.page, max_pixels=comparison.max_pixels)
    said, found = list(asked.sources), []
    for place, text in enumerate(said):
        files = [case.files[place] for case in comparison.cases.values()]
        found.append("auto" if text else in_folder("auto", files, opened))
        said[place] = text and in_folder(text, files, opened)
    return DataRanges(tuple(said), asked.fused, tuple(found))


def _rate_image(
    comparison: Comparison, image: str, metrics: Mapping[str, Metric], begun: Callable[[str], None]
) -> bool:
    """Rate one image for all methods; if it fails for one, it is left out for all, so that means stay comparable.

    Returns:
        whether a file of it holds several images.
    """
    rows = dict[str, tuple[Read, dict[str, Rating]]]()
    for method in comparison.methods:
        try:
            read = comparison.read(image, method)
            _say_doubts(comparison, read.doubts)
            rows[method] = read, rate_tensors(read.sources, read.fused, metrics, begun)
        # A metric of a plugin may raise anything; the other images go on.
        except (Exception, SystemExit) as error:
            comparison.failed[image] = f"{method}: {one_line(error)}"
            return False
    _say_doubts(comparison, _unlike({method: read for method, (read, _) in rows.items()}))
    for method, (read, row) in rows.items():
        correlation, vif = (_of_each_source(row[name]) for name in TOLD_BY)
        copying = copying_of(correlation, _between(read.sources, metrics["cc"]))
        sharing: Sharing = {"copying": copying, "correlation": correlation, "vif": vif}
        comparison.sharing.setdefault(method, {})[image] = sharing
        comparison.ranges.setdefault(method, {})[image] = read.ranges
        comparison.ratings.setdefault(method, {})[image] = {name: row[name] for name in comparison.metrics}
    return any(is_page(each) for read, _ in rows.values() for each in read.images)


def _unlike(reads: Mapping[str, Read]) -> tuple[Doubt, ...]:
    """Return the doubts whether methods compare: whether by one depth of their images, and by the same ranges."""
    (first, one), *others = reads.items()
    doubts = []
    for method, other in others:
        mine, theirs = one.images[-1].depth, other.images[-1].depth
        if mine != theirs:
            text = (
                f"{first} is of {mine} and {method} of {theirs}, and metrics such as fmi.gradient, en and mi see what "
                "8 bits round away; fuse them alike, as by --bit-depth 8"
            )
            doubts.append(Doubt("depths", text))
        for image, (low, high), (least, most) in zip(one.images[:-1], one.ranges, other.ranges, strict=False):
            if (low, high) != (least, most):
                text = (
                    f"{first} is rated against {image.name} with {low:g} to {high:g} as black and white, and {method} "
                    f"with {least:g} to {most:g}, as their records say; --data-range gives all the same"
                )
                doubts.append(Doubt("unlike", text))
    return tuple(doubts)


def _say_doubts(comparison: Comparison, doubts: Sequence[Doubt]) -> None:
    """Say what is in doubt of the ranges, each kind once, and keep it."""
    for doubt in doubts:
        if doubt.kind not in comparison.doubts:
            comparison.doubts[doubt.kind] = doubt.text
            once = " (said once)" if len(comparison.cases) > 1 else ""
            warnings.warn(f"{doubt.text}{once}", FusekitWarning, stacklevel=4)


def _between(sources: list[Tensor], correlation: Metric) -> list[list[float]]:
    """Return the correlations of N sources with each other."""
    return [_of_each_source(rate_tensors(sources, source, {"cc": correlation})["cc"]) for source in sources]


def _of_each_source(rating: Rating) -> list[float]:
    values = rating["per_source"]
    assert values is not None, "cc and vif compare source by source"
    return values
