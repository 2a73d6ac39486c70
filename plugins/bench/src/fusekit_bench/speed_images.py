"""The pairs that speed is measured on: the embedded sample or given files, brought to any size."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from fusekit.errors import InputError, OptionError
from fusekit.images import samples
from fusekit.images.files import read_image, write_image
from fusekit.images.image import Array, Image, from_pixels
from fusekit.images.ranges import luminance_of, unit_luminance
from fusekit.images.resample import resize_to
from fusekit.models.base import FusionModel
from fusekit.pipeline import fuse
from fusekit.rules.base import FusionRule
from fusekit_bench.speed_race import Stopwatch

_LEAST_SIDE = 16


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width of ``256`` or ``300x417``.

    Raises:
        OptionError: it is neither, or a side is below 16.
    """
    found = re.fullmatch(r"(\d+)(?:[x×](\d+))?", text)
    if not found:
        raise OptionError(f"--sizes takes a side or HEIGHTxWIDTH in pixels, as 256 or 300x417, not {text!r}")
    height, width = int(found[1]), int(found[2] or found[1])
    if min(height, width) < _LEAST_SIDE:
        raise OptionError(f"images of {height}×{width} pixels are too small to time; give sides of 16 or more")
    return height, width


def mirrored(picture: Array, height: int, width: int) -> Array:
    """Return a picture (H, W) mirrored on at its far borders, or cut, to (height, width)."""
    missing = [(0, max(0, side - length)) for side, length in zip((height, width), picture.shape, strict=True)]
    return np.pad(picture, missing, mode="symmetric")[:height, :width].copy()


def resampled(picture: Array, height: int, width: int) -> Array:
    """Return a picture (H, W) resampled to (height, width), in float32."""
    tensor = torch.from_numpy(picture.astype(np.float32))[None, None]
    return resize_to(tensor, (height, width))[0, 0].numpy()


def pair(files: Sequence[Path] | None, size: tuple[int, int], fit: str = "resample") -> list[Image]:
    """Return two grey images of a size, from given files or the embedded CT and MRI.

    Args:
        files: two of them, or none.
        size: height and width.
        fit: how they come to the size: ``resample``, or ``mirror`` at their far borders and cut.

    Raises:
        OptionError: not two files are given.
        InputError: one cannot be read.
    """
    paths = list(files) if files else [samples.path("ct"), samples.path("mri")]
    if len(paths) != 2:
        raise OptionError(f"--images takes two files, not {len(paths)}")
    images = []
    for path in paths:
        image = read_image(path)
        values = (mirrored if fit == "mirror" else resampled)(luminance_of(image), *size)
        images.append(from_pixels(values if image.depth == "float32" else np.rint(values).astype(image.depth)))
    return images


def units(images: Sequence[Image], batch: int, model: FusionModel) -> list[Array]:
    """Return each image as the model takes it, shifted down by 8 rows from one to the next of a batch.

    Returns:
        one array (batch, H, W) float32 in [0, 1] an image.
    """
    luminances = [unit_luminance(image, model.spec.normalization) for image in images]
    return [np.stack([np.roll(each, 8 * index, axis=0) for index in range(batch)]) for each in luminances]


class Files:
    """Reading two PNG files and writing one with its record, as ``fusekit fuse`` does, in a folder of its own.

    Args:
        images: the sources.
        model: makes the image that is written.
        rule: for that model.
    """

    def __init__(self, images: Sequence[Image], model: FusionModel, rule: FusionRule | None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fusekit-bench-")
        folder = Path(self._folder.name)
        self._sources = [folder / f"source-{number}.png" for number in (1, 2)]
        for path, image in zip(self._sources, images, strict=True):
            if image.depth == "float32":
                raise InputError("--images takes images of 8 or 16 bits, so that reading and writing PNG can be timed")
            write_image(path, image)
        self._normalization = model.spec.normalization
        self._output = folder / "fused.png"
        self._fused = fuse(self._sources, model, rule=rule)

    def work(self, stopwatch: Stopwatch) -> Callable[[], None]:
        """Return what reads and writes once, with the stages ``read`` and ``write``."""
        read, write = stopwatch.stage("read", self._read), stopwatch.stage("write", self._write)

        def both() -> None:
            read()
            write()

        return both

    def _read(self) -> None:
        for path in self._sources:
            unit_luminance(read_image(path), self._normalization)

    def _write(self) -> None:
        self._fused.save(self._output)

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()
