"""A quality table: its rows, their statistics as pandas frames, and what it says as Markdown, CSV and JSON."""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.evaluation.rate import Rating
from fusekit.evaluation.ratings import deviation, part_of, ranks
from fusekit_bench.publish import Result, table
from fusekit_bench.quality.methods import RECONSTRUCTION, Measure, Method, paper_measures
from fusekit_bench.quality.protocols import ABLATION

if TYPE_CHECKING:
    from pandas import DataFrame

#: By what methods are ranked: a fusion should be ahead in all three.
RANKED = (Measure("qabf"), Measure("vif"), Measure("scd"))
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
        cases: of the last replicate.
    """

    dataset: Dataset
    method: Method
    ratings: dict[str, dict[str, dict[str, Rating]]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The method's name; no other row of the dataset has it."""
        return self.method.name

    def weights(self) -> list[str]:
        """Return the SHA-256 of the weights of each replicate; none for a model without weights."""
        return [facts["weights"]["sha256"] for facts in self.facts.values() if facts["weights"]]


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
            if (row.dataset.name, row.name) == (dataset.name, method.name):
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


def values(rows: Sequence[Row], measures: Sequence[Measure], part: str = "") -> DataFrame:
    """Return a line an image; where there are several replicates, each one's mean over its images.

    Args:
        rows: of one dataset.
        measures: the columns, by their names.
        part: ``value`` or ``worst``; what each measure's table shows by default.

    Returns:
        lines by ``method``, ``replicate`` and ``image``, or without the last.
    """
    from pandas import DataFrame, MultiIndex

    found = {
        (row.name, label, image): [part_of(rated[each.name], part or each.part) for each in measures]
        for row in rows
        for label, images in row.ratings.items()
        for image, rated in images.items()
    }
    index = MultiIndex.from_tuples(found, names=["method", "replicate", "image"])
    frame = DataFrame(list(found.values()), index, [each.name for each in measures])
    if index.unique("replicate").size > 1:
        frame = frame.groupby(level=["method", "replicate"], sort=False).agg(statistics.fmean)
    return frame


def summary(rows: Sequence[Row], measures: Sequence[Measure], part: str = "") -> DataFrame:
    """Return a line a method of what its `values` come to.

    Returns:
        columns by what it is and the measure's name: ``mean`` and ``std``, the sample standard deviation (0 for a
        single value, NaN where one is infinite); ``gain``, the mean so that more is better; ``rank`` by it, 1 the
        best, where equal means share theirs.
    """
    from pandas import DataFrame, concat

    groups = values(rows, measures, part).groupby(level="method", sort=False)
    means = groups.agg(statistics.fmean)
    gains = means * [-1 if each.arrow == "↓" else 1 for each in measures]
    places = {name: ranks([-gain for gain in gains[name]]) for name in gains}
    frames = {"mean": means, "std": groups.agg(deviation), "gain": gains, "rank": DataFrame(places, gains.index)}
    return concat(frames, axis=1)


def by_rank(rows: Sequence[Row], measures: Sequence[Measure]) -> list[Row]:
    """Return the rows in the order of their mean rank over the measures, the best first."""
    means = summary(rows, measures)["rank"].agg(statistics.fmean, axis=1)
    return sorted(rows, key=lambda row: float(means[row.name]))


@functools.cache
def paper_tables() -> dict[str, Any]:
    """Return the paper's tables: ``citation``, ``metrics``, ``tables`` and ``ablation`` by name of the data."""
    tables: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return tables


def title(measure: Measure) -> str:
    """Return what a column is called: the metric, and on what or of which source."""
    if measure == RECONSTRUCTION:
        return "reconstruction, dB"
    if measure.view == "float":
        return f"{measure.metric} (paper)" if measure in paper_measures() else f"{measure.metric} (float)"
    return f"{measure.metric}, worse source" if measure.part == "worst" else measure.metric


# --- in words ----------------------------------------------------------------------------------------------------


def verdict(of: Table, rows: list[Row]) -> list[str]:
    """Return sentences on the rows of one dataset, as items of a Markdown list: who is ahead of what."""
    if of.title == "ablation":
        return _steps(of, rows)
    return _against_paper(of, rows) + _against_baselines(of, rows)


def _against_paper(of: Table, rows: list[Row]) -> list[str]:
    """Say which methods reach the paper's EH-DRAN row in all of its measures but the entropy.

    The entropy of float values tells of precision rather than of the image.
    """
    quoted = paper_tables()["tables"].get(rows[0].dataset.paper, {}).get("EH-DRAN")
    measures = [each for each in paper_measures() if each in of.measures and each.metric != "en.float"]
    if quoted is None or not measures:
        return []
    goals = [quoted[paper_measures().index(each)][0] for each in measures]
    means = summary(rows, measures)["mean"]
    reached = [
        name for name, line in means.iterrows() if all(round(m, 3) >= g for m, g in zip(line, goals, strict=True))
    ]
    names = ", ".join(f"{each.metric} {goal:g}" for each, goal in zip(measures, goals, strict=True))
    text = f"- At or above the paper's EH-DRAN in all of {names}: {', '.join(reached) or 'none'}."
    return [text if reached else f"{text} In most of them: {_nearest(means - goals, measures)}."]


