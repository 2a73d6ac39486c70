"""One grid for all sources: refuse those that differ, or resample them."""

from __future__ import annotations

from fusekit.errors import InputError, UnknownNameError, size_text
from fusekit.images.image import Image
from fusekit.images.resample import resampled


def aligned(images: list[Image], align: str) -> list[Image]:
    """Return the images at one size: checked, or resampled to the first one's where ``align`` is ``first``.

    Raises:
        UnknownNameError: ``align`` is neither ``refuse`` nor ``first``.
        InputError: the sizes differ, and ``align`` is ``refuse``.
    """
    if align not in ("refuse", "first"):
        raise UnknownNameError("aligner", align, ("refuse", "first"))
    first = images[0]
    for index, image in enumerate(images[1:], start=2):
        if image.size != first.size and align == "refuse":
            raise InputError(
                f"the sources differ in size: {first.name} is {size_text(first.size)} and {image.name} "
                f"(source {index}) is {size_text(image.size)} pixels; register them first, or resample with "
                "--align first"
            )
    return [image if image.size == first.size else resampled(image, first.size) for image in images]
