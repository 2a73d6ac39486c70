"""One grid for all sources: refuse those that differ, or bring them onto the first one's by an aligner."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fusekit.errors import InputError
from fusekit.images.image import Array, Image
from fusekit.registry.contract import Component, calling, fault, registered
from fusekit.registry.discovery import registries

REFUSE = "refuse"
#: Values along an axis that are compared to see whether an aligner changed its inputs.
_SAMPLES = 12

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
    component = registered(registries().aligners, how)
    aligner = _loaded(component)
    found: Aligned = Aligned([first], [None])
    for image in images[1:]:
        moved, transform = _moved(component, aligner, image, first)
        found.images.append(moved)
        found.transforms.append(transform)
    return found


def _sample(image: Image) -> Array:
    """Return copies of some of an image's values, by which a change shows."""
    steps = tuple(slice(None, None, max(side // _SAMPLES, 1)) for side in image.size)
    found: Array = image.pixels[steps].copy()
    return found


def _loaded(component: Component) -> Aligner:
    made = registries().aligners.load(component.name)
    if not isinstance(made, type) or not issubclass(made, Aligner):
        target = registries().aligners.entry(component.name).target
        raise fault(component, f"is no fusekit.extend.Aligner ({target!r})", "derive from it")
    with calling(component, fact="cannot be made"):
        return made()


def _moved(component: Component, aligner: Aligner, moving: Image, fixed: Image) -> tuple[Image, dict[str, Any] | None]:
    """Return what an aligner makes of one image.

    Raises:
        PluginError: its code fails, or it gives no image on the grid of ``fixed`` with a JSON-able transform.
    """
    name = moving.name
    given: Any
    before = [_sample(image) for image in (moving, fixed)]
    with calling(component, fact=f"cannot align {name}"):
        given = aligner.align(moving, fixed)
    if not all(np.array_equal(was, _sample(image)) for was, image in zip(before, (moving, fixed), strict=True)):
        raise fault(
            component, f"changed its inputs, {name} or {fixed.name}", "work on copies, since others read them too"
        )
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[0], Image):
        what = "None" if given is None else type(given).__name__
        raise fault(component, f"gives {what} for {name}", "align returns (Image, transform)")
    moved, transform = given
    differs = fixed.grid.differs_from(moved.grid, (fixed.name, f"what was made of {name}"))
    if differs is not None:
        remedy = "give what you make the grid of the fixed image"
        raise fault(component, f"leaves {name} on another grid: they differ in {differs}", remedy)
    if (moved.depth, moved.color) != (moving.depth, moving.color):
        raise fault(component, f"makes {moved.depth} pixels of {name}'s {moving.depth}", "keep depth and colour")
    try:
        return moved, None if transform is None else json.loads(json.dumps(dict(transform), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        remedy = "give plain numbers, texts, lists and mappings"
        raise fault(component, f"gives a transform of {name} that JSON cannot hold: {error}", remedy) from error
