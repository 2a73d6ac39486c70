"""Small pieces of HTML that all parts of the page are made of; what others named is escaped here."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence

from fusekit.errors import plain
from fusekit.evaluation.terminal import number


def escaped(text: object) -> str:
    """Return text that is shown as it is, in an element or in a quoted attribute."""
    return html.escape(plain(text), quote=True)


def prose(text: str) -> str:
    """Return a docstring or summary as HTML: what stands in backticks as code, blanks and line ends as one blank."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escaped(" ".join(text.split())))


def head(text: str, note: str = "", *, first: str = "ascending", style: str = "") -> str:
    """Return a header that sorts its column when it is chosen, in the direction ``first`` at first."""
    small = f"<small>{escaped(note)}</small>" if note else ""
    kind = f' class="{style}"' if style else ""
    return (
        f'<th scope="col"{kind} data-first="{first}"><button type="button">{escaped(text)}'
        f'<span class="sign" aria-hidden="true"></span>{small}</button></th>'
    )


def cell(content: str, value: float | None = None, style: str = "") -> str:
    """Return a cell of HTML, which is sorted by ``value`` where there is one, else by its text."""
    by = "" if value is None else f' data-v="{_sortable(value)}"'
    return f"<td{by}{f' class={style}' if style else ''}>{content}</td>"


def _sortable(value: float) -> str:
    return f"{value:.7g}" if math.isfinite(value) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")


def spread(mean: float, deviation: float | None) -> str:
    """Return mean ± standard deviation; the mean alone where there is none, as of a single or an infinite value."""
    if deviation is None or math.isnan(deviation):
        return number(mean)
    return f"{number(mean)} <small>± {number(deviation)}</small>"


def table(label: str, heads: Iterable[str], rows: Iterable[str], style: str = "") -> str:
    """Return a sortable table that scrolls in its own box, also by the keyboard."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(label)}">'
        f'<table class="sortable {style}"><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def section(id: str, title: str, *content: str) -> str:
    """Return a section, or nothing where it has no content."""
    inner = "\n".join(filter(None, content))
    return f'<section id="{id}"><h2>{escaped(title)}</h2>\n{inner}\n</section>' if inner else ""


def note(text: str) -> str:
    """Return a paragraph of explanation; ``text`` is HTML."""
    return f'<p class="note">{text}</p>'


def folded(summary: str, items: Sequence[str]) -> str:
    """Return a list that opens when its summary is chosen; just the summary where there are no items."""
    if not items:
        return f"<p>{escaped(summary)}</p>"
    inner = "".join(f"<li>{escaped(each)}</li>" for each in items)
    return f"<details><summary>{escaped(summary)}</summary><ul>{inner}</ul></details>"
