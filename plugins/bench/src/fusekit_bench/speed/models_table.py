"""The results of ``fusekit bench speed --compare`` as a table beside the paper's times, and what it says in words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fusekit.errors import size_text
from fusekit_bench.paper import paper_tables
from fusekit_bench.publish import Result, table
from fusekit_bench.speed.table import digits, measured_with

_Row: TypeAlias = Mapping[str, Any]
_OURS = "EH-DRAN"

NOTE = (
    "A call takes a pair in the device's memory and gives one image; files are not in it. Every model races with "
    "`{first}`, round by round: *times* is the median of the rounds' own ratios, quartiles in brackets, and above 1 "
    "the model is slower. Seconds are medians. Operations are those of convolutions and matrix products of the plain "
    "modules, two a multiply-add; what else a model does is not counted. Peak memory is {memory}. Initial weights "
    "were never trained: time, memory and operations do not depend on their values. The paper's seconds are of its own "
    "machine and code."
)


def result(found: Mapping[str, Any], command: str) -> Result:
    """Return what `fusekit_bench.speed.models.compare` found as data, as Markdown, and a line a model and size."""
    first = found["first"]
    memory = "torch's, on the device" if found["device"] != "cpu" else "that of a process that loads and fuses once"
    lines = [measured_with(found, command), "", NOTE.format(first=first, memory=memory), ""]
    lines += [*_table(found), "", *_items(found)]
    rows = [{key: value for key, value in row.items() if key != "rounds"} for row in found["rows"]]
    return Result(found, "\n".join(lines).rstrip(), rows)


def _table(found: Mapping[str, Any]) -> list[str]:
    sizes = list(dict.fromkeys(tuple(row["size"]) for row in found["rows"]))
    counted = min(sizes, key=lambda size: size[0] * size[1])
    headers = ["model", "weights", "parameters (M)", f"GFLOP at {size_text(counted)}"]
    for size in sizes:
        text = size_text(size)
        headers += [f"seconds at {text}", f"times `{found['first']}`", f"peak memory (MiB) at {text}"]
    headers += ["*paper: parameters (M)*", "*paper: seconds*", f"*paper: times {_OURS}*"]
    lines = []
    for name in _by_time(found, counted):
        rows = {tuple(row["size"]): row for row in found["rows"] if row["name"] == name}
        there = [row for row in rows.values() if "failed" not in row]
        cells = _about(there, rows[counted])
        for size in sizes:
            cells += _measured(rows[size], found["rounds"])
        lines.append([*cells, *_quoted(rows[counted]["model"])])
    return table(headers, lines, "ll" + "r" * (len(headers) - 2))


def _by_time(found: Mapping[str, Any], size: Sequence[int]) -> list[str]:
    """Return the names of what could be measured, the quickest at a size first."""
    seconds: dict[str, float] = {}
    for row in found["rows"]:
        if "failed" not in row:
            at = row["ratio"]["median"] if tuple(row["size"]) == size else math.inf
            seconds[row["name"]] = min(at, seconds.get(row["name"], math.inf))
    return sorted(seconds, key=lambda name: seconds[name])


def _about(there: Sequence[_Row], counted: _Row) -> list[str]:
    """Return name with the rule, weights, parameters and operations of a model."""
    row = there[0]
    label = f"{row['model']} · {row['rule']}" if row["rule"] else row["model"]
    weights = row["weights"].removeprefix(f"{row['model']}.") or "none"
    operations = counted.get("operations")
    return [label, weights, _millions(row["parameters"]), "" if operations is None else digits(operations * 1e-9)]


def _measured(row: _Row, rounds: int) -> list[str]:
    if "failed" in row:
        return ["–", "", ""]
    fewer = "" if len(row["rounds"]) == rounds else f" ({len(row['rounds'])} of {rounds} rounds)"
    ratio = [digits(row["ratio"][key]) for key in ("median", "low", "high")]
    return [
        digits(row["seconds"]["median"]) + fewer,
        f"{ratio[0]} ({ratio[1]}–{ratio[2]})",
        f"{row['memory'] / 2**20:,.0f}" if row["memory"] else "",
    ]


def _quoted(model: str) -> list[str]:
    """Return what the paper has of a model: parameters, seconds, and these over those of EH-DRAN."""
    quoted, ours = paper_tables()["speed"], paper_tables()["speed"][_OURS]
    name = next((each for each, of in paper_tables()["models"].items() if of == model), None)
    if name is None:
        return ["", "", ""]
    facts = quoted[name]
    times = f"*{facts['seconds'] / ours['seconds']:.2f}*"
    return [f"*{facts['parameters']:.2f}*", f"*{facts['seconds']:.2f}*", times]


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f}" if count >= 5000 else f"{count / 1e6:.4f}" if count else "0"


# --- in words ----------------------------------------------------------------------------------------------------


def _items(found: Mapping[str, Any]) -> list[str]:
    """Return what the rows say, as items of a Markdown list: order by time, parameters, what could not be measured."""
    items = []
    for number, size in enumerate(dict.fromkeys(tuple(row["size"]) for row in found["rows"])):
        peers = _peers([row for row in found["rows"] if tuple(row["size"]) == size and "failed" not in row])
        if _OURS not in peers or len(peers) < 2:
            continue
        if not number:
            quoted = {name: paper_tables()["speed"][name]["seconds"] for name in peers}
            items.append(f"- By the paper's seconds {_OURS} is {_place(quoted)}.")
            items += _parameters(peers)
        own, ratios = peers[_OURS], {name: row["ratio"]["median"] for name, row in peers.items()}
        label = f"{own['model']} · {own['rule']}"
        items.append(f"- Here, at {size_text(size)}, {label} is {_place(ratios)}.")
    for row in found["rows"]:
        if "failed" in row:
            items.append(f"- {row['name']} at {size_text(row['size'])} is not measured: {row['failed']}.")
    return items


def _peers(rows: Sequence[_Row]) -> dict[str, _Row]:
    """Return the rows of the paper's models by its names: each one's first, of EH-DRAN that with the paper's rule."""
    found: dict[str, _Row] = {}
    for name, model in paper_tables()["models"].items():
        of = [row for row in rows if row["model"] == model]
        of.sort(key=lambda row: name == _OURS and row["rule"] != "sfnn")
        if of:
            found[name] = of[0]
    return found


