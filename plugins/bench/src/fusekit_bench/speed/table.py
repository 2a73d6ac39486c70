"""The results of ``fusekit bench speed`` as tables, and as a plot of stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fusekit.errors import size_text
from fusekit_bench.publish import Result, bare, check_plot, new_figure, save_figure, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TIMES = (
    "A call takes images in the device's memory and gives one; files are not in it. Medians of the rounds, quartiles "
    "in brackets; *times as fast* is the median of the rounds' own ratios. The reference is the authors' order of "
    "operations as they publish it, always in float32; the tuned one is its best form. Differences are to "
    "{reference}: the greatest of the raw output, and the PSNR of the image that would be written. Peak memory is that "
    "of {memory}."
)
_WHERE = "Shares are of the call; reading two PNG files and writing one with its record come on top."
_RATES = (
    "Operations are those of convolutions and matrix products, two a multiply-add: *plain*, of the plain modules, and "
    "*executed*, of what ran. Their rates are those of encoding and decoding together. The last columns compare the "
    "executed ones with a 64→64 3×3 convolution, channels last, and a product of square matrices in the same dtype, "
    "which ran in the same rounds."
)

#: Colours that differ also for the colour-blind (Okabe and Ito, 2008).
_COLORS = {"encode": "#0072b2", "rule": "#d55e00", "decode": "#009e73", "rest": "#999999", "whole": "#56b4e9"}

_Facts: TypeAlias = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table: its header, and what makes a cell of a race and a row."""

    header: str
    cell: Callable[[_Facts, _Facts], str]


class Table(NamedTuple):
    """A table of all races: its title, how to read it, and its columns behind those of names."""

    title: str
    note: str
    columns: list[Column]


def tables(found: _Facts) -> list[Table]:
    """Return the tables of what `fusekit_bench.speed.measure` found: times, stages, operations."""
    races = found["races"]
    raced = any(row["ratio"] for race in races for row in race["rows"])
    on_cuda = all(race["device"] != "cpu" for race in races)
    times = _TIMES.format(
        reference="its output" if raced else "our first form in float32",
        memory="torch's allocator"
        if on_cuda
        else "a process that loads and fuses once (on CUDA, of torch's allocator)",
    )
    return [
        Table("Time and exactness", times, _times(found)),
        Table("Where the time goes", _WHERE, _stages()),
        Table("How close to the machine", _RATES, _operations()),
    ]


def _times(found: _Facts) -> list[Column]:
    columns = [
        Column("ms a call", lambda race, row: _spread(row["seconds"], 1000)),
        Column("pairs a second", lambda race, row: digits(row["pairs_per_second"])),
    ]
    ratios = [
        Column("times as fast as the reference", lambda race, row: _spread(row["ratio"])),
        Column("times as fast as the tuned reference", lambda race, row: _spread(row["ratio_tuned"])),
        Column(f"times as fast as `{found['against']}`", lambda race, row: _spread(row["ratio_against"])),
    ]
    rows = [(race, row) for race in found["races"] for row in race["rows"]]
    return [
        *columns,
        *(column for column in ratios if any(column.cell(*each) for each in rows)),
        Column("greatest difference", lambda race, row: _number(row["deviation"], "{:.1e}")),
        Column("PSNR (dB)", lambda race, row: "∞" if row["deviation"] == 0 else _number(row["psnr"], "{:.1f}")),
        Column("peak memory (MiB)", lambda race, row: _memory(row)),
    ]


def _stages() -> list[Column]:
    return [
        Column("encode (ms)", lambda race, row: _stage(row, "encode")),
        Column("rule (ms)", lambda race, row: _stage(row, "rule")),
        Column("decode (ms)", lambda race, row: _stage(row, "decode")),
        Column("rest (ms)", lambda race, row: _stage(row, "rest")),
        Column("read and write (ms)", _files),
        Column("channels decomposed", lambda race, row: _decomposed(row)),
    ]


def _operations() -> list[Column]:
    return [
        Column("plain (GFLOP)", lambda race, row: _of(row, "operations", "plain", 1e-9)),
        Column("executed (GFLOP)", lambda race, row: _of(row, "operations", "executed", 1e-9)),
        Column("plain (GFLOP/s)", lambda race, row: _of(row, "gflops", "plain")),
        Column("executed (GFLOP/s)", lambda race, row: _of(row, "gflops", "executed")),
        Column("of the convolution's rate", lambda race, row: _share_of_rate(race, row, "convolution")),
        Column("of the product's rate", lambda race, row: _share_of_rate(race, row, "product")),
    ]


def race_name(race: _Facts, found: _Facts) -> str:
    """Return model, rule and size of a race, with batch and device where they tell it from others.

    Initial weights, of which alone the times are meant, are said.
    """
    parts = [race["model"], race["rule"] or "", size_text(race["size"])]
    parts += ["initial weights"] if race["initial"] else []
    parts += [f"{race['batch']} a call"] if race["batch"] > 1 else []
    parts += [race["device"]] if len({each["device"] for each in found["races"]}) > 1 else []
    return " ".join(filter(None, parts))


def digits(value: float) -> str:
    """Return a number with three significant digits, and without decimals from 100 on."""
    if value == 0:
        return "0"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _spread(found: Mapping[str, float] | None, factor: float = 1.0) -> str:
    if found is None:
        return ""
    low, high = (digits(found[key] * factor) for key in ("low", "high"))
    return f"{digits(found['median'] * factor)} ({low}–{high})"


def _stage(row: _Facts, name: str) -> str:
    stage = row["stages"].get(name)
    return "" if stage is None else f"{digits(stage['median'] * 1000)} ({percent(stage['share'])})"


