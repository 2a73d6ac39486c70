"""A quality table as Markdown, CSV and JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fusekit.cases.datasets import Dataset
from fusekit.errors import count_of
from fusekit_bench.paper import paper_tables
from fusekit_bench.publish import Result, table
from fusekit_bench.quality.methods import paper_measures
from fusekit_bench.quality.table import Row, Subset, Table, summary, title
from fusekit_bench.quality.words import caution, leaders, verdict

REMARK = (
    "The paper's rows are quoted for orientation, not for comparison to the digit: its splits and draws are not "
    "published, its test slices share patients with its training slices, its checkpoint was chosen on test SSIM, and "
    "its model was not reset between draws (see “What differs from the paper” in docs/quality.md)."
)


def result(of: Table, command: str) -> Result:
    """Return the table as data (facts, statistics and values of each image), as Markdown, and a line a row."""
    data, copies, subsets, rows = [], [], [], []
    for dataset in dict.fromkeys(row.dataset.name for row in of.rows):
        group, copied = of.by_dataset().get(dataset, []), of.copies_of(dataset)
        copies += _entries(of, copied, [row.name for row in copied])
        data += _entries(of, group, [row.name for row in group])
        rows += _lines(of, group)
        for each in of.subsets(dataset):
            # The values of the other rows stand with all pairs, or with those of their own.
            entries = _entries(of, each.rows, each.names)
            subsets.append({"dataset": dataset, "of": each.names, "pairs": each.pairs, "rows": entries})
            rows += _lines(of, each.rows, ", ".join(each.names))
    about = {"table": of.title, "command": command, "commit": of.commit, "rows": data, "subsets": subsets}
    return Result({**about, "copies": copies, "paper": paper_tables()}, _markdown(of, command), rows)


def _entries(of: Table, rows: list[Row], whole: Sequence[str]) -> list[dict[str, Any]]:
    """Return what JSON has of each row; the facts and each image's values of those that are named in ``whole``."""
    if not rows:
        return []
    found, entries = summary(rows, of.measures), []
    for row in rows:
        figures = {what: found[what].loc[row.name].to_dict() for what in ("mean", "std", "rank")}
        entry: dict[str, Any] = {
            "dataset": row.dataset.name,
            "method": row.name,
            "shown": {measure.name: measure.part for measure in of.measures},
            "mean": figures["mean"],
            "std": figures["std"],
            "ranks": {measure.name: figures["rank"][measure.name] for measure in of.ranked},
        }
        if row.name in whole:
            replicates = row.facts.items()
            entry["replicates"] = [
                {"label": label, "facts": facts, "images": row.ratings[label]} for label, facts in replicates
            ]
        entries.append(entry)
    return entries


def _lines(of: Table, rows: list[Row], subset: str = "") -> list[dict[str, Any]]:
    """Return what CSV has of each row: method, weights, commit, data; mean and deviation of value and worst."""
    if not rows:
        return []
    found = {part: summary(rows, of.measures, part) for part in ("value", "worst")}
    lines = []
    for row in rows:
        first = next(iter(row.facts.values()))
        fused = first.get("fused", {})
        line = {
            "dataset": row.dataset.name,
            "subset": subset,
            "method": row.name,
            "model": row.method.model,
            "rule": row.method.rule or "",
            "replicates": len(row.facts),
            "pairs": first["data"]["pairs"],
            "weights": ";".join(row.weights()),
            "fused": fused.get("folder", ""),
            "fused sha256": fused.get("sha256", ""),
            "commit": of.commit,
            "data": ";".join(facts["data"]["sha256"] for facts in row.facts.values()),
            "device": first.get("device", ""),
        }
        for each in of.measures:
            for part in dict.fromkeys(("value", each.part)):
                name = each.name + (" (worst)" if part == "worst" else "")
                line |= {f"{name} {what}": found[part].at[row.name, (what, each.name)] for what in ("mean", "std")}
        lines.append(line)
    return lines


def _markdown(of: Table, command: str) -> str:
    """Return a section a dataset, with the paper's rows under ours."""
    facts = [each for row in of.rows for each in row.facts.values() if "device" in each]
    devices = dict.fromkeys(
        f"{each['device']} ({each['device_name']}), torch {each['versions']['torch']}" for each in facts
    )
    parts = [f"Made by `{command}`, commit `{of.commit}`, {'; '.join(devices)}."]
    quoted = False
    for rows in of.by_dataset().values():
        paper = _paper_rows(of, rows[0].dataset)
        quoted = quoted or bool(paper)
        paper = _copied_rows(of, rows[0].dataset) + paper
        parts.append("\n".join([f"**{rows[0].dataset.title}**: {_described(rows)}", "", *_table(of, rows, paper)]))
        parts += ["\n".join(items)] if (items := verdict(of, rows)) else []
        for subset in of.subsets(rows[0].dataset.name):
            parts += _section(of, subset)
    return "\n\n".join([*parts, _legend(of), *([REMARK] if quoted else [])])


