"""Luminance and chroma, and the way from stored values to [0, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest

from fusekit.choices import CT_WINDOWS, RangeChoice, parse_range
from fusekit.errors import OptionError
from fusekit.images.image import from_pixels, full_scale
from fusekit.images.ranges import (
    Range,
    doubts_about,
    find_range,
    from_unit,
    inverted,
    model_range,
    output_range,
    output_to_unit,
    source_range,
    to_unit,
    white_of,
)
from fusekit.registry.specs import Normalization

# --- colour ------------------------------------------------------------------------------------------------------


# --- from stored values to [0, 1] --------------------------------------------------------------------------------


def ramp(low: float, high: float, dtype: str) -> np.ndarray:
    return np.linspace(low, high, 12).reshape(3, 4).astype(dtype)


@pytest.mark.parametrize(
    ("values", "policy", "limits"),
    [
        (ramp(10, 200, "uint8"), "minmax", (10, 200)),
        (ramp(10, 200, "uint8"), "unit", (0, 255)),
        (ramp(10, 4095, "uint16"), "minmax", (10, 4095)),
        (ramp(10, 4095, "uint16"), "unit", (0, 65535)),
        (ramp(0.25, 0.75, "float32"), "minmax", (0.25, 0.75)),
        (ramp(0.25, 0.75, "float32"), "unit", (0, 1)),
        (ramp(-1024, 3071, "float32"), "unit", (-1024, 3071)),
        (ramp(-1024, 3071, "float32"), "minmax", (-1024, 3071)),
        (ramp(0, 1.5, "float32"), "unit", (0, 1.5)),
    ],
)
def test_ranges(values: np.ndarray, policy: Normalization, limits: tuple[float, float]) -> None:
    found = source_range(values, str(values.dtype), policy)
    assert found == pytest.approx(limits)
    unit = to_unit(values, found)
    assert unit.dtype == np.float32
    assert 0 <= unit.min() <= unit.max() <= 1
    np.testing.assert_allclose(unit, (values.astype(float) - limits[0]) / (limits[1] - limits[0]), atol=1e-6)
    if policy == "minmax":
        assert (unit.min(), unit.max()) == (0, 1)


@pytest.mark.parametrize("policy", ["minmax", "unit"])
@pytest.mark.parametrize(("depth", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
def test_constants_stay_what_they_are(policy: Normalization, depth: str, white: int) -> None:
    for unit in (0.0, 0.2, 1.0):
        values = np.full((3, 3), unit * white).astype(depth)
        limits = source_range(values, depth, policy)
        assert list(limits) == [0, white]
        np.testing.assert_array_equal(from_unit(to_unit(values, limits), depth, limits), values)


def test_a_constant_float_outside_is_cut() -> None:
    values = np.full((3, 3), 7, np.float32)
    assert to_unit(values, source_range(values, "float32", "minmax")).max() == 1


# --- and back ----------------------------------------------------------------------------------------------------


def test_integers_are_rounded_within_black_and_white() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(from_unit(unit, "uint8", (0, 255)), np.array([[0, 128, 255]], np.uint8))
    np.testing.assert_array_equal(from_unit(unit, "uint16", (0, 65535)), np.array([[0, 32768, 65535]], np.uint16))
    np.testing.assert_array_equal(from_unit(unit, "uint16", (0, 4095)), np.array([[0, 2048, 4095]], np.uint16))


def test_floats_use_the_range_of_the_reference() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    back = from_unit(unit, "float32", (-1024, 3071))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, [[-1024, 1023.5, 3071]])
    greatest = float(np.finfo(np.float32).max)
    assert np.isfinite(from_unit(unit, "float32", (-greatest, greatest))).all()


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_every_level_survives_the_way_there_and_back(depth: str) -> None:
    values = np.arange(np.iinfo(depth).max + 1, dtype=depth).reshape(16, -1)
    limits = source_range(values, depth, "unit")
    np.testing.assert_array_equal(from_unit(to_unit(values, limits), depth, limits), values)


def test_output_policies() -> None:
    raw = np.array([[-0.5, 0.25], [0.75, 1.5]], np.float32)
    np.testing.assert_allclose(output_to_unit(raw, "clamp"), [[0, 0.25], [0.75, 1]])
    np.testing.assert_allclose(output_to_unit(raw, "minmax"), [[0, 0.375], [0.625, 1]])
    constant = np.full((2, 2), 1.25, np.float32)
    for policy in ("clamp", "minmax"):
        np.testing.assert_array_equal(output_to_unit(constant, policy), np.ones((2, 2)))


# --- found and chosen --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", RangeChoice("auto")),
        ("percentile:1:99.5", RangeChoice("percentile", (1, 99.5))),
        ("0:4095", RangeChoice("limits", (0, 4095))),
        ("-1000:1e3", RangeChoice("limits", (-1000, 1000))),
        ("window:40:80", RangeChoice("limits", (0, 80))),
        ("window:brain", RangeChoice("limits", (0, 80))),
        ("window:-600:1500", RangeChoice("limits", (-1350, 150))),
        ("folder", RangeChoice("folder")),
        ("folder:1:99", RangeChoice("folder", (1, 99))),
        ("folder@-5.5:1e-05", RangeChoice("limits", (-5.5, 1e-05))),
    ],
)
def test_what_is_said_of_a_range(text: str, choice: RangeChoice) -> None:
    assert parse_range(text) == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no range; choose auto, dtype"),
        ("12", "is no range"),
        ("1:2:3", "is no range"),
        ("nan:5", "is no range"),
        ("0:inf", "is no range"),
        ("²:9", "is no range"),
        ("0:" + "9" * 400, "is no range"),
        ("0:1e300", "is no range"),
        ("5:5", "takes the lower value first"),
        ("9:1", "takes the lower value first"),
        ("percentile:99:1", "two percentages from 0 to 100"),
        ("percentile:0:101", "two percentages from 0 to 100"),
        ("window:40:0", "a width that is not above 0"),
        ("window:brian", "did you mean 'brain'"),
        ("percentile", "is no range"),
    ],
)
def test_what_is_no_range(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_range(text)


@pytest.mark.parametrize(
    ("most", "bits"),
    [(1, 8), (255, 8), (256, 10), (1024, 12), (4095, 12), (4096, 14), (20000, 16), (65535, 16)],
)
def test_bits_that_are_stored_are_found_and_said(most: int, bits: int) -> None:
    image = from_pixels(ramp(0, most, "uint16"))
    found = find_range(image)
    assert (found.bits, white_of("uint16", found)) == (bits, 2**bits - 1)
    assert list(found.limits) == [0, 2**bits - 1]
    said = [doubt.text for doubt in doubts_about([found]) if doubt.kind == "bits"]
    assert len(said) == (bits < 16)
    if said:
        assert f"values up to {most} and is taken for {bits} bits, white being {2**bits - 1}; --range" in said[0]


def test_eight_bits_are_eight_bits() -> None:
    assert find_range(from_pixels(ramp(10, 20, "uint8"))) == Range(0, 255)


def test_floats_whose_white_is_not_known_are_said() -> None:
    assert find_range(from_pixels(ramp(0.1, 0.9, "float32"))) == Range(0, 1)
    found = find_range(from_pixels(ramp(-1000, 882, "float32")))
    assert list(found.limits) == [-1000, 882]
    (said,) = doubts_about([found])
    assert said.kind == "range"
    assert "--range LOW:HIGH, window:CENTER:WIDTH" in said.text


@pytest.mark.parametrize("depth", ["uint16", "float32"])
def test_hot_pixels_are_said_and_left_out_by_percentiles(depth: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (128, 128)).astype(depth)
    pixels[3, 3] = 65535
    image = from_pixels(pixels)
    found = find_range(image)
    assert found.high == 65535
    said = next(doubt.text for doubt in doubts_about([found]) if doubt.kind == "outliers")
    assert "--range percentile:0.1:99.9 leaves them out" in said
    assert find_range(image, "percentile:0.1:99.9").high < 4096
    pixels[3, 3] = 0
    assert "outliers" not in [each.kind for each in find_range(from_pixels(pixels)).findings]


@pytest.mark.parametrize(
    ("choice", "limits"),
    [("dtype", (0, 65535)), ("data", (100, 3000)), ("0:4095", (0, 4095)), ("window:1000:500", (750, 1250))],
)
def test_chosen_ranges_are_not_doubted(choice: str, limits: tuple[float, float]) -> None:
    found = find_range(from_pixels(ramp(100, 3000, "uint16")), choice)
    assert (found.limits, found.bits, found.findings) == (limits, None, ())


def test_the_range_of_a_folder_is_not_that_of_an_image() -> None:
    with pytest.raises(OptionError, match="use it with --pairs"):
        find_range(from_pixels(ramp(0, 9, "uint8")), "folder")


def test_a_chosen_range_takes_the_place_of_a_models_stretch() -> None:
    image = from_pixels(ramp(10, 200, "uint8"))
    assert model_range(image, find_range(image), "minmax") == (10, 200)
    assert model_range(image, find_range(image, "0:100"), "minmax") == (0, 100)
    assert model_range(image, find_range(image), "unit") == (0, 255)


@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_inversion_exchanges_black_and_white(depth: str) -> None:
    image = from_pixels(ramp(0, 1 if depth == "float32" else np.iinfo(depth).max, depth))
    turned = inverted(image, find_range(image).limits)
    np.testing.assert_allclose(
        to_unit(turned.pixels, (0, full_scale(depth))), 1 - to_unit(image.pixels, (0, full_scale(depth))), atol=1e-6
    )
    assert turned.notes[-1].startswith("inverted within 0 to ")


@pytest.mark.parametrize(
    ("choice", "white"), [("auto", 4095), ("0:3000", 4095), ("0:900", 1023), ("data", 4095), ("dtype", 65535)]
)
def test_the_white_that_is_written_is_that_of_the_bits_that_the_range_takes(choice: str, white: int) -> None:
    image = from_pixels(ramp(100, 3000, "uint16"))
    found = find_range(image, choice)
    assert output_range(image, "uint16", found.limits, found) == (0, white)
    assert output_range(image, "uint8", found.limits, found) == (0, 255)
    assert output_range(image, "float32", found.limits, found) == (0, 1)


def test_what_is_in_doubt_of_several_images_is_one_line_a_kind() -> None:
    images = [from_pixels(ramp(0, most, "uint16")) for most in (900, 4000, 4000, 3000, 16000)]
    floats = from_pixels(ramp(-5, 5, "float32"))
    found = doubts_about([find_range(each) for each in (*images, floats)], "--data-range ")
    assert [doubt.kind for doubt in found] == ["bits", "range"]
    first, second, third, rest = found[0].text.split("; ", 2)[:2] + found[0].text.split("; ", 2)[2].split(", and ")
    assert first == "an array holds 16-bit values up to 900 and is taken for 10 bits, white being 1023"
    assert second == "an array holds 16-bit values up to 4000 and is taken for 12 bits, white being 4095"
    assert third == "an array holds 16-bit values up to 3000 and is taken for 12 bits, white being 4095"
    remedy = "--data-range LOW:HIGH, data for its own values or dtype for all 16 bits says otherwise"
    assert rest == f"1 more are alike; {remedy}"


@pytest.mark.parametrize("name", sorted(CT_WINDOWS))
def test_windows_of_ct_are_known_by_name(name: str) -> None:
    center, width = CT_WINDOWS[name]
    assert parse_range(f"window:{name}") == parse_range(f"window:{center}:{width}")
