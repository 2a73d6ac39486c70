"""The figures of a quality table: each method's means as dots, and the same pairs fused by all of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusekit.cases.patterns import extension_of, stem_of
from fusekit.errors import FusekitWarning
from fusekit.evaluation.ratings import part_of
from fusekit.images.files import read_image
from fusekit.images.image import Array, full_scale
from fusekit.pipeline import fuse
from fusekit_bench.publish import bare, new_figure, save_figure
from fusekit_bench.quality.methods import Measure, key_of, loaded, roles_of
from fusekit_bench.quality.protocols import spread
from fusekit_bench.quality.table import Row, Table, by_rank, summary, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that differ also for the colour-blind (Okabe and Ito, 2008).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_PAIRS = 3
_COLUMNS = 8
#: Inches of an image and the gap beside it.
_WIDTH = 1.75
#: Formats that lose what the captions are of.
_LOSSY = (".jpg", ".jpeg")


def draw_plot(table: Table, path: Path) -> None:
    """Draw a row of panels a dataset, a panel a measure: every method's mean with its deviation, the best at the top.

    The measures are those that methods are ranked by, or the table's first three without these. The format is that of
    the extension: ``.svg`` or ``.png``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    measures = table.ranked or table.measures[:3]
    groups = table.by_dataset()
    rows = sum(len(group) for group in groups.values())
    figure = new_figure(2.2 + 2.6 * len(measures), 0.9 * len(groups) + 0.21 * rows + 0.4)
    heights = [len(group) + 3 for group in groups.values()]
    panels = figure.subplots(len(groups), len(measures), squeeze=False, gridspec_kw={"height_ratios": heights})
    families = dict.fromkeys(_family(row) for group in groups.values() for row in group)
    colors = dict(zip(families, _COLORS * len(table.rows), strict=False))
    for line, group in zip(panels, groups.values(), strict=True):
        ordered = by_rank(group, measures)
        for axes, measure in zip(line, measures, strict=True):
            _dots(axes, ordered, measure, colors)
        for axes in line[1:]:
            axes.set_yticklabels([])
        line[0].set_title(group[0].dataset.title, loc="left", fontsize=9, fontweight="bold")
    save_figure(figure, path)


def _family(row: Row) -> str:
    """Return what is coloured alike: a model with its rules, or the images of others."""
    return row.name if row.method.published else row.method.label.partition(" · ")[0] or row.method.model


def _dots(axes: Axes, rows: list[Row], measure: Measure, colors: dict[str, str]) -> None:
    found: Any = summary(rows, [measure]).droplevel(1, axis=1)
    best = found["gain"].max()
    for place, row in enumerate(rows):
        color, (mean, std, gain, _) = colors[_family(row)], found.loc[row.name]
        axes.errorbar(mean, place, xerr=std, fmt="none", ecolor=color, elinewidth=1, alpha=0.45)
        axes.plot(mean, place, "o", color=color, markersize=6 if gain == best else 4)
        axes.annotate(
            f"{mean:.3f}",
            (mean, place),
            (0, 3.5),
            textcoords="offset points",
            ha="center",
            fontsize=5.5,
            fontweight="bold" if gain == best else "normal",
        )
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=7)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(colors[_family(row)])
    axes.set_ylim(len(rows) - 0.4, -0.9)
    bare(axes)
    axes.grid(axis="both", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(title(measure) + (", lower is better" if measure.arrow == "↓" else ""), fontsize=7)


def draw_page(table: Table, rows: list[Row], path: Path, device: str) -> None:
    """Draw the same three test pairs of a dataset by every method: the sources, and what each makes of them.

    The pairs are those that most published images are of; where others published none, a panel says so. Under each
    fused image stand its own values of what methods are ranked by. Images come as ``fusekit fuse`` writes them, in
    colour where a source is.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    dataset, cases = rows[0].dataset, {case.name: case for row in rows for case in row.cases}
    names, per_pair = shown_pairs(rows), len(dataset.source_names) + len(rows)
    columns = min(_COLUMNS, per_pair)
    lines = -(-per_pair // columns)
    heights = [_height(cases[name].files[0]) for name in names for _ in range(lines)]
    figure = new_figure(_WIDTH * columns, sum(heights))
    panels = figure.subplots(len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for number, name in enumerate(names):
        of_pair = iter(panels[number * lines : (number + 1) * lines].flat)
        paths = cases[name].files
        for role, source in zip(dataset.source_names, paths, strict=False):
            _show(next(of_pair), read_image(source).pixels, role, name)
        for row in rows:
            if row.method.covers(name):
                image = _fused(row, name, paths, path.with_name("cache") / dataset.name, device)
                _show(next(of_pair), image, row.name, _caption(row, name, table.ranked))
            else:
                _say(next(of_pair), row.name, "none published", read_image(paths[0]).size)
        for axes in of_pair:
            axes.set_axis_off()
    save_figure(figure, path)


def _height(source: Path) -> float:
    """Return the inches of a line of images as high as this one, with what is written above and below."""
    height, width = read_image(source).size
    return _WIDTH * 0.95 * height / width + 0.35


def shown_pairs(rows: Sequence[Row]) -> list[str]:
    """Return the names of three pairs that most methods have images of, evenly spread over these."""
    names = sorted({case.name for row in rows for case in row.cases})
    counts = {name: sum(row.method.covers(name) for row in rows) for name in names}
    # The pairs of the greatest counts, as many counts as three pairs need.
    for least in sorted(set(counts.values()), reverse=True):
        found = [name for name in names if counts[name] >= least]
        if len(found) >= _PAIRS:
            return spread(found, _PAIRS)
    return names


def _fused(row: Row, pair: str, paths: Sequence[Path], cache: Path, device: str) -> Array:
    """Return the pixels that ``fusekit fuse`` writes, kept as a file for the next time, or those of others."""
    first, method = paths[0].name, row.method
    if method.published is not None:
        return read_image(method.published.files[pair]).pixels
    extension = extension_of(first)
    suffix = ".png" if extension.lower() in _LOSSY else extension
    kept = cache / f"{stem_of(first)}-{key_of(method, device)}{suffix}"
    if not kept.exists():
        model = loaded(method.model, method.weights, device)
        with warnings.catch_warnings():
            # The rules that dominate are shown on purpose.
            warnings.simplefilter("ignore", FusekitWarning)
            roles = roles_of(model.spec, row.dataset.source_names)
            fuse(list(paths), model, rule=method.rule, roles=roles).save(kept, record=False)
    return read_image(kept).pixels


def _caption(row: Row, name: str, measures: Sequence[Measure]) -> str:
    images = list(row.ratings.values())[-1]
    if name not in images:
        return ""
    parts = [(each, " (worse)" if each.part == "worst" else "") for each in measures]
    return "  ".join(f"{each.metric}{note} {part_of(images[name][each.name], each.part):.2f}" for each, note in parts)


def _say(axes: Axes, heading: str, text: str, size: Sequence[int]) -> None:
    axes.set_box_aspect(size[0] / size[1])
    axes.text(0.5, 0.5, text, fontsize=6.5, color="0.5", ha="center", va="center", transform=axes.transAxes)
    axes.set_title(heading, fontsize=7, pad=2)
    axes.set_axis_off()


def _show(axes: Axes, pixels: Array, heading: str, caption: str) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=full_scale(str(pixels.dtype)))
    axes.set_title(heading, fontsize=7, pad=2)
    axes.set_xlabel(caption, fontsize=5.5, labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])