def percent(share: float) -> str:
    """Return a share as per cent, with a decimal where it is small."""
    return f"{100 * share:.{1 if share < 0.0995 else 0}f} %"


def _files(race: _Facts, row: _Facts) -> str:
    """Return what files cost a call: its pairs are read and written one by one."""
    seconds = race["batch"] * sum(each["median"] for each in race["files"].values())
    return f"{digits(seconds * 1000)} (+{percent(seconds / row['seconds']['median'])})"


def _memory(row: _Facts) -> str:
    return "" if row["memory"] is None else f"{row['memory']['peak'] / 2**20:,.0f}"


def _decomposed(row: _Facts) -> str:
    """Return the numbers of channels that a rule decomposed, a source after the other, where it tells."""
    counts = (row["rule_report"] or {}).get("decomposed_channels")
    return "" if counts is None else ", ".join(str(sum(each)) for each in counts)


def _of(row: _Facts, key: str, name: str, factor: float = 1.0) -> str:
    found = None if row[key] is None else row[key][name]
    if found is None:
        return ""
    return digits((found["median"] if isinstance(found, Mapping) else found) * factor)


def _share_of_rate(race: _Facts, row: _Facts, name: str) -> str:
    share = row[f"of_{name}"]
    if share is None:
        return ""
    rate = next(each for each in race["rates"] if each["name"] == name and each["dtype"] == row["dtype"])
    return f"{percent(share['median'])} of {digits(rate['gflops']['median'])}"


def caption(found: _Facts, command: str) -> str:
    """Return what the figures of races were measured with, in a sentence."""
    first, races = found["races"][0], found["races"]
    devices = dict.fromkeys(race["device_name"] for race in races if race["device"] != "cpu")
    return measured_with({**found, "images": first["images"], "fit": first["fit"]}, command, list(devices))


def measured_with(found: _Facts, command: str, devices: Sequence[str] | None = None) -> str:
    """Return what figures were measured with, in a sentence.

    Args:
        found: of the machine, its load and threads, versions, code, rounds, clock, images and how they fit.
        command: that made them.
        devices: names of what computed beside the processor; ``found`` has the one without.
    """
    machine, versions = found["machine"], found["versions"]
    if devices is None:
        devices = [] if found["device"] == "cpu" else [found["device_name"]]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    rounds = f"{found['rounds']} round{'s' if found['rounds'] > 1 else ''}"
    load = "" if machine["load_average"] is None else f", load average {machine['load_average'][0]:.1f} before"
    clock = ", in its processor time" if found["clock"] == "processor" else ""
    images = "given images" if found["images"] == "given" else "the embedded sample"
    images += {"resample": " resampled", "mirror": " mirrored on"}[found["fit"]]
    return (
        f"`{command}`: {rounds} on {images}, {' and '.join(devices) + ' and ' if devices else ''}"
        f"{threads} of {machine['processor']} ({machine['cores']} cores{load}){clock}, torch {versions['torch']}, "
        f"fusekit {versions['fusekit']}, code `{found['code']}`."
    )


def reference_note(found: _Facts) -> str:
    """Return which choices served the tuned reference best, in a sentence; empty without one."""
    chosen = [race["tuned"] for race in found["races"] if race["tuned"]]
    if not chosen:
        return ""
    layouts = dict.fromkeys("channels last" if each["channels_last"] else "channels first" for each in chosen)
    threads = dict.fromkeys(str(each["decomposition_threads"]) for each in chosen)
    kept = ", and kept freed memory" if all(each["keeps_freed_memory"] for each in chosen) else ""
    return (
        f"By its trials, the tuned reference ran {' or '.join(layouts)}, with {' or '.join(threads)} of torch's "
        f"threads for the singular values{kept}."
    )


def result(found: _Facts, command: str) -> Result:
    """Return the results with their tables, what they were measured with, and how to read them."""
    lines = [" ".join(filter(None, (caption(found, command), reference_note(found))))]
    raced = [(race, row) for race in found["races"] for row in race["rows"]]
    for each in tables(found):
        headers = ["pair", "fused by", *(column.header for column in each.columns)]
        rows = [
            [race_name(race, found), row["who"], *(column.cell(race, row) for column in each.columns)]
            for race, row in raced
        ]
        lines += ["", f"**{each.title}.** {each.note}", "", *table(headers, rows, "ll" + "r" * len(each.columns))]
    return Result(found, "\n".join(lines), [{"race": race_name(race, found), **row} for race, row in raced])


def draw(found: Mapping[str, Any], path: Path) -> None:
    """Draw a panel a race: each entrant's milliseconds by stage, and how many times as fast as the reference it is.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OptionError: the file's extension is of no known format.
        OutputError: the file cannot be written.
    """
    check_plot(path)
    races = found["races"]
    heights = [len(race["rows"]) for race in races]
    figure = new_figure(7.5, 0.7 * len(races) + 0.34 * sum(heights) + 0.5)
    panels = figure.subplots(len(races), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, race in zip(panels[:, 0], races, strict=True):
        _panel(axes, race)
    handles: dict[str, Any] = {}
    for axes in panels[:, 0]:
        drawn, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, drawn, strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=7)
    save_figure(figure, path)


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
    bare(axes)
    batch = f", {race['batch']} pairs a call" if race["batch"] > 1 else ""
    title = f"{race['model']} {race['rule'] or ''}, {size_text(race['size'])}{batch}, {race['device_name']} (ms)"
    axes.set_title(title, loc="left", fontsize=8, fontweight="bold")
