"""The plot of ``fusekit bench speed``: a bar of stages for everyone who raced."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusekit.errors import MissingExtraError, OptionError, size_text
from fusekit.machine.files import atomic_path
from fusekit_bench.speed_table import digits

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that differ also for the colour-blind (Okabe and Ito, 2008).
_COLORS = {"encode": "#0072b2", "rule": "#d55e00", "decode": "#009e73", "rest": "#999999", "whole": "#56b4e9"}
_FORMATS = (".svg", ".png", ".pdf")


def check_plot(path: Path) -> None:
    """Raise `MissingExtraError` where plots cannot be drawn, `OptionError` for a format that is not known."""
    if path.suffix not in _FORMATS:
        raise OptionError(f"--plot {path} has none of the formats {', '.join(_FORMATS)}; name the file so")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("--plot needs matplotlib: pip install 'fusekit-imaging[bench]', or leave it out")


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a race: the milliseconds of each entrant by stage, with how many times as fast as the oracle it is.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: the file's extension is of no known format.
        OutputError: the file cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    races = found["races"]
    heights = [len(race["rows"]) for race in races]
    figure = Figure(figsize=(7.5, 0.7 * len(races) + 0.34 * sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(races), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, race in zip(panels[:, 0], races, strict=True):
        _panel(axes, race)
    handles: dict[str, Any] = {}
    for axes in panels[:, 0]:
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=7)
    with atomic_path(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150)


def _panel(axes: Axes, race: Mapping[str, Any]) -> None:
    rows = race["rows"]
    for place, row in enumerate(rows):
        start = 0.0
        stages = {name: stage["median"] for name, stage in row["stages"].items()} or {"whole": row["seconds"]["median"]}
        for name, seconds in stages.items():
            axes.barh(place, 1000 * seconds, left=start, color=_COLORS[name], label=name, height=0.7)
            start += 1000 * seconds
        ratio = "" if row["ratio"] is None else f", {digits(row['ratio']['median'])}×"
        text = f" {digits(1000 * row['seconds']['median'])} ms{ratio}"
        axes.annotate(text, (start, place), va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [row["who"] for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.margins(x=0.18)
    axes.tick_params(axis="x", labelsize=6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    batch = f", {race['batch']} pairs a call" if race["batch"] > 1 else ""
    title = f"{race['model']} {race['rule'] or ''}, {size_text(race['size'])}{batch}, {race['device_name']} (ms)"
    axes.set_title(title, loc="left", fontsize=8, fontweight="bold")
