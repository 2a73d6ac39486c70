"""Aligners: one grid for all sources, by a built-in or by a plugin's way, with the transform in the record."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from helpers.cli import texture

import fusekit
from fusekit.errors import InputError, PluginError, UnknownNameError
from fusekit.extend import Aligner, Grid, Image, from_pixels
from fusekit.images.align import aligned
from fusekit.registry.discovery import registries
from fusekit.registry.registry import Entry

SMALL, LARGE = from_pixels(texture(1)), from_pixels(texture(2, 48, 40))
Add = Callable[[Any], None]


def rows(matrix: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Return a function that registers an aligner ``shift`` as the plugin ``toys`` would."""
    before = registries().aligners.snapshot()
    module: Any = types.ModuleType("module_of_toy_aligners")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def add(made: Any) -> None:
        module.Made = made
        registries().aligners.add(Entry("shift", f"{module.__name__}:Made", "", "toys"))

    yield add
    registries().aligners.restore(before)


def aligner(align: Callable[[Image, Image], Any]) -> type[Aligner]:
    return type("Made", (Aligner,), {"align": lambda self, moving, fixed: align(moving, fixed)})


def test_one_grid_is_left_as_it_is() -> None:
    for how in ("refuse", "first"):
        found = aligned([SMALL, SMALL], how)
        assert found.images[1] is SMALL
        assert found.transforms == [None, None]


def test_grids_that_differ_are_refused_with_the_remedy() -> None:
    with pytest.raises(
        InputError,
        match=r"^the sources differ in size: an array is 24×20 and an array \(source 2\) is 48×40 pixels; register "
        r"them first, or resample with --align first$",
    ):
        aligned([SMALL, LARGE], "refuse")


def test_first_resamples_and_says_from_what() -> None:
    found = aligned([SMALL, LARGE, SMALL], "first")
    assert [image.size for image in found.images] == [(24, 20)] * 3
    assert found.transforms == [None, {"resampled_from": [48, 40]}, None]


def test_first_keeps_colour() -> None:
    found = aligned([SMALL, from_pixels(texture(3, 48, 40, 3))], "first")
    assert found.images[1].color
    assert found.images[1].pixels.shape == (24, 20, 3)


def test_first_leaves_alone_what_knows_its_place() -> None:
    here = from_pixels(texture(1), grid=Grid((24, 20), affine=rows(np.eye(4))))
    affine = np.eye(4)
    affine[0, 3] = 7
    there = from_pixels(texture(1), grid=Grid((24, 20), affine=rows(affine)))
    with pytest.raises(InputError, match="differ in offset: an array lies 7 mm from an array; register them first"):
        aligned([here, there], "first")


def test_the_name_is_one_that_is_registered() -> None:
    with pytest.raises(UnknownNameError, match="unknown aligner 'firsst'; did you mean 'first'"):
        aligned([SMALL, LARGE], "firsst")


def test_a_plugin_aligns_what_has_one_size_too(add: Add) -> None:
    add(aligner(lambda moving, fixed: (fixed.with_pixels(moving.pixels[::-1].copy(), color=False), {"rows": np.pi})))
    found = aligned([SMALL, SMALL], "shift")
    np.testing.assert_array_equal(found.images[1].pixels, SMALL.pixels[::-1])
    assert found.transforms == [None, {"rows": np.pi}]


@pytest.mark.parametrize(
    ("align", "message"),
    [
        (lambda moving, fixed: moving, r"gives Image for an array; align returns \(Image, transform\)"),
        (lambda moving, fixed: (moving, None), "leaves an array on another grid: they differ in size"),
        (lambda moving, fixed: (from_pixels(texture(1, depth="uint16")), None), "makes uint16 pixels of"),
        (lambda moving, fixed: (fixed, {"matrix": np.eye(2)}), "gives a transform of an array that JSON cannot hold"),
        (lambda moving, fixed: (fixed, {"shift": float("nan")}), "gives a transform of an array that JSON"),
        (lambda moving, fixed: 1 / 0, "cannot align an array: ZeroDivisionError"),
        (lambda moving, fixed: sys.exit(0), "cannot align an array: SystemExit: 0"),
    ],
)
def test_what_an_aligner_gives_is_checked(add: Add, align: Callable[[Image, Image], Any], message: str) -> None:
    add(aligner(align))
    with pytest.raises(PluginError, match=f"^the aligner 'shift' of toys {message}"):
        aligned([SMALL, LARGE], "shift")


def test_an_aligner_leaves_its_inputs_as_they_are(add: Add) -> None:
    def blackened(moving: Image, fixed: Image) -> tuple[Image, None]:
        fixed.pixels[...] = 0
        return fixed, None

    add(aligner(blackened))
    said = "^the aligner 'shift' of toys changed its inputs, an array or an array; work on copies"
    with pytest.raises(PluginError, match=said):
        aligned([from_pixels(texture(1)), LARGE], "shift")


def test_what_is_no_aligner(add: Add) -> None:
    add(dict)
    with pytest.raises(PluginError, match=r"'shift' of toys is no fusekit\.extend\.Aligner"):
        aligned([SMALL, LARGE], "shift")


def test_the_transform_is_in_the_record_where_something_was_aligned() -> None:
    model = fusekit.load("ehdran")
    _, record = fusekit.fuse([SMALL.pixels, LARGE.pixels], model, rule="mean", align="first")
    assert record["alignment"] == {"how": "first", "transforms": [None, {"resampled_from": [48, 40]}]}
    _, record = fusekit.fuse([SMALL.pixels, SMALL.pixels], model, rule="mean", align="first")
    assert record["alignment"] is None
