"""Luminance and chroma, and the way from stored values to [0, 1] and back."""

from __future__ import annotations

import numpy as np
import pytest

from fusekit.images.ranges import from_unit, output_to_unit, source_range, to_unit
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


def test_integers_use_their_full_range() -> None:
    unit = np.array([[0.0, 0.5, 1.0]], np.float32)
    np.testing.assert_array_equal(from_unit(unit, "uint8", (10, 20)), np.array([[0, 128, 255]], np.uint8))
    np.testing.assert_array_equal(from_unit(unit, "uint16", (10, 20)), np.array([[0, 32768, 65535]], np.uint16))


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