def _against_baselines(of: Table, rows: list[Row]) -> list[str]:
    """Say which methods are ahead of all baselines, models without weights and plain SFNN, in all that ranks them."""
    baselines = [row.name for row in rows if not row.weights() or row.method.rule == "sfnn"]
    others, measures = [row.name for row in rows if row.name not in baselines], of.ranked
    if not baselines or not others or not measures:
        return []
    gains = summary(rows, measures)["gain"]
    surplus = gains.loc[others] - gains.loc[baselines].max()
    ahead = list(surplus.index[(surplus > 0).all(axis=1)])
    names = ", ".join(measure.metric for measure in measures)
    text = f"- Ahead of {', '.join(baselines)} in all of {names}: {', '.join(ahead) or 'none'}."
    return [text if ahead else f"{text} In most of them: {_nearest(surplus, measures, 'against the best of these: ')}."]


def _nearest(gaps: DataFrame, measures: Sequence[Measure], against: str = "") -> str:
    """Return the method with the most gaps that are none, and of these the one with the least, with its gaps."""
    name = max(gaps.index, key=lambda each: ((gaps.loc[each] > 0).sum(), gaps.loc[each].min()))
    told = ", ".join(f"{each.metric} {gaps.at[name, each.name]:+.3f}" for each in measures)
    return f"{name} ({against}{told})"


def _steps(of: Table, rows: list[Row]) -> list[str]:
    """Say by how much each step of the ablation changes each measure, paired by seed."""
    items, found = [], values(rows, of.measures)
    for before, after in pairwise(ABLATION):
        for rule in dict.fromkeys(row.method.rule for row in rows):
            old, new = (found.loc[f"{variant.label} · {rule}"] for variant in (before, after))
            if len(rows[0].ratings) < 2:
                old, new = (each.agg([statistics.fmean]) for each in (old, new))
            changes = "; ".join(f"{title(each)}: {_change((new - old)[each.name])}" for each in of.measures)
            items.append(f"- {before.label} → {after.label}, rule {rule}. {changes}.")
    return items


def _change(changes: Sequence[float]) -> str:
    """Return the mean of the paired differences with their deviation over the seeds."""
    mean = f"{statistics.fmean(changes):+.3f}"
    return mean if len(changes) < 2 else f"{mean} ± {statistics.stdev(changes):.3f}"


# --- as files ----------------------------------------------------------------------------------------------------


def result(of: Table, command: str) -> Result:
    """Return the table as data (facts, statistics and values of each image), as Markdown, and a line a row."""
    data, rows = [], []
    for group in of.by_dataset().values():
        found = summary(group, of.measures)
        for row in group:
            figures = {what: found[what].loc[row.name].to_dict() for what in ("mean", "std", "rank")}
            data.append(
                {
                    "dataset": row.dataset.name,
                    "method": row.name,
                    "shown": {measure.name: measure.part for measure in of.measures},
                    "mean": figures["mean"],
                    "std": figures["std"],
                    "ranks": {measure.name: figures["rank"][measure.name] for measure in of.ranked},
                    "replicates": [
                        {"label": label, "facts": facts, "images": row.ratings[label]}
                        for label, facts in row.facts.items()
                    ],
                }
            )
        rows += _lines(of, group)
    about = {"table": of.title, "command": command, "commit": of.commit, "rows": data, "paper": paper_tables()}
    return Result(about, _markdown(of, command), rows)


def _lines(of: Table, rows: list[Row]) -> list[dict[str, Any]]:
    """Return what CSV has of each row: method, weights, commit, data; mean and deviation of value and worst."""
    found = {part: summary(rows, of.measures, part) for part in ("value", "worst")}
    lines = []
    for row in rows:
        first = next(iter(row.facts.values()))
        line = {
            "dataset": row.dataset.name,
            "method": row.name,
            "model": row.method.model,
            "rule": row.method.rule or "",
            "replicates": len(row.facts),
            "pairs": first["data"]["pairs"],
            "weights": ";".join(row.weights()),
            "commit": of.commit,
            "data": ";".join(facts["data"]["sha256"] for facts in row.facts.values()),
            "device": first["device"],
        }
        for each in of.measures:
            for part in dict.fromkeys(("value", each.part)):
                name = each.name + (" (worst)" if part == "worst" else "")
                line |= {f"{name} {what}": found[part].at[row.name, (what, each.name)] for what in ("mean", "std")}
        lines.append(line)
    return lines


def _markdown(of: Table, command: str) -> str:
    """Return a section a dataset, with the paper's rows under ours."""
    facts = [each for row in of.rows for each in row.facts.values()]
    devices = dict.fromkeys(
        f"{each['device']} ({each['device_name']}), torch {each['versions']['torch']}" for each in facts
    )
    parts = [f"Made by `{command}`, commit `{of.commit}`, {'; '.join(devices)}."]
    quoted = False
    for rows in of.by_dataset().values():
        paper = _paper_rows(of, rows[0].dataset)
        quoted = quoted or bool(paper)
        parts.append("\n".join([f"**{rows[0].dataset.title}**: {_described(rows)}", "", *_table(of, rows, paper)]))
        parts += ["\n".join(items)] if (items := verdict(of, rows)) else []
    return "\n\n".join([*parts, _legend(of), *([REMARK] if quoted else [])])


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
        lines.append([*cells, ", ".join(f"`{each[:8]}`" for each in row.weights()) or "none"])
    return table([*titles, "weights"], [*lines, *paper])


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
    text = "Best mean of ours in bold; arrows point to better values."
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
