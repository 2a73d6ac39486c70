"""A comparison as one self-contained HTML page: table, plots, thumbnails and difference maps, the worst cases first."""

from __future__ import annotations

import base64
import html
import math

import numpy as np

from fusekit.evaluation.rate import arrow
from fusekit.evaluation.ratings import Comparison
from fusekit.evaluation.terminal import number
from fusekit.images.color import luminance
from fusekit.images.files import encode_image, read_image
from fusekit.images.grid import Grid
from fusekit.images.image import Array, Image, full_scale
from fusekit.registry.discovery import registries

_SIDE = 192
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--dim:#888}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .7rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}small,.dim{color:var(--dim)}
figure{margin:0;display:inline-block;vertical-align:top}figcaption{font-size:12px;color:var(--dim)}
.row{display:flex;flex-wrap:wrap;gap:.6rem;margin:.3rem 0 1.4rem}
img{display:block;image-rendering:pixelated;background:#000}
svg text{font-size:11px;fill:currentColor}.plots{display:flex;flex-wrap:wrap;gap:1.2rem}
"""


def to_html(comparison: Comparison, worst: int = 12) -> str:
    """Return the page.

    Args:
        comparison: rated.
        worst: how many images to show, those with the least mean rank over methods and metrics first.
    """
    count = len(comparison.images)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>fusekit evaluation</title><style>{_STYLE}</style>",
        f"<h1>Fusion of {count} image{'s' if count != 1 else ''}</h1>",
        _table(comparison),
        "<h2>Image by image</h2><div class=plots>",
        *(_plot(comparison, metric) for metric in comparison.metrics),
        f"</div><h2>{'Worst cases first' if count > 1 else 'The image'}</h2>",
        *(_case(comparison, image) for image in cases(comparison)[:worst]),
    ]
    if comparison.failed:
        rows = "".join(f"<li>{html.escape(f'{name}: {why}')}</li>" for name, why in comparison.failed.items())
        parts.append(f"<h2>Not rated</h2><ul>{rows}</ul>")
    return "\n".join(parts) + "</html>\n"


def cases(comparison: Comparison) -> list[str]:
    """Return the images ordered by how they fare over all methods and metrics, the worst first."""
    badness = dict.fromkeys(comparison.images, 0.0)
    for method in comparison.methods:
        for metric in comparison.metrics:
            for place, image in enumerate(comparison.worst_images(method, metric)):
                badness[image] -= place
    return sorted(badness, key=lambda image: -badness[image])


def _table(comparison: Comparison) -> str:
    head = "".join(f"<th>{html.escape(method)}</th>" for method in comparison.methods)
    rows = []
    for metric in comparison.metrics:
        summary = html.escape(registries().metrics.entry(metric).summary)
        cells = []
        for method in comparison.methods:
            text = (
                f"{number(comparison.mean(method, metric))} <small>± {number(comparison.std(method, metric))}</small>"
            )
            best = len(comparison.methods) > 1 and method == comparison.best(metric)
            cells.append(f"<td>{'<b>' if best else ''}{text}{'</b>' if best else ''}</td>")
        rows.append(f"<tr><td title='{summary}'>{metric} {arrow(metric)}</td>{''.join(cells)}</tr>")
    if len(comparison.methods) > 1:
        ranks = "".join(f"<td>{comparison.mean_rank(method):.2f}</td>" for method in comparison.methods)
        rows.append(f"<tr><td class=dim>mean rank</td>{ranks}</tr>")
    return f"<table><tr><th>metric</th>{head}</tr>{''.join(rows)}</table>"


def _plot(comparison: Comparison, metric: str) -> str:
    """Return an SVG strip plot: a row a method, a dot an image, a bar at the mean."""
    width, height, left = 340, 26, 90
    finite = [v for method in comparison.methods for v in comparison.values(method, metric) if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return left + (value - low) / span * (width - left - 12)

    marks = [f"<text x=0 y=12><tspan font-weight=600>{metric} {arrow(metric)}</tspan></text>"]
    for row, method in enumerate(comparison.methods):
        y = 34 + row * height
        marks.append(f"<text x=0 y={y + 4}>{html.escape(method[:14])}</text>")
        for image, value in zip(comparison.images, comparison.values(method, metric), strict=True):
            if math.isfinite(value):
                title = f"<title>{html.escape(image)}: {number(value)}</title>"
                marks.append(
                    f"<circle cx={place(value):.1f} cy={y} r=3.5 fill=#3b7dd8 fill-opacity=.45>{title}</circle>"
                )
        mean = comparison.mean(method, metric)
        if math.isfinite(mean):
            x = place(mean)
            marks.append(f"<line x1={x:.1f} x2={x:.1f} y1={y - 9} y2={y + 9} stroke=currentColor stroke-width=2 />")
    base = 34 + len(comparison.methods) * height
    marks.append(f"<text x={left} y={base}>{number(low)}</text>")
    marks.append(f"<text x={width - 12} y={base} text-anchor=end>{number(high)}</text>")
    return f"<svg width={width} height={base + 8} viewBox='0 0 {width} {base + 8}'>{''.join(marks)}</svg>"


def _case(comparison: Comparison, image: str) -> str:
    """Return one image's sources, results and difference maps, a row a method."""
    sources = [read_image(path) for path in comparison.cases[image].files]
    blocks = [f"<h3>{html.escape(image)}</h3><div class=row>"]
    blocks += [_figure(_eight_bit(each), each.color, f"source {index}") for index, each in enumerate(sources, start=1)]
    blocks.append("</div>")
    for method in comparison.methods:
        fused = read_image(comparison.fused[method][image])
        shown = ", ".join(
            f"{metric} {number(rating['value'])}" for metric, rating in comparison.ratings[method][image].items()
        )
        figures = [_figure(_eight_bit(fused), fused.color, method)]
        figures += [
            _figure(difference_map(fused, source), False, f"|{method} − source {index}|")
            for index, source in enumerate(sources, start=1)
        ]
        blocks.append(f"<div class=row>{''.join(figures)}</div><p class=dim>{html.escape(shown)}</p>")
    return "".join(blocks)


def difference_map(fused: Image, source: Image) -> Array:
    """Return |fused − source| of the luminances, white for a difference of the whole range: (H, W) uint8."""
    return np.abs(_gray(fused) - _gray(source)).clip(0, 255).round().astype(np.uint8)


def _gray(image: Image) -> Array:
    unit = image.pixels.astype(np.float64) / full_scale(image.depth) * 255
    return luminance(unit) if image.color else unit


def _eight_bit(image: Image) -> Array:
    return np.rint(image.pixels.astype(np.float64) / full_scale(image.depth) * 255).clip(0, 255).astype(np.uint8)


def _figure(pixels: Array, color: bool, caption: str) -> str:
    """Return an embedded PNG thumbnail, large images thinned to at most twice the shown side."""
    step = max(1, math.ceil(max(pixels.shape[:2]) / (2 * _SIDE)))
    thumbnail = np.ascontiguousarray(pixels[::step, ::step])
    image = Image(thumbnail, color, Grid(thumbnail.shape[:2]))
    data = base64.b64encode(encode_image(image, ".png")).decode("ascii")
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = f"width={width * scale:.0f} height={height * scale:.0f}"
    text = html.escape(caption)
    return (
        f"<figure><img {size} alt='{text}' src='data:image/png;base64,{data}'><figcaption>{text}</figcaption></figure>"
    )
