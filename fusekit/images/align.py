"""One grid for all sources: refuse those that differ, or bring them onto the first one's by an aligner."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fusekit.errors import FusekitError, InputError, PluginError, one_line
from fusekit.images.image import Image
from fusekit.registry.discovery import registries
from fusekit.registry.registry import Entry

REFUSE = "refuse"

#: How an image was brought onto the grid, for the record; ``None`` where it was left as it is.
Transform = Mapping[str, Any] | None


class Aligner(ABC):
    """A way to bring one image onto the grid of another, registered by name; made without arguments."""

    @abstractmethod
    def align(self, moving: Image, fixed: Image) -> tuple[Image, Transform]:
        """Return ``moving`` on the grid of ``fixed``, and the JSON-able transform, ``None`` where nothing was changed.

        Raises:
            InputError: the images cannot be aligned.
        """


class First(Aligner):
    """Resample pictures to the size of the first: for images of one scene, one frame and several sizes."""

    def align(self, moving: Image, fixed: Image) -> tuple[Image, Transform]:
        """Return ``moving`` resampled bilinearly; the transform holds the size that it had."""
        differs = moving.grid.differs_from(fixed.grid, (moving.name, fixed.name))
        if differs is None:
            return moving, None
        if len(moving.size) != 2 or len(fixed.size) != 2 or moving.size == fixed.size:
            raise InputError(
                f"--align first changes the size of pictures alone, and the sources differ in {differs}; "
                "register them first, or name an aligner that does"
            )
        from fusekit.images.resample import resampled

        return resampled(moving, fixed.grid), {"resampled_from": list(moving.size)}


class Aligned(NamedTuple):
    """Images on one grid.

    Attributes:
        images: the first as it was, the others on its grid.
        transforms: what the aligner says of each, ``None`` for those that were left as they are.
    """

    images: list[Image]
    transforms: list[dict[str, Any] | None]


def aligned(images: Sequence[Image], how: str) -> Aligned:
    """Return the images on one grid: checked (``refuse``), or brought onto the first one's by an aligner.

    Args:
        images: the sources.
        how: ``refuse``, or the name of a registered aligner, such as ``first``.

    Raises:
        InputError: the grids differ and ``how`` is ``refuse``, or the images cannot be aligned.
        UnknownNameError: there is no such aligner.
        PluginError: the aligner's own code fails, or gives what does not lie on the first one's grid.
    """
    first = images[0]
    if how == REFUSE:
        for index, image in enumerate(images[1:], start=2):
            differs = first.grid.differs_from(image.grid, (first.name, f"{image.name} (source {index})"))
            if differs is not None:
                raise InputError(
                    f"the sources differ in {differs}; register them first, or resample with --align first"
                )
        return Aligned(list(images), [None] * len(images))
    entry = registries().aligners.entry(how)
    aligner = _loaded(entry)
    found: Aligned = Aligned([first], [None])
    for image in images[1:]:
        moved, transform = _moved(entry, aligner, image, first)
        found.images.append(moved)
        found.transforms.append(transform)
    return found


def _loaded(entry: Entry) -> Aligner:
    made = registries().aligners.load(entry.name)
    if not isinstance(made, type) or not issubclass(made, Aligner):
        raise PluginError(
            f"the aligner {entry.name!r} of {entry.owner} is no fusekit.extend.Aligner ({entry.target!r}); "
            "derive from it"
        )
    try:
        return made()
    except Exception as error:
        raise PluginError(f"the aligner {entry.name!r} of {entry.owner} cannot be made: {one_line(error)}") from error


def _moved(entry: Entry, aligner: Aligner, moving: Image, fixed: Image) -> tuple[Image, dict[str, Any] | None]:
    """Return what an aligner makes of one image.

    Raises:
        PluginError: its code fails, or it gives no image on the grid of ``fixed`` with a JSON-able transform.
    """
    of = f"the aligner {entry.name!r} of {entry.owner}"
    given: Any
    try:
        given = aligner.align(moving, fixed)
    except FusekitError:
        raise
    except Exception as error:
        raise PluginError(f"{of} cannot align {moving.name}: {one_line(error)}") from error
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], Image):
        raise PluginError(f"{of} gives {type(given).__name__} for {moving.name}; align returns (Image, transform)")
    moved, transform = given
    differs = fixed.grid.differs_from(moved.grid, (fixed.name, f"what was made of {moving.name}"))
    if differs is not None:
        raise PluginError(f"{of} leaves {moving.name} on another grid: they differ in {differs}")
    if (moved.depth, moved.color) != (moving.depth, moving.color):
        raise PluginError(f"{of} makes {moved.depth} pixels of {moving.name}'s {moving.depth}; keep depth and colour")
    try:
        return moved, None if transform is None else json.loads(json.dumps(dict(transform), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PluginError(f"{of} gives a transform of {moving.name} that JSON cannot hold: {error}") from error
