"""The colour of fused images: chroma, hue, overlays, and which source is in colour."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from helpers.cli import texture

import fusekit
from fusekit.choices import COLOR_MAPS, ColorChoice, parse_color
from fusekit.errors import FusekitWarning, OptionError, UnknownNameError
from fusekit.images import color
from fusekit.images.coloring import MAPS, amount_of_colour, mapped, overlaid, with_chroma, with_hue
from fusekit.images.image import Image, from_pixels
from fusekit.images.ranges import find_range

SIDE = 32


def grey(seed: int) -> np.ndarray:
    return texture(seed, SIDE, SIDE)


def orange(seed: int = 1) -> np.ndarray:
    """Return a picture of one hue, from black to full."""
    return (grey(seed)[..., None] / 255 * np.array([255, 130, 0])).astype(np.uint8)


def hue_of(rgb: np.ndarray) -> np.ndarray:
    lab = color.to_oklab(rgb.astype(np.float64) / 255)
    return np.arctan2(lab[..., 2], lab[..., 1])


def chroma_of(rgb: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(color.to_oklab(rgb)[..., 1:], -1, 0))


def is_coloured(image: Image) -> bool:
    return amount_of_colour(image, find_range(image)).coloured


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


def lightness(grey: float) -> float:
    return float(color.to_oklab(np.full(3, grey))[0])


def test_orange_stays_orange_where_it_becomes_lighter() -> None:
    rgb = np.array([200, 100, 0]) / 255
    colours, before = np.full((4, 4, 3), rgb), np.full((4, 4), 0.5)
    lighter = np.full((4, 4), 0.8)
    kept, chroma = with_hue(lighter, before, colours), with_chroma(lighter, colours)
    wanted = float(hue_of(colours * 255)[0, 0])
    assert float(hue_of(kept * 255)[0, 0]) == pytest.approx(wanted, abs=0.02)
    assert abs(float(hue_of(chroma * 255)[0, 0]) - wanted) > 0.05, "chroma alone drifts, or hue would be no gain"
    rise = lightness(0.8) - lightness(0.5)
    assert float(color.to_oklab(kept)[0, 0, 0]) == pytest.approx(float(color.to_oklab(rgb)[0]) + rise, abs=0.01)
    assert float(chroma_of(kept)[0, 0]) > 0.05


def test_colours_whose_luminance_stays_stay() -> None:
    colours = np.random.default_rng(2).uniform(0.3, 0.9, (6, 7, 3))
    unit = np.random.default_rng(3).random((6, 7))
    np.testing.assert_allclose(with_hue(unit, unit, colours), colours, atol=2e-3)


def test_saturation_stays_where_a_screen_can_show_it() -> None:
    colours = np.full((2, 2, 3), [0.30, 0.26, 0.28])
    found = with_hue(np.full((2, 2), 0.6), np.full((2, 2), 0.3), colours)
    (before, after) = (chroma_of(each)[0, 0] / color.to_oklab(each)[0, 0, 0] for each in (colours, found))
    assert after == pytest.approx(before, rel=0.02)


def test_colours_that_no_screen_shows_lose_chroma_alone() -> None:
    colours = np.full((2, 2, 3), [0.0, 0.0, 1.0])
    found = with_hue(np.full((2, 2), 0.9), np.full((2, 2), 0.114), colours)
    lab = color.to_oklab(found)[0, 0]
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert float(lab[0]) == pytest.approx(
        min(float(color.to_oklab(colours)[0, 0, 0]) + lightness(0.9) - lightness(0.114), 1), abs=0.01
    )
    assert np.hypot(lab[1], lab[2]) < chroma_of(colours)[0, 0]


def test_hue_of_grey_and_of_what_is_nearly_black_is_grey() -> None:
    unit = np.linspace(0, 1, 16).reshape(4, 4)
    for level in (0.0, 0.5):
        found = with_hue(unit, np.full((4, 4), level), np.full((4, 4, 3), level))
        np.testing.assert_allclose(found, np.repeat(unit[..., None], 3, -1), atol=2e-3)
    noise = with_hue(np.full((4, 4), 0.9), np.full((4, 4), 0.004), np.full((4, 4, 3), np.array([0, 0, 9]) / 255))
    assert np.ptp(noise[0, 0]) * 255 < 2


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_colour_maps_begin_in_black_and_are_straight_between_their_points(name: str) -> None:
    points = np.array(MAPS[name]) / 255
    places = np.linspace(0, 1, len(points))
    np.testing.assert_allclose(mapped(places, name), points)
    assert not points[0].any()
    between = (places[:-1] + places[1:]) / 2
    np.testing.assert_allclose(mapped(between, name), (points[:-1] + points[1:]) / 2)


def test_overlays_blend_linearly_and_show_what_is_under_black() -> None:
    unit, values = np.full((2, 2), 0.4), np.array([[0.0, 0.5], [1.0, 0.05]])
    found = overlaid(unit, values, "hot", 0.25)
    np.testing.assert_allclose(found[0, 0], 0.4)
    np.testing.assert_allclose(found[0, 1], 0.25 * mapped(np.array(0.5), "hot") + 0.75 * 0.4)
    np.testing.assert_allclose(found[1, 0], 0.25 + 0.75 * 0.4)
    np.testing.assert_allclose(found[1, 1], 0.125 * mapped(np.array(0.05), "hot") + 0.875 * 0.4)


def nearly_grey(seed: int = 3) -> np.ndarray:
    values = grey(seed).astype(int)
    return np.stack([values, values, np.clip(values + 1, 0, 255)], -1).astype(np.uint8)


#: What becomes of 8 bits: in 16, in 12 of 16, in [0, 1], and in floats of any range.
FORMS = {
    "uint8": (1.0, 0.0, "uint8"),
    "uint16": (257.0, 0.0, "uint16"),
    "12 bit": (4095 / 255, 0.0, "uint16"),
    "unit": (1 / 255, 0.0, "float32"),
    "float": (2000 / 255, -1000.0, "float32"),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_in_colour(form: str) -> None:
    factor, offset, dtype = FORMS[form]
    for pixels, coloured in ((orange(), True), (nearly_grey(), False)):
        assert is_coloured(from_pixels((pixels * factor + offset).astype(dtype))) is coloured
    assert not is_coloured(from_pixels(grey(1)))


def test_a_nearly_grey_source_does_not_take_the_colour_of_another() -> None:
    fused = fusekit.fuse([nearly_grey(), orange()], "pixel")
    assert fused.record["chroma_from"] == 2
    assert is_coloured(fused.stored)
    notes = [each["notes"] for each in fused.record["sources"]]
    assert notes == [["colours that differ from grey by up to 1 of 255 levels count as grey"], []]
    assert fusekit.fuse([nearly_grey(), grey(2)], "pixel").image.ndim == 2


def test_weights_are_not_doubted_for_a_nearly_grey_source(recwarn: pytest.WarningsRecorder) -> None:
    fusekit.fuse([grey(1), nearly_grey()], "ehdran", weights="ct-mri", device="cpu")
    assert not [each for each in recwarn if "in colour" in str(each.message)]


def tinted() -> np.ndarray:
    """Return an MRI as a scanner of films makes it: a little blue everywhere."""
    return np.clip(grey(3)[..., None].astype(int) + np.array([0, 0, 20]), 0, 255).astype(np.uint8)


def marked() -> np.ndarray:
    """Return an MRI with a few words in red."""
    pixels = np.repeat(grey(3)[..., None], 3, -1)
    pixels[2, 2:8] = [255, 0, 0]
    return pixels


@pytest.mark.parametrize("other", [tinted, marked])
def test_the_source_with_far_more_colour_gives_it(other: Callable[[], np.ndarray]) -> None:
    with pytest.warns(FusekitWarning, match="both in colour, and that of source 2, an array, is kept; --color from:1"):
        fused = fusekit.fuse([other(), orange()], "pixel")
    assert fused.record["chroma_from"] == 2
    assert fused.record["doubts"] == [
        "an array and an array are both in colour, and that of source 2, an array, is kept; --color from:1 keeps that "
        "of source 1"
    ]


def test_two_sources_in_colour_are_said() -> None:
    both = [orange(1), orange(2)[..., ::-1].copy()]
    for choice, remedy in (("keep", "from:2"), ("hue", "hue:2")):
        with pytest.warns(FusekitWarning, match=f"that of source 1, an array, is kept; --color {remedy} keeps"):
            fused = fusekit.fuse(both, "pixel", color=choice)
        assert fused.record["chroma_from"] == 1
        assert fusekit.fuse(both, "pixel", color=remedy).record["doubts"] == []


@pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("choice", ["keep", "hue", "overlay:hot", "overlay:pet:1:1"])
def test_every_depth_in_every_way(form: str, choice: str) -> None:
    """Three sources that use all of the range, so that floats of any range are the same picture."""
    factor, offset, dtype = FORMS[form]
    sources = [grey(1), orange(2), grey(3)]
    for each in sources:
        each[0, 0], each[0, 1] = 0, 255
    values = [each * factor + offset for each in sources]
    stored = [(each if dtype == "float32" else np.rint(each)).astype(dtype) for each in values]
    fused = fusekit.fuse(stored, "pixel", color=choice)
    assert (fused.image.dtype, fused.image.shape) == (np.dtype(dtype), (SIDE, SIDE, 3))
    eight = fusekit.fuse(sources, "pixel", color=choice).image
    # The cube roots of OKLab magnify near black what was rounded to 12 bits.
    most = 1.5 if choice == "hue" else 1
    assert np.abs((fused.image.astype(float) - offset) / factor - eight).max() <= most
    shown = fused.record["output"]["range"]
    assert shown == pytest.approx([offset, 255 * factor + offset], abs=1)


def test_the_overlaid_source_is_the_functional_one_or_said() -> None:
    with pytest.warns(FusekitWarning, match=r"source 2, an array, is laid over in colour; --color overlay:hot:0.5:N"):
        assert fusekit.fuse([grey(1), grey(2)], "pixel", color="overlay:hot").record["chroma_from"] == 2
    fused = fusekit.fuse([grey(1), grey(2)], "ehdran", color="overlay:hot", modality="pet,mri", device="cpu")
    assert (fused.record["chroma_from"], fused.record["doubts"]) == (1, [])
    assert fusekit.fuse([grey(1), grey(2)], "pixel", color="overlay:hot:0.5:2").record["doubts"] == []
    with pytest.warns(FusekitWarning, match="source 1, an array, is in colour already, and its luminance is laid over"):
        fusekit.fuse([orange(1), grey(2)], "pixel", color="overlay:hot:0.5:1")


def test_colour_that_is_not_there() -> None:
    for choice in ("from:3", "hue:3", "overlay:hot:0.5:3"):
        with pytest.raises(OptionError, match="asks for source 3, and there are 2"):
            fusekit.fuse([grey(1), orange(2)], "pixel", color=choice)
    for choice in ("from:1", "hue:1"):
        with pytest.raises(OptionError, match="which is grey"):
            fusekit.fuse([grey(1), orange(2)], "pixel", color=choice)
