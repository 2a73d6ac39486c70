"""Folders of sources and fused images to compare, small ones whose methods are known to be good or bad."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fusekit.images.files import write_image
from fusekit.images.image import Array, from_pixels


def picture(seed: int, height: int = 32, width: int = 40) -> Array:
    """Return smooth random pixels (H, W), uint8."""
    random = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(random.normal(size=(height, width)), 0), 1)
    unit = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint(unit * 255).astype(np.uint8)


def mean(images: Sequence[Array]) -> Array:
    return np.rint(np.mean(np.stack(images), axis=0, dtype=float)).astype(np.uint8)


def write_folders(root: Path, names: Sequence[str], fused: Mapping[str, Sequence[str]], sources: int = 2) -> list[Path]:
    """Write ``sources`` folders with an image a name, and a fused folder a method with the names that it has.

    A method called ``copy`` copies the first source, one called ``noisy`` adds noise to the mean, others are the mean.

    Returns:
        the source folders; those of the methods are called as they are.
    """
    folders = [root / f"source-{number}" for number in range(1, sources + 1)]
    for folder in (*folders, *(root / method for method in fused)):
        folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        images = [picture(100 * number + index) for number in range(sources)]
        for folder, pixels in zip(folders, images, strict=True):
            write_image(folder / f"{name}.png", from_pixels(pixels))
        for method in (method for method, has in fused.items() if name in has):
            pixels = images[0] if method == "copy" else mean(images)
            if method == "noisy":
                noise = np.random.default_rng(index).normal(0, 40, pixels.shape)
                pixels = (pixels + noise).clip(0, 255).astype(np.uint8)
            write_image(root / method / f"{name}.png", from_pixels(pixels))
    return folders
