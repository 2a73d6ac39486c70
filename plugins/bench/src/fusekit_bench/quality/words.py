"""What a quality table says in words, computed from its rows: who is ahead, what copying gets, which claims hold."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from fusekit_bench.paper import paper_tables
from fusekit_bench.quality.methods import paper_measures, trained_on_others
from fusekit_bench.quality.protocols import ABLATION
from fusekit_bench.quality.table import Row, Table, summary, title, values

if TYPE_CHECKING:
    from pandas import DataFrame

    from fusekit_bench.quality.methods import Measure

#: How many methods are named in the order of their ranks.
_LEADERS = 5


def verdict(of: Table, rows: list[Row]) -> list[str]:
    """Return sentences on the rows of one dataset, as items of a Markdown list: who is ahead of what."""
    if of.title == "ablation":
        return _steps(of, rows)
    items = [*leaders(of, rows), *_by_copying(of, rows), *_against_paper(of, rows), *_claims(of, rows)]
    items += _against_baselines(of, rows) + _of_other_images(rows)
    return items + ([f"- {caution(rows)}"] if any(row.method.published for row in rows) else [])


def leaders(of: Table, rows: Sequence[Row]) -> list[str]:
    """Say who is first by the mean rank over what ranks methods, and who follows."""
    if len(rows) < 3 or not of.ranked:
        return []
    ranks = summary(rows, of.ranked)["rank"].agg(statistics.fmean, axis=1).sort_values(kind="stable")[:_LEADERS]
    names = ", ".join(each.metric for each in of.ranked)
    return [f"- First by mean rank in {names}: {', '.join(f'{name} ({rank:.1f})' for name, rank in ranks.items())}."]


def _by_copying(of: Table, rows: Sequence[Row]) -> list[str]:
    """Say in which measures a mere copy of one source is ahead of all methods, and how far it is behind elsewhere."""
    copies = of.copies_of(rows[0].dataset.name)
    if not copies:
        return []
    gains, theirs = (summary(each, of.measures)["gain"] for each in (rows, copies))
    wins, others = [], []
    for measure in of.measures:
        best, copied = gains[measure.name], theirs[measure.name]
        if copied.max() >= best.max():
            wins.append(f"{title(measure)} ({copied.idxmax()})")
        else:
            behind = int((best > copied.max()).sum())
            others.append(f"{title(measure)} ({behind} of {len(rows)} methods are ahead of it)")
    parts = [f"- A mere copy of one source would be first in {'; '.join(wins) or 'none of these'}."]
    parts += [f"Not in {'; '.join(others)}."] if others else []
    return [" ".join(parts)]


def _claims(of: Table, rows: Sequence[Row]) -> list[str]:
    """Say in which of the paper's measures its EH-DRAN is ahead of its peers, there and here, and in which it is not.

    Here it is `ehdran` with the paper's rule; the peers are those of the paper that have a row, by their first one.
    """
    models, quoted = paper_tables()["models"], paper_tables()["tables"].get(rows[0].dataset.paper, {})
    firsts = {row.method.model: row for row in reversed(rows) if not row.method.published}
    peers = {name: firsts[models[name]] for name in quoted if name != "EH-DRAN" and models[name] in firsts}
    ours = next((row for row in rows if (row.method.model, row.method.rule) == ("ehdran", "sfnn")), None)
    measures = [each for each in paper_measures() if each in of.measures]
    if ours is None or not peers or not measures:
        return []
    gains = summary([ours, *peers.values()], measures)["gain"]
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for measure in measures:
        column = paper_measures().index(measure)
        there = quoted["EH-DRAN"][column][0] > max(quoted[name][column][0] for name in peers)
        here = gains[measure.name].drop(ours.name)
        own, best = float(gains.at[ours.name, measure.name]), float(here.max())
        told = f"{measure.metric} ({own:.3f}, {here.idxmax()} {best:.3f})"
        kinds.setdefault((there, own > best), []).append(told)
    words = {
        (True, True): "in the paper and here in",
        (True, False): "in the paper but not here in",
        (False, True): "here but not in the paper in",
        (False, False): "neither in the paper nor here in",
    }
    parts = [f"{text} {', '.join(kinds[kind])}" for kind, text in words.items() if kind in kinds]
    return [f"- EH-DRAN, here {ours.name}, is ahead of {', '.join(peers)} {'; '.join(parts)}."]


def _of_other_images(rows: Sequence[Row]) -> list[str]:
    """Say which models have weights that were trained on other images than the dataset's."""
    trained = {row.method.model: trained_on_others(row.method, row.dataset) for row in rows}
    named = [f"{model} (on {shown})" for model, shown in trained.items() if shown]
    if not named:
        return []
    shown = " and ".join(rows[0].dataset.source_names)
    return [f"- Trained on other images than {shown}: {', '.join(named)}."]


def caution(rows: Sequence[Row]) -> str:
    """Say what is to be minded of the published images of others, of which there are some."""
    names = [row.name for row in rows if row.method.published]
    return f"The authors of {' and '.join(names)} may have trained on these pairs."


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
    baselines = [row.name for row in rows if row.method.rule == "sfnn" or not (row.weights() or row.method.published)]
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
