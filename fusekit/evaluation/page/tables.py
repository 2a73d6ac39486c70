"""The page's tables: how methods rank, what each metric says, every case, and what the metrics are."""

from __future__ import annotations

import math
import re
from urllib.parse import quote_plus

from fusekit.evaluation.page.marks import cell, escaped, head, note, prose, spread, table
from fusekit.evaluation.provenance import metric_facts
from fusekit.evaluation.rate import arrow
from fusekit.evaluation.ratings import Comparison
from fusekit.evaluation.terminal import by_rank, fixed, number
from fusekit.registry.discovery import registries

#: Rows of the table of cases beyond which only the worst are shown.
MOST_ROWS = 600

_COPYING = (
    "<b>Copying</b> is 0 where the sources are served alike and 1 where the fused image is a copy of one of them: the "
    "gap between the greatest and the least |correlation| with a source, divided by the gap that an exact copy of the "
    "best served source has. A copy scores well by every mean over the sources, as half of it is perfect."
)
_RANKS = (
    "<b>Mean rank</b>: over images and metrics, 1 is the best; equal values share ranks. By the <b>worse source</b>, a "
    "metric that has a value of each source counts by its worst one, so that a copy gains nothing by the source that "
    "it copies; metrics of the fused image alone count by their value."
)
_STARS = (
    "<b>◆</b> the best mean. <b>*</b> differs from the best with p &lt; 0.05: paired randomisation test over the "
    "images, corrected for the number of methods by Holm's procedure. What has neither sign may differ by chance."
)


def ranks(comparison: Comparison) -> str:
    """Return the table of methods, the best first: mean ranks, copying, and what there is of each source."""
    several, many = len(comparison.methods) > 1, len(comparison.sources) > 1
    heads = [head("method"), *([head("mean rank", "by the worse source")] * (several and many))]
    heads += [head("copying", "0 none, 1 a copy")] * many
    heads += [head("mean rank", "by value" if many else "")] * several
    heads += [head(f"r {name}", "correlation", first="descending") for name in comparison.sources]
    heads.append(head("vif", "of the worse source" if many else "", first="descending"))
    rows = [_rank_row(comparison, method) for method in by_rank(comparison)]
    text = " ".join([_RANKS] * (several and many) + [_COPYING] * many)
    return table("Methods", heads, rows) + (note(text) if text else "")


def _rank_row(comparison: Comparison, method: str) -> str:
    several, many = len(comparison.methods) > 1, len(comparison.sources) > 1
    cells = [_rank(comparison, method, "worst")] * (several and many)
    cells += [_copying(comparison.copying(method), comparison.copies().get(method))] * many
    cells += [_rank(comparison, method, "value")] * several
    cells += [cell(fixed(each), each) for each in comparison.shared(method, "correlation")]
    vif = comparison.worst_vif(method)
    return f'<tr><th scope="row">{escaped(method)}</th>{"".join(cells)}<td data-v="{vif:.7g}">{vif:.3f}</td></tr>'


def _rank(comparison: Comparison, method: str, part: str) -> str:
    rank = comparison.mean_rank(method, part)
    first = rank == min(comparison.mean_rank(each, part) for each in comparison.methods)
    return cell(f"{'◆ ' if first else ''}{rank:.2f}", rank, "best" if first else "")


def _copying(value: float | None, copied: str | None) -> str:
    if value is None:
        return cell("–", math.nan)
    said = f" <span class=flag>nearly a copy of {escaped(copied)}</span>" if copied is not None else ""
    return cell(f'<span class=bar style="--v:{value:.3f}"></span>{value:.2f}{said}', value)


def metrics(comparison: Comparison) -> str:
    """Return a row a metric and a column a method: mean ± standard deviation, and below it the worse source's."""
    several = len(comparison.methods) > 1
    heads = [head("metric"), *(head(method, "sorts by its rank" if several else "") for method in comparison.methods)]
    rows = []
    for metric in comparison.metrics:
        facts, name = metric_facts(metric), escaped(metric)
        better = f'<span title="{facts["direction"]} is better">{arrow(metric)}</span>'
        title = f'<a href="#m-{name}">{name}</a> {better}<small>{prose(facts["summary"])}</small>'
        parts = ["value", "worst"] if comparison.by_source(metric) else ["value"]
        cells = "".join(_value(comparison, metric, method, parts) for method in comparison.methods)
        rows.append(f'<tr><th scope="row">{title}</th>{cells}</tr>')
    small = "↑ higher values are better, ↓ lower ones. "
    small += "Mean <small>± standard deviation over the images</small>. " if len(comparison.images) > 1 else ""
    small += "Below: of the worse source alone. " if len(comparison.sources) > 1 else ""
    stars = _STARS if len(comparison.images) > 1 else _STARS.partition(" <b>*")[0]
    return table("Metrics", heads, rows, "metrics") + note(small + (stars if several else ""))


