"""Draw the figures of README and docs from the embedded sample: run ``python docs/generate/figures.py``.

``start.png`` shows sources and what the recommended rule makes of them, ``rules.png`` what several rules do, and
``models.png`` what every model does that has weights or needs none, each with its default rule. The sample MRI is a
slice of the ICBM152 template, CT and PET are simulated, so the figures may be redistributed; no research data is in
them.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fusekit
import fusekit.errors
from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.images.montage import side_by_side
from fusekit.registry.discovery import registries

RULES = ("sfnn", "mean", "max", "sfnn-local")
#: Of the overview of models: images a line, and the side in pixels that each is made small to.
COLUMNS, SIDE = 8, 128
OUTPUT = Path(__file__).resolve().parents[1] / "images"


def main() -> None:
    """Write all figures."""
    OUTPUT.mkdir(exist_ok=True)
    draw("rules.png", RULES)
    draw("start.png", [fusekit.load("ehdran", device="cpu").spec.default_rule], ["fused"])
    draw_models("models.png")


def draw_models(name: str) -> None:
    """Fuse the sample pairs by every model that can be had, and write a page of small images, some a line."""
    lines = []
    with warnings.catch_warnings():
        # Of weights of other images, and of rules that keep one source: they are shown on purpose.
        warnings.simplefilter("ignore", fusekit.errors.FusekitWarning)
        for sources in samples.pairs().values():
            files = [samples.path(source) for source in sources]
            shown = {source.upper(): read_image(file).pixels for source, file in zip(sources, files, strict=True)}
            for model in registries().models.names():
                with contextlib.suppress(fusekit.errors.FusekitError):
                    shown[model] = fusekit.fuse(files, model, modality=",".join(sources), device="cpu").image
            lines += [_line(part) for part in _parts(list(shown.items()))]
    width = max(line.width for line in lines)
    page = Image.new("RGB", (width, sum(line.height for line in lines)), "white")
    for number, line in enumerate(lines):
        page.paste(line, (0, sum(each.height for each in lines[:number])))
    # Few colours and many greys: a palette keeps both, in a third of the bytes.
    page.quantize(256, dither=Image.Dither.NONE).save(OUTPUT / name, optimize=True)


def _parts(panels: list[tuple[str, np.ndarray]]) -> list[list[tuple[str, np.ndarray]]]:
    return [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]


def _line(panels: list[tuple[str, np.ndarray]]) -> Image.Image:
    pitch = SIDE + 4
    line = Image.new("RGB", (pitch * COLUMNS - 4, SIDE + 20), "white")
    for index, (title, pixels) in enumerate(panels):
        ImageDraw.Draw(line).text((index * pitch + 2, 4), title, fill="black", font_size=11)
        small = Image.fromarray(pixels).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        line.paste(small, (index * pitch, 20))
    return line


def draw(name: str, rules: Sequence[str], titles: Sequence[str] = ()) -> None:
    """Fuse the sample pairs by several rules, put them side by side under their titles, and write the figure."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pair, sources in samples.pairs().items():
            files = [samples.path(source) for source in sources]
            for rule in rules:
                files.append(Path(folder) / f"{pair}-{rule}.png")
                fusekit.fuse(files[: len(sources)], f"ehdran.{pair}", rule=rule, device="cpu").save(files[-1])
            words = [source.upper() for source in sources]
            rows.append(
                _titled([*words, *(titles or rules)], side_by_side([read_image(file) for file in files]).pixels)
            )
    Image.fromarray(np.concatenate(rows)).save(OUTPUT / name, optimize=True)


def _titled(titles: list[str], row: np.ndarray) -> np.ndarray:
    strip = Image.new("RGB", (row.shape[1], 22), "white")
    pitch = (row.shape[1] + 4) / len(titles)
    for index, title in enumerate(titles):
        ImageDraw.Draw(strip).text((index * pitch + 4, 4), title, fill="black", font_size=14)
    return np.concatenate([np.asarray(strip), row])


if __name__ == "__main__":
    main()
