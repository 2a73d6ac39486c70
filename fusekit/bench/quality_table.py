"""The rows of a quality table and their statistics; as Markdown, CSV and JSON, with the paper's rows beside ours."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusekit.bench.datasets import Dataset, Pairs
from fusekit.bench.quality_methods import Method
from fusekit.bench.quality_scores import RECONSTRUCTION, Measure, paper_measures
from fusekit.evaluation import Rating
from fusekit.report.export import finite

#: By what methods are ranked: a fusion should be ahead in all three.
RANKED = (Measure("qabf"), Measure("vif"), Measure("scd"))
_PAPER = Path(__file__).with_name("paper.json")
REMARK = (
    "The paper's rows are quoted for orientation, not for comparison to the digit: its splits and draws are not "
    "published, its test slices share patients with its training slices, its checkpoint was chosen on test SSIM, and "
    "its model was not reset between draws (see “What differs from the paper”)."
)


@dataclass
class Row:
    """A method on a dataset.

    Attributes:
        dataset: what was fused.
        method: with the weights of the last replicate.
        ratings: replicate's label → image → measure's name → rating.
        facts: replicate's label → model, weights, rule, commit, data, device, versions, training.
        pairs: of the last replicate.
    """

    dataset: Dataset
    method: Method
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: Pairs = field(default_factory=dict)

    def values(self, measure: Measure, part: str = "") -> list[float]:
        """Return a value an image; where there are several replicates, each one's mean over its images."""
        part = part or measure.part
        lists = [[part_of(image[measure.name], part) for image in images.values()] for images in self.ratings.values()]
        return lists[0] if len(lists) == 1 else [statistics.fmean(each) for each in lists]

    def mean(self, measure: Measure, part: str = "") -> float:
        """Return the mean of the values."""
        return statistics.fmean(self.values(measure, part))

    def std(self, measure: Measure, part: str = "") -> float:
        """Return their sample standard deviation; 0 for a single value, NaN where one is infinite."""
        values = self.values(measure, part)
        if not all(map(math.isfinite, values)):
            return math.nan
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def weights(self) -> list[str]:
        """Return the SHA-256 of the weights of each replicate; none for a model without weights."""
        return [facts["weights"]["sha256"] for facts in self.facts.values() if facts["weights"]]


def part_of(rating: Rating, part: str) -> float:
    """Return the ``value`` of a rating, or its ``worst`` source's where it has one."""
    worst = rating["worst"]
    return worst if part == "worst" and worst is not None else rating["value"]


@dataclass
class Table:
    """All rows of a bench.

    Attributes:
        title: ``series``, ``paper`` or ``ablation``.
        measures: columns, in the order asked for.
        commit: of the code that made it.
        rows: dataset after dataset.
    """

    title: str
    measures: list[Measure]
    commit: str
    rows: list[Row] = field(default_factory=list)

    def row(self, dataset: Dataset, method: Method) -> Row:
        """Return the row of a method on a dataset, a new one if there is none."""
        for row in self.rows:
            if row.dataset.name == dataset.name and row.method.name == method.name:
                row.method = method
                return row
        self.rows.append(Row(dataset, method))
        return self.rows[-1]

    def by_dataset(self) -> dict[str, list[Row]]:
        """Return the rows under their dataset's name."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.dataset.name, []).append(row)
        return groups

    @property
    def ranked(self) -> list[Measure]:
        """The measures that methods are ranked by, as far as they were computed."""
        return [each for each in RANKED if each in self.measures]


def best(rows: list[Row], measure: Measure) -> list[Row]:
    """Return the rows with the best mean, several where they are equal."""
    least = min(_badness(row, measure) for row in rows)
    return [row for row in rows if _badness(row, measure) == least]


def ranks(rows: list[Row], measure: Measure) -> list[float]:
    """Return each row's rank by its mean, 1 the best; equal means share their ranks."""
    scores = [_badness(row, measure) for row in rows]
    return [sum(each < own for each in scores) + (scores.count(own) + 1) / 2 for own in scores]


def _badness(row: Row, measure: Measure) -> float:
    return row.mean(measure) if measure.arrow == "↓" else -row.mean(measure)


@functools.cache
def paper_tables() -> dict[str, Any]:
    """Return the paper's tables: ``citation``, ``metrics``, ``tables`` and ``ablation`` by name of the data."""
    tables: dict[str, Any] = json.loads(_PAPER.read_text(encoding="utf-8"))
    return tables


def heading(measure: Measure) -> str:
    """Return the column's heading: what is measured, on what, and which direction is better."""
    if measure == RECONSTRUCTION:
        return f"reconstruction, dB {measure.arrow}"
    note = {"worst": ", worse source"}.get(measure.part, "")
    if measure.view == "float":
        note = " (paper)" if measure in paper_measures() else " (float)"
    return f"{measure.metric}{note} {measure.arrow}"


def to_markdown(table: Table, command: str) -> str:
    """Return a section a dataset, with the paper's rows under ours."""
    parts = [f"Made by `{command}`, commit `{table.commit}`, {_devices(table)}."]
    quoted = False
    for rows in table.by_dataset().values():
        lines = [f"**{rows[0].dataset.title}**: {_described(rows)}", "", *_table(table, rows)]
        paper = _paper_rows(table, rows[0].dataset)
        quoted = quoted or bool(paper)
        parts.append("\n".join([*lines, *paper]))
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
    return f"{text} Means over {labels}, ± their standard deviation. {_recipe(trainings[-1])}"


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
    titles = ["method", *map(heading, table.measures)]
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