def _value(comparison: Comparison, metric: str, method: str, parts: list[str]) -> str:
    several, many = len(comparison.methods) > 1, len(comparison.images) > 1
    lines = []
    for part in parts:
        text = spread(comparison.mean(method, metric, part), comparison.std(method, metric, part) if many else None)
        best = several and method == comparison.best(metric, part)
        if best:
            text = f'<b><span title="the best">◆</span> {text}</b>'
        elif several and many and (p := comparison.significance(metric, part)[method]) < 0.05:
            text += f'<span title="differs from the best, p = {p:.2g}">*</span>'
        lines.append(f'<div class="{part}">{text}</div>')
    return cell("".join(lines), comparison.rank(method, metric, parts[-1]) if several else None)


def cases(comparison: Comparison) -> str:
    """Return a row a case and method, the worst first: copying and each metric's value."""
    if len(comparison.images) < 2:
        return ""
    many = len(comparison.sources) > 1
    heads = [head("case"), *([head("method", style="text")] if len(comparison.methods) > 1 else [])]
    heads += [head("copying", first="descending")] * many
    better = {metric: metric_facts(metric)["direction"] for metric in comparison.metrics}
    heads += [
        head(f"{metric} {arrow(metric)}", first="ascending" if better[metric] == "higher" else "descending")
        for metric in comparison.metrics
    ]
    order = [(image, method) for image in comparison.worst_cases() for method in comparison.methods]
    rows = []
    for image, method in order[:MOST_ROWS]:
        row, copying = comparison.ratings[method][image], comparison.sharing[method][image]["copying"]
        cells = [cell(escaped(method), style="text")] if len(comparison.methods) > 1 else []
        cells += [cell(fixed(copying), math.nan if copying is None else copying)] * many
        cells += [cell(number(row[metric]["value"]), row[metric]["value"]) for metric in comparison.metrics]
        rows.append(f'<tr><th scope="row">{escaped(image)}</th>{"".join(cells)}</tr>')
    said = "The worst cases over all methods and metrics come first; a column's first sorting shows its worst values."
    if len(order) > MOST_ROWS:
        said += f" These are the first {MOST_ROWS} of {len(order)} rows; <code>--csv</code> writes all."
    return table("Cases", heads, rows, "cases") + note(said)


def glossary(comparison: Comparison) -> str:
    """Return what each metric is: explanation, direction, range, definition, look-alikes, paper and a link to it."""
    return f'<dl class="glossary">{"".join(_explained(metric) for metric in comparison.metrics)}</dl>'


def _explained(metric: str) -> str:
    facts, found = metric_facts(metric), registries().metrics.load(metric)
    lines = [f"<p><b>{facts['direction'].capitalize()} is better.</b> {prose(found.__doc__ or facts['summary'])}</p>"]
    told = {"Range": _range(getattr(found, "range", None)), "Computed on": getattr(found, "data_range", "")}
    told |= {"Sources": getattr(found, "combine", ""), "Not to be mistaken for": getattr(found, "look_alikes", "")}
    lines += [f"<p><b>{name}:</b> {prose(str(text))}</p>" for name, text in told.items() if text]
    if facts["citation"]:
        lines.append(f"<p><b>Paper:</b> {_cited(facts['citation'])}</p>")
    title = f"{escaped(metric)} {arrow(metric)} <small>{prose(facts['summary'])}</small>"
    return f'<div id="m-{escaped(metric)}"><dt>{title}</dt><dd>{"".join(lines)}</dd></div>'


def _range(limits: object) -> str:
    if not isinstance(limits, tuple) or len(limits) != 2:
        return ""
    return " to ".join("∞" if each == math.inf else "−∞" if each == -math.inf else f"{each:g}" for each in limits)


def _cited(citation: str) -> str:
    """Return a citation with a link: the address or DOI that it holds, or else a search for it."""
    found = re.search(r"https?://[^\s<>\"']+|\b10\.\d{4,9}/[^\s<>\"']+", citation)
    if found is None:
        address, text = f"https://search.crossref.org/search/works?q={quote_plus(citation)}&from_ui=yes", "find it"
    else:
        text = found[0].rstrip(".,;)")
        address = text if text.startswith("http") else f"https://doi.org/{text}"
    return f'{prose(citation)} <a rel="noreferrer" href="{escaped(address)}">{escaped(text)}</a>'
