"""A quality table as Markdown, CSV and JSON, with the paper's rows beside ours."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from fusekit.cases.datasets import Dataset
from fusekit.evaluation.export import finite
from fusekit_bench.quality_scores import paper_measures
from fusekit_bench.quality_table import Row, Table, best, paper_tables, ranks, title
from fusekit_bench.quality_verdict import verdict

REMARK = (
    "The paper's rows are quoted for orientation, not for comparison to the digit: its splits and draws are not "
    "published, its test slices share patients with its training slices, its checkpoint was chosen on test SSIM, and "
    "its model was not reset between draws (see “What differs from the paper”)."
)


def to_markdown(table: Table, command: str) -> str:
    """Return a section a dataset, with the paper's rows under ours."""
    parts = [f"Made by `{command}`, commit `{table.commit}`, {_devices(table)}."]
    quoted = False
    for rows in table.by_dataset().values():
        lines = [f"**{rows[0].dataset.title}**: {_described(rows)}", "", *_table(table, rows)]
        paper = _paper_rows(table, rows[0].dataset)
        quoted = quoted or bool(paper)
        parts.append("\n".join([*lines, *paper]))
        parts += ["\n".join(items)] if (items := verdict(table, rows)) else []
    parts.append(_legend(table))
    if quoted:
        parts.append(REMARK)
    return "\n\n".join(parts)


def _devices(table: Table) -> str:
    facts = [each for row in table.rows for each in row.facts.values()]
    names = dict.fromkeys(
        f"{each['device']} ({each['device_name']}), torch {each['versions']['torch']}" for each in facts
    )
    return "; ".join(names)


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
    over = (
        f"Means over {labels}, ± their" if len(facts) > 1 else f"{labels.capitalize()}: means over the pairs, ± their"
    )
    return f"{text} {over} standard deviation. {_recipe(trainings[-1])}"


def _recipe(trained: dict[str, Any]) -> str:
    recipe, pairs = trained["recipe"], trained["pairs"]
    perceptual = f"{recipe['perceptual_weight']:g} × {trained['perceptual']}" if trained["perceptual"] else "none"
    return (
        f"Trained on {pairs['train']} pairs, {pairs['validation']} to choose the checkpoint: {recipe['steps']} steps "
        f"of {recipe['batch']} crops of {recipe['crop']}×{recipe['crop']}, rate {recipe['rate']:g}, "
        f"{recipe['precision']}, L_grad × {recipe['gradient_weight']:g} unless named, perceptual term {perceptual}."
    )


def _table(table: Table, rows: list[Row]) -> list[str]:
    ranked = table.ranked
    titles = ["method", *(f"{title(measure)} {measure.arrow}" for measure in table.measures)]
    if ranked:
        titles.append("ranks by " + ", ".join(each.metric for each in ranked))
    titles.append("weights")
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    winners = {measure: best(rows, measure) for measure in table.measures}
    orders = [ranks(rows, measure) for measure in ranked]
    for index, row in enumerate(rows):
        cells = [row.method.name]
        for measure in table.measures:
            mean = _number(row.mean(measure))
            bold = "**" if row in winners[measure] and len(rows) > 1 else ""
            cells.append(f"{bold}{mean}{bold} ± {_number(row.std(measure))}")
        if ranked:
            cells.append(", ".join(f"{order[index]:g}" for order in orders))
        cells.append(", ".join(f"`{each[:8]}`" for each in row.weights()) or "none")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _paper_rows(table: Table, dataset: Dataset) -> list[str]:
    """Return the paper's rows of a dataset, where it has any and one of its metrics is in the table."""
    quoted = paper_tables()
    rows = quoted["ablation" if table.title == "ablation" else "tables"].get(dataset.paper, {})
    columns = {measure: index for index, measure in enumerate(paper_measures())}
    if not any(measure in columns for measure in table.measures):
        return []
    lines = []
    for name, figures in rows.items():
        cells = [f"*paper: {name}*"]
        for measure in table.measures:
            pair = figures[columns[measure]] if measure in columns else None
            cells.append(f"*{pair[0]:.3f} ± {pair[1]:.3f}*" if pair else "")
        lines.append("| " + " | ".join([*cells, *([""] if table.ranked else []), ""]) + " |")
    return lines


def _legend(table: Table) -> str:
    text = "Best mean of ours in bold; arrows point to better values."
    if any(measure.part == "worst" for measure in table.measures):
        text += " “Worse source” is the value of the source that the fused image serves worse."
    if any(measure in paper_measures() for measure in table.measures):
        text += (
            " “(paper)” columns follow the authors' definitions: on the model's float output, cut to [0, 1] but not "
            "rounded, and the sources, each then stretched to [0, 1]. All others are of the 8-bit luminance that "
            "`fusekit fuse --color gray` writes."
        )
    return text


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else str(value)


def to_csv(table: Table) -> str:
    """Return a line a row: method, weights, commit, data, and of each measure mean and deviation of value and worst."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    parts = [(measure, part) for measure in table.measures for part in dict.fromkeys(("value", measure.part))]
    names = [measure.name + (" (worst)" if part == "worst" else "") for measure, part in parts]
    writer.writerow(
        ["dataset", "method", "model", "rule", "replicates", "pairs", "weights", "commit", "data", "device"]
        + [f"{name} {what}" for name in names for what in ("mean", "std")]
    )
    for row in table.rows:
        first = next(iter(row.facts.values()))
        data = ";".join(facts["data"]["sha256"] for facts in row.facts.values())
        figures = [figure for each in parts for figure in (row.mean(*each), row.std(*each))]
        labels = [row.dataset.name, row.method.name, row.method.model, row.method.rule or "", len(row.facts)]
        about = [first["data"]["pairs"], ";".join(row.weights()), table.commit, data, first["device"]]
        writer.writerow([*labels, *about, *figures])
    return buffer.getvalue()


def to_json(table: Table, command: str) -> str:
    """Return every row's facts, statistics and values of each image; infinities become strings."""
    rows = []
    for group in table.by_dataset().values():
        order = {measure: ranks(group, measure) for measure in table.ranked}
        for index, row in enumerate(group):
            rows.append(
                {
                    "dataset": row.dataset.name,
                    "method": row.method.name,
                    "shown": {measure.name: measure.part for measure in table.measures},
                    "mean": {measure.name: row.mean(measure) for measure in table.measures},
                    "std": {measure.name: row.std(measure) for measure in table.measures},
                    "ranks": {measure.name: order[measure][index] for measure in table.ranked},
                    "replicates": [
                        {"label": label, "facts": facts, "images": row.ratings[label]}
                        for label, facts in row.facts.items()
                    ],
                }
            )
    data = {"table": table.title, "command": command, "commit": table.commit, "rows": rows, "paper": paper_tables()}
    return json.dumps(finite(data), indent=1, ensure_ascii=False) + "\n"
