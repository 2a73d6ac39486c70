"""Write docs/metric-list.md, the table of all built-in metrics, from the registry and the metrics' classes.

python docs/generate/metric_list.py
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fusekit.evaluation.rate import arrow
from fusekit.machine.files import write_text_atomically
from fusekit.metrics.base import FusedMetric
from fusekit.metrics.sets import SETS
from fusekit.registry.discovery import BUILTIN_OWNER, registries

PAGE = Path(__file__).resolve().parents[1] / "metric-list.md"

_INTRODUCTION = """\
# Metric list

Every built-in metric, as its class describes it; `python docs/generate/metric_list.py` wrote this page. ↑ means that
higher is better, ↓ that lower is. *Sources* says how the sources are combined, and how many the definition takes if not
any number; each source's own value, and the worst of them, is always there beside it. The `lpips` metrics need weights
of their own, so that no set has them.
"""


def page() -> str:
    """Return the page: a table of facts, then a section a metric with its rules, its paper and its look-alikes."""
    metrics = registries().metrics
    names = [entry.name for entry in metrics if entry.owner == BUILTIN_OWNER]
    lines = [
        _INTRODUCTION,
        "| metric | | what it is | range of one comparison | computed on | sources | sets |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        metric, entry = metrics.load(name), metrics.entry(name)
        cells = [
            f"[`{name}`](#{_anchor(name)})", arrow(name), entry.summary, _range(metric),
            metric.data_range, _sources(metric), _sets(name),
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    for name in names:
        metric = metrics.load(name)
        lines += ["", f"## {name}", "", _paragraphs(metric.__doc__), "", f"*Paper:* {metrics.entry(name).citation}"]
        lines += ["", f"*Look-alikes:* {metric.look_alikes}"]
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    """Return what mkdocs makes of a heading."""
    return name.replace(".", "")


def _range(metric: Any) -> str:
    return " to ".join(_number(end) for end in metric.range)


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.4g}".replace("-", "−")


def _sources(metric: Any) -> str:
    most = getattr(metric, "max_sources", None)
    if issubclass(metric, FusedMetric):
        return "none"
    return metric.combine if most is None else f"{metric.combine}, at most {most}"


def _sets(name: str) -> str:
    return ", ".join(each for each, members in SETS.items() if name in members)


def _paragraphs(text: str) -> str:
    """Return a docstring's text, as Markdown, without its indentation and its list of attributes."""
    plain = "\n".join(line.strip() for line in text.strip().splitlines())
    return plain.partition("\nAttributes:")[0].strip().replace("``", "`")


if __name__ == "__main__":
    write_text_atomically(PAGE, page())
