"""The colour of fused images: chroma, hue, overlays, and which source is in colour."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cli import texture

import fusekit
from fusekit.choices import COLOR_MAPS, ColorChoice, parse_color
from fusekit.errors import FusekitWarning, OptionError, UnknownNameError
from fusekit.images import color
from fusekit.images.coloring import MAPS, is_coloured, mapped, overlaid, painted
from fusekit.images.image import from_pixels

SIDE = 32


def grey(seed: int) -> np.ndarray:
    return texture(seed, SIDE, SIDE)


def orange(seed: int = 1) -> np.ndarray:
    """Return a picture of one hue, from black to full."""
    return (grey(seed)[..., None] / 255 * np.array([255, 130, 0])).astype(np.uint8)


def hue_of(rgb: np.ndarray) -> np.ndarray:
    lab = color.to_oklab(rgb.astype(np.float64) / 255)
    return np.arctan2(lab[..., 2], lab[..., 1])


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("keep", ColorChoice("keep")),
        ("gray", ColorChoice("gray")),
        ("from:2", ColorChoice("keep", 2)),
        ("hue", ColorChoice("hue")),
        ("hue:1", ColorChoice("hue", 1)),
        ("overlay:hot", ColorChoice("overlay", None, "hot", 0.5)),
        ("overlay:pet:0.25", ColorChoice("overlay", None, "pet", 0.25)),
        ("overlay:rainbow:1:2", ColorChoice("overlay", 2, "rainbow", 1.0)),
    ],
)
def test_what_is_said_of_colour(text: str, choice: ColorChoice) -> None:
    assert parse_color(text) == choice


@pytest.mark.parametrize(
    "text",
    ["", "grey", "from", "from:0", "from:²", "hue:x", "overlay", "overlay:hot:0", "overlay:hot:1.5", "overlay:hot:.5:0",
     "overlay:hot:nan", "from:" + "9" * 400, "keep:1"],
)  # fmt: skip
def test_what_says_nothing_of_colour(text: str) -> None:
    with pytest.raises(OptionError, match="unknown color"):
        parse_color(text)


def test_unknown_maps_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'hot'"):
        parse_color("overlay:hott")
    assert set(COLOR_MAPS) == set(MAPS)


def test_oklab_of_known_colours_and_back() -> None:
    # Ottosson's own values.
    known = {(1.0, 1.0, 1.0): (1.0, 0.0, 0.0), (1.0, 0.0, 0.0): (0.62796, 0.22486, 0.12585)}
    for rgb, lab in known.items():
        np.testing.assert_allclose(color.to_oklab(np.array(rgb)), lab, atol=1e-4)
    values = np.random.default_rng(1).random((7, 5, 3))
    np.testing.assert_allclose(color.from_oklab(color.to_oklab(values)), values, atol=1e-6)


def test_orange_stays_orange_where_it_becomes_lighter() -> None:
    colours = np.full((4, 4, 3), np.array([200, 100, 0]) / 255)
    lighter = np.full((4, 4), 0.85)
    kept, chroma = painted(lighter, colours, hue=True), painted(lighter, colours, hue=False)
    wanted = float(hue_of(colours * 255)[0, 0])
    assert float(hue_of(kept * 255)[0, 0]) == pytest.approx(wanted, abs=0.02)
    grey_level = color.to_oklab(np.full(3, 0.85))[0]
    assert float(color.to_oklab(kept)[0, 0, 0]) == pytest.approx(float(grey_level), abs=0.01)
    assert abs(float(hue_of(chroma * 255)[0, 0]) - wanted) > 0.05, "chroma alone drifts, or hue would be no gain"


def test_hue_of_grey_and_black_is_grey() -> None:
    unit = np.linspace(0, 1, 16).reshape(4, 4)
    for level in (0.0, 0.5):
        found = painted(unit, np.full((4, 4, 3), level), hue=True)
        np.testing.assert_allclose(found, np.repeat(unit[..., None], 3, -1), atol=2e-3)


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_colour_maps_begin_in_black_and_are_straight_between_their_points(name: str) -> None:
    points = np.array(MAPS[name]) / 255
    places = np.linspace(0, 1, len(points))
    np.testing.assert_allclose(mapped(places, name), points)
    assert not points[0].any()
    between = (places[:-1] + places[1:]) / 2
    np.testing.assert_allclose(mapped(between, name), (points[:-1] + points[1:]) / 2)


def test_overlays_blend_linearly_and_show_what_is_under_black() -> None:
    unit, values = np.full((2, 2), 0.4), np.array([[0.0, 0.5], [1.0, 0.002]])
    found = overlaid(unit, values, "hot", 0.25)
    np.testing.assert_allclose(found[0, 0], 0.4)
    np.testing.assert_allclose(found[1, 1], 0.4)
    np.testing.assert_allclose(found[0, 1], 0.25 * mapped(np.array(0.5), "hot") + 0.75 * 0.4)
    np.testing.assert_allclose(found[1, 0], 0.25 + 0.75 * 0.4)


def nearly_grey(seed: int = 3) -> np.ndarray:
    values = grey(seed).astype(int)
    return np.stack([values, values, np.clip(values + 1, 0, 255)], -1).astype(np.uint8)


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_what_is_in_colour(depth: str) -> None:
    scale = {"uint8": 1, "uint16": 257, "float32": 1 / 255}[depth]
    for pixels, coloured in ((orange(), True), (nearly_grey(), False)):
        assert is_coloured(from_pixels((pixels.astype(float) * scale).astype(depth))) is coloured
    assert not is_coloured(from_pixels(grey(1)))


def test_a_nearly_grey_source_does_not_take_the_colour_of_another() -> None:
    fused = fusekit.fuse([nearly_grey(), orange()], "pixel")
    assert fused.record["chroma_from"] == 2
    assert is_coloured(fused.stored)
    assert fusekit.fuse([nearly_grey(), grey(2)], "pixel").image.ndim == 2


def test_two_sources_in_colour_are_said() -> None:
    with pytest.warns(FusekitWarning, match=r"both in colour, and the first one's is kept; --color from:2"):
        fused = fusekit.fuse([orange(1), orange(2)[..., ::-1].copy()], "pixel")
    assert fused.record["chroma_from"] == 1


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("choice", ["keep", "hue", "overlay:hot", "overlay:pet:1:2"])
def test_every_depth_in_every_way(depth: str, choice: str) -> None:
    scale = {"uint8": 1, "uint16": 257, "float32": 1 / 255}[depth]
    sources = [(each.astype(float) * scale).astype(depth) for each in (grey(1), orange(2), grey(3))]
    fused = fusekit.fuse(sources, "pixel", color=choice)
    assert (fused.image.dtype, fused.image.shape) == (np.dtype(depth), (SIDE, SIDE, 3))
    eight = fusekit.fuse([grey(1), orange(2), grey(3)], "pixel", color=choice).image
    assert np.abs(fused.image.astype(float) / scale - eight).max() <= 1


def test_the_overlaid_source_is_the_functional_one_or_said() -> None:
    with pytest.warns(FusekitWarning, match=r"source 2, an array, is laid over in colour; --color overlay:hot:0.5:N"):
        assert fusekit.fuse([grey(1), grey(2)], "pixel", color="overlay:hot").record["chroma_from"] == 2
    fused = fusekit.fuse([grey(1), grey(2)], "ehdran", color="overlay:hot", modality="pet,mri", device="cpu")
    assert fused.record["chroma_from"] == 1


def test_colour_that_is_not_there() -> None:
    for choice in ("from:3", "hue:3", "overlay:hot:0.5:3"):
        with pytest.raises(OptionError, match="asks for source 3, and there are 2"):
            fusekit.fuse([grey(1), orange(2)], "pixel", color=choice)
    for choice in ("from:1", "hue:1"):
        with pytest.raises(OptionError, match="which is grey"):
            fusekit.fuse([grey(1), orange(2)], "pixel", color=choice)
