"""The page's pictures: sources beside fused images under a curtain, differences, thumbnails; and how many of them.

Black and white are the stored values that were black and white in rating.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fusekit.evaluation.page.marks import escaped, note
from fusekit.evaluation.ratings import Comparison
from fusekit.evaluation.reading import Read, read_settled
from fusekit.evaluation.terminal import fixed
from fusekit.images.image import Array, Image

#: Longest side of a picture, in pixels: at most, and where there are so many that they would fill the page.
_SIDES = (96, 1024)
#: Bytes of all pictures, as text, beyond which further cases are left out.
MOST_BYTES = 8_000_000
#: Longest side of a thumbnail, in pixels, how many there are at most, and how many pixels are read for them.
_THUMBNAIL, MOST_THUMBNAILS, _MOST_PIXELS = 96, 400, 200_000_000
#: Told how many of `Shown.steps` are done, and which image is being drawn.
Report = Callable[[int, str], None]


@dataclass(frozen=True)
class Shown:
    """Which cases the page has pictures of.

    Attributes:
        worst: case → the methods that have it among their worst ones; drawn large, the worst first.
        others: cases of which there are thumbnails.
        side: the longest side of a large picture, in pixels; larger ones are thinned.
        each: how many of the worst cases each method is shown by.
    """

    worst: dict[str, list[str]]
    others: list[str]
    side: int
    each: int

    @property
    def steps(self) -> int:
        """How many cases there are to draw."""
        return len(self.worst) + len(self.others)


def shown(comparison: Comparison) -> Shown:
    """Choose the worst cases of each method, a dozen in all or three each, and the others for thumbnails."""
    methods = comparison.methods
    each = max(3, 12 // len(methods))
    found: dict[str, list[str]] = {}
    for method in methods:
        for image in comparison.worst_images(method)[:each]:
            found.setdefault(image, []).append(method)
    order = comparison.worst_cases()
    worst = {image: found[image] for image in order if image in found}
    pictures = len(worst) * (len(comparison.sources) + len(methods) * (1 + len(comparison.sources)))
    least, greatest = _SIDES
    # A pixel of a grey PNG takes about a byte as text, one of colour two.
    side = min(greatest, max(least, math.isqrt(MOST_BYTES // pictures)))
    others = [image for image in order if image not in found]
    room = min(MOST_THUMBNAILS, _MOST_PIXELS // _pixels(comparison)) // len(methods)
    return Shown(worst, others[: max(1, room)], side, each)


def _pixels(comparison: Comparison) -> int:
    """Return how many pixels the first fused image has, which the others are taken to be like."""
    path = comparison.fused[comparison.methods[0]][comparison.images[0]]
    return math.prod(read_settled(path, **comparison.reading).size)


def pictures(comparison: Comparison, which: Shown, report: Report | None = None) -> str:
    """Return the worst cases, each with a curtain, its sources, fused images and differences."""
    articles: list[str] = []
    room = MOST_BYTES
    for done, image in enumerate(which.worst):
        if report is not None:
            report(done, image)
        article = _case(comparison, image, which)
        room -= len(article)
        if articles and room < 0:
            break
        articles.append(article)
    said = "Drag the curtain, or use the arrow keys. |A − B| is the difference of luminances: white is the whole range."
    if len(comparison.images) > 1:
        said = f"The {which.each} worst cases of each method, by the worse source over all metrics. {said}"
    if len(articles) < len(which.worst):
        left = len(which.worst) - len(articles)
        said += f" {left} of them are left out, so that the page stays below {MOST_BYTES // 1_000_000} MB of pictures."
    brighten = '<label class="brighten"><input type="checkbox"> show differences four times as bright</label>'
    return f"{note(said)}{brighten}{''.join(articles)}"


def thumbnails(comparison: Comparison, which: Shown, report: Report | None = None) -> str:
    """Return a small picture of each method's fused image for the cases that are not shown large; nothing for none."""
    if not which.others:
        return ""
    figures = []
    for done, image in enumerate(which.others):
        if report is not None:
            report(len(which.worst) + done, image)
        drawn = []
        for method in comparison.methods:
            fused = read_settled(comparison.fused[method][image], **comparison.reading)
            text = escaped(f"{image}: {method}")
            pixels = eight_bit(fused, comparison.ranges[method][image][-1])
            source = _data_uri(_thinned(pixels, _THUMBNAIL), "jpeg")
            drawn.append(f'<img alt="{text}" title="{text}" src="{source}">')
        figures.append(f"<figure><div>{''.join(drawn)}</div><figcaption>{escaped(image)}</figcaption></figure>")
    left = len(comparison.images) - len(which.worst)
    said = "The other cases, the worst first: " + escaped(", ".join(comparison.methods)) + "."
    if left > len(which.others):
        said = f"{len(which.others)} of {left} other cases, the worst first: {escaped(', '.join(comparison.methods))}."
    return note(said) + f'<div class="thumbnails">{"".join(figures)}</div>'


