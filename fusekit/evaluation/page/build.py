"""A comparison as one self-contained HTML page: ranks, values, every case, pictures, and what the metrics are.

The page needs no network and loads nothing: a policy in its head forbids it to. Its style and script stand in
``page.css`` and ``page.js``; without the script, as where it is printed, all but the curtains is there.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

from fusekit.errors import count_of
from fusekit.evaluation.page import tables
from fusekit.evaluation.page.marks import escaped, folded, section
from fusekit.evaluation.page.pictures import Report, Shown, pictures, shown, thumbnails
from fusekit.evaluation.page.plots import plots
from fusekit.evaluation.provenance import made
from fusekit.evaluation.ratings import Comparison


def to_html(comparison: Comparison, command: str = "", which: Shown | None = None, report: Report | None = None) -> str:
    """Return the page.

    Args:
        comparison: rated.
        command: the command line that asked for it; empty where Python did.
        which: cases that are pictured, as `shown` chooses them.
        report: called while cases are drawn, with how many are done and the name of the next.

    Raises:
        InputError: an image cannot be read any more.
    """
    which = shown(comparison) if which is None else which
    several = len(comparison.methods) > 1
    title = f"{count_of(comparison.methods, 'method')} rated on {comparison.extent}"
    style, script = _asset("page.css"), _asset("page.js")
    sections = {
        "ranks": section("ranks", "Which method" if several else "The method", tables.ranks(comparison)),
        "metrics": section("metrics", "Metrics", tables.metrics(comparison)),
        "spread": section("spread", "Spread over the images", plots(comparison)),
        "cases": section("cases", "Every case", tables.cases(comparison)),
        "pictures": section("pictures", "Pictures", pictures(comparison, which, report)),
        "thumbnails": section("thumbnails", "Other cases", thumbnails(comparison, which, report)),
        "glossary": section("glossary", "What the metrics are", tables.glossary(comparison)),
    }
    body = [_header(comparison, title, command, [name for name, text in sections.items() if text])]
    body += [_left_out(comparison), *sections.values(), _FOOTER]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escaped(title)} – fusekit</title>\n<style>\n{style}</style>\n</head>\n<body>",
            *filter(None, body),
            f"<script>{script}</script>\n</body>\n</html>\n",
        ]
    )


_FOOTER = "<footer>Made by fusekit, for research. Not a medical device: do not use it for diagnosis.</footer>"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Return a policy by which the page loads nothing and runs no script but its own, whatever names stand in it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _header(comparison: Comparison, title: str, command: str, sections: list[str]) -> str:
    """Return title, theme switch, how the page was made, what was rated, and links to the sections."""
    origin = made(command)
    sources = [str(path.parent) for path in next(iter(comparison.cases.values())).files]
    files = {method: next(iter(paths.values())) for method, paths in comparison.fused.items()}
    if len(comparison.cases) == 1:
        sources = [str(path) for path in next(iter(comparison.cases.values())).files]
    folders = {method: path if len(comparison.cases) == 1 else Path(path).parent for method, path in files.items()}
    versions = ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    facts = {
        "command": f"<code>{escaped(command)}</code>" if command else "called from Python",
        "made": f'<time datetime="{origin.time}">{origin.time.replace("T", " ").replace("Z", " UTC")}</time>',
        "version": escaped(versions + ("" if origin.code.startswith("fusekit") else f"; commit {origin.code}")),
        "sources": _listed(dict(zip(comparison.sources, sources, strict=True))),
        "methods": _listed({method: str(folder) for method, folder in folders.items()}),
    }
    rows = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in facts.items())
    links = "".join(f'<a href="#{name}">{_LINKS[name]}</a>' for name in sections)
    return (
        f'<header><div class="title"><h1>{escaped(title)}</h1>'
        '<button type="button" id="theme" hidden>Theme: automatic</button></div>'
        f'<nav aria-label="Sections">{links}</nav><details class="facts"><summary>How this page was made</summary>'
        f"<dl>{rows}</dl></details></header>"
    )


_LINKS = {
    "ranks": "Ranks",
    "metrics": "Metrics",
    "spread": "Spread",
    "cases": "Cases",
    "pictures": "Pictures",
    "thumbnails": "Other cases",
    "glossary": "What the metrics are",
}


def _listed(paths: dict[str, str]) -> str:
    return "<br>".join(f"{escaped(name)} <code>{escaped(path)}</code>" for name, path in paths.items())


def _left_out(comparison: Comparison) -> str:
    """Return what a reader must know before the numbers: copies, what was not rated, what failed; or nothing."""
    lines = [folded(sentence, names) for sentence, names in comparison.left_out.told()]
    lines += [
        folded(f"{method} is nearly a copy of {source}: judge it by the values of the worse source", [])
        for method, source in comparison.copies().items()
    ]
    lines += [folded(text, []) for text in comparison.doubts.values()]
    if comparison.failed:
        failed = [f"{name}: {why}" for name, why in comparison.failed.items()]
        lines.append(folded(f"{count_of(failed, 'case')} could not be rated", failed))
    return f'<div class="warning" role="note"><b>Before you compare</b>{"".join(lines)}</div>' if lines else ""
