"""Draw the figures of README and docs from the embedded sample: run ``python docs/generate/figures.py``.

``start.png`` shows sources and what the recommended rule makes of them, ``rules.png`` what several rules do. The sample
MRI is a slice of the ICBM152 template, CT and PET are simulated, so the figures may be redistributed; no research data
is in them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fusekit
from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.images.montage import side_by_side

RULES = ("sfnn", "mean", "max", "sfnn-local")
OUTPUT = Path(__file__).resolve().parents[1] / "images"


def main() -> None:
    """Write both figures."""
    OUTPUT.mkdir(exist_ok=True)
    draw("rules.png", RULES)
    draw("start.png", [fusekit.load("ehdran", device="cpu").spec.default_rule], ["fused"])


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