def _place(seconds: Mapping[str, float]) -> str:
    """Return whom EH-DRAN is faster and slower than, the nearest first, with the factors."""
    ours = seconds[_OURS]
    slower = sorted((each for each in seconds if seconds[each] > ours), key=lambda each: seconds[each])
    faster = sorted(
        (each for each in seconds if each != _OURS and seconds[each] <= ours), key=lambda each: -seconds[each]
    )
    parts = []
    if slower:
        parts.append("faster than " + ", ".join(f"{each} ({digits(seconds[each] / ours)}×)" for each in slower))
    if faster:
        parts.append("slower than " + ", ".join(f"{each} ({digits(ours / seconds[each])}×)" for each in faster))
    return " and ".join(parts)


def _parameters(peers: Mapping[str, _Row]) -> Iterable[str]:
    """Say whose parameters are as many as the paper says, in millions with its two decimals, and whose are not."""
    counts = {name: row["parameters"] / 1e6 for name, row in peers.items()}
    quoted = {name: paper_tables()["speed"][name]["parameters"] for name in counts}
    equal = [name for name in counts if round(counts[name], 2) == quoted[name]]
    other = [f"{name} {counts[name]:.2f} against {quoted[name]:.2f}" for name in counts if name not in equal]
    parts = [f"as many as in the paper: {', '.join(equal)}" if equal else "", "; ".join(other)]
    return [f"- Millions of parameters {'; '.join(filter(None, parts))}."]
