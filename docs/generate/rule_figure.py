"""Draw ``docs/images/rules.png``: the embedded sample pairs, and what several rules make of them.

Run ``python docs/generate/rule_figure.py``. The sample MRI is a slice of the ICBM152 template, CT and PET are
simulated, so the figure may be redistributed; no research data is in it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import fusekit
from fusekit.images import samples
from fusekit.images.montage import side_by_side

RULES = ("sfnn", "mean", "max", "sfnn-local")
OUTPUT = Path(__file__).resolve().parents[1] / "images" / "rules.png"


def main() -> None:
    """Fuse, put side by side under their names, and write the figure."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for pair, names in samples.pairs().items():
            sources = [samples.path(name) for name in names]
            fused = []
            for rule in RULES:
                path = Path(folder) / f"{pair}-{rule}.png"
                fusekit.fuse(sources, f"ehdran.{pair}", rule=rule, device="cpu").save(path, record=False)
                fused.append(path)
            rows.append(_titled([*names, *RULES], side_by_side([*sources, *fused]).pixels))
    OUTPUT.parent.mkdir(exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(OUTPUT, optimize=True)


def _titled(titles: list[str], row: np.ndarray) -> np.ndarray:
    strip = Image.new("RGB", (row.shape[1], 22), "white")
    pitch = (row.shape[1] + 4) / len(titles)
    for index, title in enumerate(titles):
        ImageDraw.Draw(strip).text((index * pitch + 4, 4), title, fill="black", font_size=14)
    return np.concatenate([np.asarray(strip), row])


if __name__ == "__main__":
    main()
