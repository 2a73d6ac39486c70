"""Formats and aligners that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusekit.extend import Aligner, Format, Grid, Image, InputError, Origin, from_pixels

MAGIC = b"TOY1"


class GoodFormat(Format):
    """Pixels as NumPy writes them, behind four bytes, with the spacing and the digest of both."""

    axes: tuple[int, ...] = (2, 3)

    def sniff(self, path: Path, start: bytes) -> bool:
        return start.startswith(MAGIC)

    def read(self, path: Path) -> Any:
        data = path.read_bytes()
        pixels, spacing = self.decode(path, data)
        color = pixels.shape[-1] == 3
        shape = pixels.shape[:-1] if color else pixels.shape
        axes = ("slice", "row", "column")[-len(shape) :]
        grid = Grid(shape, tuple(spacing) or None, axes=axes)
        return from_pixels(pixels, color=color, grid=grid, origin=self.origin(path, data))

    def decode(self, path: Path, data: bytes) -> tuple[Any, Sequence[float]]:
        digest, body = data[4:36], data[36:]
        if hashlib.sha256(body).digest() != digest:
            raise InputError(f"{path} is damaged; restore it from the original")
        file = io.BytesIO(body)
        return np.load(file), np.load(file).tolist()

    def origin(self, path: Path, data: bytes) -> Origin | None:
        return Origin((path,), hashlib.sha256(data).hexdigest(), "good-format")

    def encode(self, image: Image, extension: str) -> Any:
        file = io.BytesIO()
        np.save(file, image.pixels)
        np.save(file, np.array(image.grid.spacing or ()))
        return MAGIC + hashlib.sha256(file.getvalue()).digest() + file.getvalue()


class FormatOfAnyFile(GoodFormat):
    def sniff(self, path: Path, start: bytes) -> bool:
        return True


class FormatOfNoPages(GoodFormat):
    def pages(self, path: Path) -> int:
        return 0


class FormatOfTwoPages(GoodFormat):
    """Two images a file, the same upside down."""

    def origin(self, path: Path, data: bytes) -> Origin | None:
        return Origin((path,), hashlib.sha256(data).hexdigest(), "format-of-two-pages")

    def pages(self, path: Path) -> int:
        return 2

    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...]:
        image = super().read(path)
        return (*image.size, 3 if image.color else 1)

    def read_page(self, path: Path, page: int) -> Image:
        image: Image = super().read(path)
        return (
            image
            if page == 1
            else from_pixels(image.pixels[::-1], color=image.color, grid=image.grid, origin=image.origin)
        )


class FormatOfTheLastPage(FormatOfTwoPages):
    def read(self, path: Path) -> Any:
        return self.read_page(path, 2)


class FormatOfOtherShapes(GoodFormat):
    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...]:
        return (3, *super().read(path).size)


class FormatWithoutOrigin(GoodFormat):
    def origin(self, path: Path, data: bytes) -> Origin | None:
        return None


class FormatOfRests(GoodFormat):
    def decode(self, path: Path, data: bytes) -> tuple[Any, Sequence[float]]:
        try:
            return super().decode(path, data)
        except InputError:
            return np.zeros((4, 4), np.uint8), ()


class FormatThatFails(GoodFormat):
    def decode(self, path: Path, data: bytes) -> tuple[Any, Sequence[float]]:
        try:
            return super().decode(path, data)
        except InputError:
            raise EOFError("it ends") from None


class FormatWithoutNames(GoodFormat):
    def decode(self, path: Path, data: bytes) -> tuple[Any, Sequence[float]]:
        try:
            return super().decode(path, data)
        except InputError:
            raise InputError("damaged") from None


class FormatOfOtherValues(GoodFormat):
    def encode(self, image: Image, extension: str) -> Any:
        return super().encode(image.with_pixels((image.pixels // 2).astype(image.depth), color=image.color), extension)


class FormatOfText(GoodFormat):
    def encode(self, image: Image, extension: str) -> Any:
        return "text"


class FormatInPlace(GoodFormat):
    def encode(self, image: Image, extension: str) -> Any:
        image.pixels[:] = 0
        return super().encode(image, extension)


class FormatOfEightBits(GoodFormat):
    def depths(self, extension: str) -> tuple[str, ...]:
        return ("uint8",)

    def check(self, *facts: Any, **more: Any) -> None:
        return


class FormatOfOtherGrids(GoodFormat):
    def encode(self, image: Image, extension: str) -> Any:
        grid = Grid(image.size, tuple(2.0 for _ in image.size), axes=image.grid.axes)
        return super().encode(Image(image.pixels, image.color, grid), extension)


class FormatOfGrey(GoodFormat):
    colors = False


class FormatOfPictures(GoodFormat):
    axes = (3,)


class FormatOfArrays(GoodFormat):
    def read(self, path: Path) -> Any:
        return super().read(path).pixels


class GoodAligner(Aligner):
    """Crop and fill up at the far ends."""

    def align(self, moving: Image, fixed: Image) -> Any:
        channels = [3] if moving.color else []
        pixels = np.zeros((*fixed.size, *channels), moving.pixels.dtype)
        rows, columns = (min(pair) for pair in zip(moving.size, fixed.size, strict=True))
        pixels[:rows, :columns] = moving.pixels[:rows, :columns]
        return Image(pixels, moving.color, fixed.grid, moving.origin), {"cropped_from": list(moving.size)}


class AlignerInPlace(GoodAligner):
    def align(self, moving: Image, fixed: Image) -> Any:
        moving.pixels[0] = 0
        return super().align(moving, fixed)


class AlignerOfChance(GoodAligner):
    def align(self, moving: Image, fixed: Image) -> Any:
        image, transform = super().align(moving, fixed)
        image.pixels[0] = np.random.default_rng().integers(0, 2, image.pixels[0].shape)
        return image, transform


class AlignerOfOtherGrids(GoodAligner):
    def align(self, moving: Image, fixed: Image) -> Any:
        return moving, None


class AlignerOfNone(GoodAligner):
    def align(self, moving: Image, fixed: Image) -> Any:
        raise InputError("never")


class AlignerOfNaN(GoodAligner):
    def align(self, moving: Image, fixed: Image) -> Any:
        image, transform = super().align(moving, fixed)
        if moving.depth == "float32":
            image.pixels[0] = np.nan
        return image, transform