def _case(comparison: Comparison, image: str, which: Shown) -> str:
    """Return one case: the curtain, which a script fills, and its pictures."""
    reads = {method: comparison.read(image, method) for method in comparison.methods}
    groups = [_of_sources(comparison.sources, reads[comparison.methods[0]], which.side)]
    groups += [_of_method(method, comparison.sources, read, which.side) for method, read in reads.items()]
    # The curtain opens on the worst fused image and the source that it serves worst.
    count, method = len(comparison.sources), which.worst[image][0]
    right = count + comparison.methods.index(method) * (1 + count)
    served = [abs(each) for each in comparison.sharing[method][image]["correlation"]]
    said = []
    for each in comparison.methods:
        copying = comparison.sharing[each][image]["copying"]
        more = "" if copying is None else f": copying {fixed(copying)}"
        worst = ", among its worst" if each in which.worst[image] and len(comparison.images) > 1 else ""
        said.append(f"{escaped(each)}{more}{worst}")
    height, width = reads[method].fused.shape[2:]
    return (
        f'<article class="case"><h3>{escaped(image)}</h3><p class="note">{"; ".join(said)}</p>'
        f'<div class="pair">{_curtain(image, width / height, served.index(min(served)), right)}'
        f'<div class="strip">{"".join(groups)}</div></div></article>\n'
    )


def _curtain(image: str, ratio: float, left: int, right: int) -> str:
    """Return two pictures on each other, of which a slider shows the left part of one and the right of the other."""
    label = f"Curtain over the pictures of {escaped(image)}"
    return (
        '<div class="viewer"><div class="picks">'
        f'<label>left <select data-side="left" data-at="{left}"></select></label>'
        f'<label>right <select data-side="right" data-at="{right}"></select></label></div>'
        f'<div class="curtain" style="--ratio:{ratio:.5f}">'
        '<img class="right" alt=""><img class="left" alt=""><span class="line"></span>'
        f'<input type="range" min="0" max="100" value="50" step="1" aria-label="{label}"></div></div>'
    )


def _of_sources(names: Sequence[str], read: Read, side: int) -> str:
    """Return the sources in a row."""
    shown = zip(names, read.images, read.ranges, strict=False)
    return _row([_figure(eight_bit(image, limits), name, side) for name, image, limits in shown])


def _of_method(method: str, names: Sequence[str], read: Read, side: int) -> str:
    """Return in a row what a method made of a case, and its difference from each source."""
    fused = read.fused[0, 0].numpy()
    differences = [
        _figure(difference_map(fused, source[0, 0].numpy()), f"|{method} − {name}|", side, "difference")
        for name, source in zip(names, read.sources, strict=True)
    ]
    return _row([_figure(eight_bit(read.images[-1], read.ranges[-1]), method, side), *differences])


def _row(figures: list[str]) -> str:
    return f'<div class="row">{"".join(figures)}</div>'


def _figure(pixels: Array, caption: str, side: int, style: str = "") -> str:
    text = escaped(caption)
    picture = _data_uri(_thinned(pixels, side), "png")
    kind = f' class="{style}"' if style else ""
    return f'<figure{kind}><img alt="{text}" src="{picture}"><figcaption>{text}</figcaption></figure>'


def difference_map(fused: Array, source: Array) -> Array:
    """Return |fused − source| of two luminances (H, W) in [0, 1], white for a difference of the whole range: uint8."""
    return np.rint(np.abs(fused - source) * 255).astype(np.uint8)


def eight_bit(image: Image, limits: tuple[float, float]) -> Array:
    """Return pixels (H, W) or (H, W, 3) as they are rated: the stored values of ``limits`` are black and white."""
    low, high = limits
    return np.rint((image.pixels.astype(np.float64) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def _thinned(pixels: Array, side: int) -> Array:
    """Return pixels (H, W) or (H, W, 3) whose longer side is at most about ``side``, each the mean of a square."""
    from PIL import Image as Pillow

    step = math.ceil(max(pixels.shape[:2]) / side)
    return pixels if step == 1 else np.asarray(Pillow.fromarray(pixels).reduce(step))


def _data_uri(pixels: Array, kind: str) -> str:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    choices: dict[str, object] = {"quality": 80} if kind == "jpeg" else {"optimize": True}
    Pillow.fromarray(pixels).save(buffer, kind.upper(), **choices)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
