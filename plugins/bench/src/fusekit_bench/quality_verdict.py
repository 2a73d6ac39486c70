"""A quality table in words, computed from its rows: who is ahead of what, what each step of the ablation changes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from fusekit_bench.quality_protocols import ABLATION
from fusekit_bench.quality_scores import Measure, paper_measures
from fusekit_bench.quality_table import Row, Table, paper_tables, surplus, title

#: What the paper's row is held against; its entropy of float values tells of precision rather than of the image.
_COMPARED = tuple(measure for measure in paper_measures() if measure.metric != "en.float")


def verdict(table: Table, rows: list[Row]) -> list[str]:
    """Return sentences on the rows of one dataset, as items of a Markdown list."""
    if table.title == "ablation":
        return _steps(table, rows)
    return _against_paper(table, rows) + _against_baselines(table, rows)


def _against_paper(table: Table, rows: list[Row]) -> list[str]:
    """Say which methods reach the paper's EH-DRAN row in all of its measures but the entropy."""
    quoted = paper_tables()["tables"].get(rows[0].dataset.paper, {}).get("EH-DRAN")
    measures = [measure for measure in _COMPARED if measure in table.measures]
    if quoted is None or not measures:
        return []
    goal = {measure: quoted[paper_measures().index(measure)][0] for measure in measures}
    names = ", ".join(f"{measure.metric} {goal[measure]:g}" for measure in measures)
    reached = [row for row in rows if all(round(row.mean(each), 3) >= goal[each] for each in measures)]
    text = f"- At or above the paper's EH-DRAN in all of {names}: {_names(reached)}."
    if not reached:
        nearest = max(rows, key=lambda row: _nearness([row.mean(each) - goal[each] for each in measures]))
        gaps = ", ".join(f"{each.metric} {nearest.mean(each) - goal[each]:+.3f}" for each in measures)
        text += f" In most of them: {nearest.method.name} ({gaps})."
    return [text]


def _against_baselines(table: Table, rows: list[Row]) -> list[str]:
    """Say which methods are ahead of all baselines, models without weights and plain SFNN, in all that ranks them."""
    baselines = [row for row in rows if not row.weights() or row.method.rule == "sfnn"]
    others = [row for row in rows if row not in baselines]
    measures = table.ranked
    if not baselines or not others or not measures:
        return []
    ahead = [row for row in others if all(surplus(row, baselines, each) > 0 for each in measures)]
    names = ", ".join(measure.metric for measure in measures)
    text = f"- Ahead of {_names(baselines)} in all of {names}: {_names(ahead)}."
    if not ahead:
        nearest = max(others, key=lambda row: _nearness([surplus(row, baselines, each) for each in measures]))
        gaps = ", ".join(f"{each.metric} {surplus(nearest, baselines, each):+.3f}" for each in measures)
        text += f" In most of them: {nearest.method.name} (against the best of these: {gaps})."
    return [text]


def _nearness(gaps: Sequence[float]) -> tuple[int, float]:
    """Return what orders methods by how near they are: the number of gaps that are none, then the worst gap."""
    return sum(gap > 0 for gap in gaps), min(gaps)


def _steps(table: Table, rows: list[Row]) -> list[str]:
    """Say by how much each step of the ablation changes each measure, paired by seed."""
    items = []
    for before, after in pairwise(ABLATION):
        for rule in dict.fromkeys(row.method.rule for row in rows):
            pair = [_find(rows, variant.label, rule) for variant in (before, after)]
            changes = "; ".join(f"{title(each)}: {_change(pair, each)}" for each in table.measures)
            items.append(f"- {before.label} → {after.label}, rule {rule}. {changes}.")
    return items


def _find(rows: list[Row], label: str, rule: str | None) -> Row:
    return next(row for row in rows if row.method.label == f"{label} · {rule}")


def _change(pair: Sequence[Row], measure: Measure) -> str:
    """Return the mean of the paired differences with their deviation over the seeds."""
    before, after = (row.values(measure) for row in pair)
    if len(pair[0].ratings) < 2:
        return f"{pair[1].mean(measure) - pair[0].mean(measure):+.3f}"
    changes = [new - old for old, new in zip(before, after, strict=True)]
    return f"{statistics.fmean(changes):+.3f} ± {statistics.stdev(changes):.3f}"


def _names(rows: Sequence[Row]) -> str:
    return ", ".join(row.method.name for row in rows) or "none"
