"""The results of ``fusekit bench speed`` as tables, for the terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from fusekit.errors import size_text

_TIMES = (
    "A call takes images in the device's memory and gives one; files are not in it. Medians of the rounds, quartiles "
    "in brackets; *times as fast* is the median of the rounds' own ratios. The oracle is the authors' order of "
    "operations as they publish it, always in float32; the tuned one is its best form. Differences are to "
    "{reference}: the greatest of the raw output, and the PSNR of the image that would be written. Peak memory is that "
    "of {memory}."
)
_WHERE = "Shares are of the call; reading two PNG files and writing one with its record come on top."
_RATES = (
    "Operations are those of convolutions and matrix products, two a multiply-add: *plain*, of the plain modules, and "
    "*executed*, of what ran. Their rates are those of encoding and decoding together. The last columns compare the "
    "executed ones with a 64→64 3×3 convolution, channels last, and a product of square matrices in the same dtype, "
    "which took turns in the same rounds."
)

#: Of what is printed into a file or a pipe.
_WIDTH = 120

_Facts: TypeAlias = Mapping[str, Any]


class Column(NamedTuple):
    """A column of a table: its header, a short one for the terminal, and what makes a cell of a race and a row."""

    header: str
    short: str
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
        Column("ms a call", "ms", lambda race, row: _spread(row["seconds"], 1000)),
        Column("pairs a second", "pairs/s", lambda race, row: digits(row["pairs_per_second"])),
    ]
    ratios = [
        Column("times as fast as the oracle", "× oracle", lambda race, row: _spread(row["ratio"])),
        Column("times as fast as the tuned oracle", "× tuned", lambda race, row: _spread(row["ratio_tuned"])),
        Column(f"times as fast as `{found['against']}`", "× theirs", lambda race, row: _spread(row["ratio_against"])),
    ]
    rows = [(race, row) for race in found["races"] for row in race["rows"]]
    return [
        *columns,
        *(column for column in ratios if any(column.cell(*each) for each in rows)),
        Column("greatest difference", "max |Δ|", lambda race, row: _number(row["deviation"], "{:.1e}")),
        Column("PSNR (dB)", "PSNR", lambda race, row: "∞" if row["deviation"] == 0 else _number(row["psnr"], "{:.1f}")),
        Column("peak memory (MiB)", "MiB", lambda race, row: _memory(row)),
    ]


def _stages() -> list[Column]:
    return [
        Column("encode (ms)", "encode (ms)", lambda race, row: _stage(row, "encode")),
        Column("rule (ms)", "rule (ms)", lambda race, row: _stage(row, "rule")),
        Column("decode (ms)", "decode (ms)", lambda race, row: _stage(row, "decode")),
        Column("rest (ms)", "rest (ms)", lambda race, row: _stage(row, "rest")),
        Column("read and write (ms)", "files (ms)", _files),
        Column("channels decomposed", "decomposed", lambda race, row: _decomposed(row)),
    ]


def _operations() -> list[Column]:
    return [
        Column("plain (GFLOP)", "GFLOP plain", lambda race, row: _of(row, "operations", "plain", 1e-9)),
        Column("executed (GFLOP)", "done", lambda race, row: _of(row, "operations", "executed", 1e-9)),
        Column("plain (GFLOP/s)", "GFLOP/s plain", lambda race, row: _of(row, "gflops", "plain")),
        Column("executed (GFLOP/s)", "done", lambda race, row: _of(row, "gflops", "executed")),
        Column("of the convolution's rate", "of conv.", lambda race, row: _share_of_rate(race, row, "convolution")),
        Column("of the product's rate", "of product", lambda race, row: _share_of_rate(race, row, "product")),
    ]


def race_name(race: _Facts, found: _Facts) -> str:
    """Return model, rule and size of a race, with batch and device where they tell it from others."""
    parts = [race["model"], race["rule"] or "", size_text(race["size"])]
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
    """Return what the figures were measured with, in a sentence."""
    machine, versions = found["machine"], found["versions"]
    devices = dict.fromkeys(race["device_name"] for race in found["races"] if race["device"] != "cpu")
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    load = "" if machine["load_average"] is None else f", load average {machine['load_average'][0]:.1f} before"
    clock = ", in its processor time" if found["clock"] == "processor" else ""
    first = found["races"][0]
    images = "given images" if first["images"] == "given" else "the embedded sample"
    images += {"resample": " resampled", "mirror": " mirrored on"}[first["fit"]]
    return (
        f"`{command}`: {found['rounds']} rounds on {images}, {' and '.join(devices) + ' and ' if devices else ''}"
        f"{threads} of {machine['processor']} ({machine['cores']} cores{load}){clock}, torch {versions['torch']}, "
        f"fusekit {versions['fusekit']}, code `{found['code']}`."
    )


def oracle_note(found: _Facts) -> str:
    """Return which choices served the tuned oracle best, in a sentence; empty without one."""
    chosen = [race["tuned"] for race in found["races"] if race["tuned"]]
    if not chosen:
        return ""
    layouts = dict.fromkeys("channels last" if each["channels_last"] else "channels first" for each in chosen)
    threads = dict.fromkeys(str(each["decomposition_threads"]) for each in chosen)
    kept = ", and kept freed memory" if all(each["keeps_freed_memory"] for each in chosen) else ""
    return (
        f"By its trials, the tuned oracle ran {' or '.join(layouts)}, with {' or '.join(threads)} of torch's threads "
        f"for the singular values{kept}."
    )


def markdown(found: _Facts, command: str) -> str:
    """Return the tables as Markdown, with what they were measured with and how to read them."""
    lines = [" ".join(filter(None, (caption(found, command), oracle_note(found))))]
    for table in tables(found):
        headers = ["pair", "fused by", *(column.header for column in table.columns)]
        lines += ["", f"**{table.title}.** {table.note}", "", f"| {' | '.join(headers)} |"]
        lines += ["|---|---|" + "--:|" * len(table.columns)]
        for race in found["races"]:
            for row in race["rows"]:
                cells = [race_name(race, found), row["who"], *(column.cell(race, row) for column in table.columns)]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def show(found: _Facts) -> None:
    """Print the tables to the terminal, those of each race together."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for race in found["races"]:
        for table in tables(found):
            title = f"{race_name(race, found)}: {table.title[0].lower()}{table.title[1:]}"
            shown = RichTable(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
            shown.add_column("fused by", style="cyan", overflow="fold")
            for column in table.columns:
                shown.add_column(column.short, justify="right", overflow="fold")
            for row in race["rows"]:
                shown.add_row(row["who"], *(column.cell(race, row) for column in table.columns))
            console.print(shown)