def _section(of: Table, subset: Subset) -> list[str]:
    """Return the table of all methods on the pairs of some, and what is to be said of it."""
    rows, names = subset.rows, " and ".join(subset.names)
    heading = f"**{rows[0].dataset.title}, on the {count_of(subset.pairs, 'pair')} of {names}**: {_described(rows)}"
    return ["\n".join([heading, "", *_table(of, rows, ())]), "\n".join([*leaders(of, rows), f"- {caution(rows)}"])]


def _described(rows: list[Row]) -> str:
    """Say what the rows of a dataset were tested on, and with which trainings."""
    facts = list(rows[0].facts.values())
    data = [each["data"] for each in facts]
    text = f"{data[0]['pairs']} pairs of {' and '.join(data[0]['folders'])}"
    names = [each["names"] for each in data if each["names"]]
    if names:
        text += f" ({'; '.join(dict.fromkeys(names))})"
    text += ", sha256 " + ", ".join(f"`{each[:8]}`" for each in dict.fromkeys(each["sha256"] for each in data)) + "."
    trainings = [each["training"] for row in rows for each in row.facts.values() if each["training"]]
    if not trainings:
        return f"{text} Mean ± standard deviation over the pairs."
    labels = ", ".join(rows[0].facts)
    over = f"Means over {labels}, ± their"
    if len(facts) == 1:
        over = f"{labels.capitalize()}: means over the pairs, ± their"
    return f"{text} {over} standard deviation. {_recipe(trainings[-1])}"


def _recipe(trained: dict[str, Any]) -> str:
    recipe, pairs = trained["recipe"], trained["pairs"]
    perceptual = f"{recipe['perceptual_weight']:g} × {trained['perceptual']}" if trained["perceptual"] else "none"
    return (
        f"Trained on {pairs['train']} pairs, {pairs['validation']} to choose the checkpoint: {recipe['steps']} steps "
        f"of {recipe['batch']} crops of {recipe['crop']}×{recipe['crop']}, rate {recipe['rate']:g}, "
        f"{recipe['precision']}, L_grad × {recipe['gradient_weight']:g} unless named, perceptual term {perceptual}."
    )


def _table(of: Table, rows: list[Row], paper: Sequence[Sequence[str]]) -> list[str]:
    titles = ["method", *(f"{title(measure)} {measure.arrow}" for measure in of.measures)]
    if of.ranked:
        titles.append("ranks by " + ", ".join(each.metric for each in of.ranked))
    found, lines = summary(rows, of.measures), []
    best = found["gain"] == found["gain"].max()
    for row in rows:
        cells = [row.name]
        for name in (each.name for each in of.measures):
            bold = "**" if best.at[row.name, name] and len(rows) > 1 else ""
            mean, std = (_number(found.at[row.name, (what, name)]) for what in ("mean", "std"))
            cells.append(f"{bold}{mean}{bold} ± {std}")
        if of.ranked:
            cells.append(", ".join(f"{found.at[row.name, ('rank', each.name)]:g}" for each in of.ranked))
        lines.append([*cells, _origin(row)])
    return table([*titles, "weights"], [*lines, *paper])


def _origin(row: Row) -> str:
    """Return what a row's images follow from: weights, or files, by their digests."""
    if row.method.published is not None:
        return f"images `{row.method.published.sha256[:8]}`"
    return ", ".join(f"`{each[:8]}`" for each in row.weights()) or "none"


def _copied_rows(of: Table, dataset: Dataset) -> list[list[str]]:
    """Return what a copy of each source gets."""
    copies, lines = of.copies_of(dataset.name), []
    if not copies:
        return []
    found = summary(copies, of.measures)["mean"]
    for row in copies:
        cells = [f"*{_number(found.at[row.name, each.name])}*" for each in of.measures]
        lines.append([f"*{row.name}*", *cells, *([""] if of.ranked else []), ""])
    return lines


def _paper_rows(of: Table, dataset: Dataset) -> list[list[str]]:
    """Return the paper's rows of a dataset, where it has any and one of its metrics is in the table."""
    rows = paper_tables()["ablation" if of.title == "ablation" else "tables"].get(dataset.paper, {})
    columns = {measure: index for index, measure in enumerate(paper_measures())}
    if not any(measure in columns for measure in of.measures):
        return []
    lines = []
    for name, figures in rows.items():
        pairs = [figures[columns[measure]] if measure in columns else None for measure in of.measures]
        cells = [f"*{pair[0]:.3f} ± {pair[1]:.3f}*" if pair else "" for pair in pairs]
        lines.append([f"*paper: {name}*", *cells, *([""] if of.ranked else []), ""])
    return lines


def _legend(of: Table) -> str:
    of_others = any(row.method.published for row in of.rows)
    text = f"Best mean{'' if of_others else ' of ours'} in bold; arrows point to better values."
    if any(measure.part == "worst" for measure in of.measures):
        text += " “Worse source” is the value of the source that the fused image serves worse."
    if any(measure in paper_measures() for measure in of.measures):
        text += (
            " “(paper)” columns follow the authors' definitions: on the model's float output, cut to [0, 1] but not "
            "rounded, and the sources, each then stretched to [0, 1]. All others are of the 8-bit luminance that "
            "`fusekit fuse --color gray` writes."
        )
    return text


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else str(value)
