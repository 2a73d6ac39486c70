"""``fusekit.fuse`` from end to end: what goes in, what comes out, and what the record says of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import texture, write_texture

import fusekit
from fusekit.errors import InputError, OptionError, OutputError, RuleError
from fusekit.fusing.run import run
from fusekit.images import color
from fusekit.images.files import read_image
from fusekit.images.ranges import from_unit, output_to_unit
from fusekit.models.base import FusionModel
from fusekit.registry.discovery import registries

CT, MRI = texture(1), texture(2)
PET = texture(3, channels=3)


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return fusekit.load("ehdran", device="cpu")


def reconstruction(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Return what ``weights=[1, 0]`` must give of an 8-bit image that uses its full range."""
    raw = model.reconstruct(torch.from_numpy(pixels.astype(np.float32) / 255)[None, None]).detach()[0, 0].numpy()
    return np.rint(output_to_unit(raw, "clamp") * 255).astype(np.uint8)


# --- forms of sources --------------------------------------------------------------------------------------------


def test_paths_arrays_and_tensors_give_the_same(tmp_path: Path, model: FusionModel) -> None:
    paths = [write_texture(tmp_path / "ct.png", 1), write_texture(tmp_path / "mri.png", 2)]
    expected, record = fusekit.fuse([CT, MRI], model)
    assert expected.dtype == np.uint8
    assert expected.shape == CT.shape
    assert record["model"]["name"] == "ehdran"
    forms: list[list[Any]] = [paths, [str(path) for path in paths], [str(paths[0]), torch.from_numpy(MRI)]]
    for sources in forms:
        np.testing.assert_array_equal(fusekit.fuse(sources, model).image, expected)
    by_name = fusekit.fuse(paths, device="cpu")
    np.testing.assert_array_equal(by_name.image, expected)


@pytest.mark.parametrize("lead", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tensors_come_back_in_their_layout(model: FusionModel, lead: tuple[int, ...], dtype: str) -> None:
    first = torch.from_numpy(texture(1, depth=dtype)).reshape(*lead, 24, 20)
    fused = fusekit.fuse([first, MRI], model)
    assert isinstance(fused.image, torch.Tensor)
    assert fused.image.shape == first.shape
    assert fused.image.dtype == first.dtype
    array = fusekit.fuse([texture(1, depth=dtype), MRI], model).image
    np.testing.assert_array_equal(fused.image.numpy().reshape(24, 20), array)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_coloured_tensors(model: FusionModel, lead: tuple[int, ...]) -> None:
    first = torch.from_numpy(PET).permute(2, 0, 1).reshape(*lead, 3, 24, 20)
    fused = fusekit.fuse([first, MRI], model).image
    assert fused.shape == first.shape
    expected = fusekit.fuse([PET, MRI], model).image
    np.testing.assert_array_equal(fused.reshape(3, 24, 20).permute(1, 2, 0).numpy(), expected)
    assert fusekit.fuse([first, MRI], model, color="gray").image.shape == (*lead, 1, 24, 20)


def test_a_grey_tensor_that_takes_chroma_gets_channels_first(model: FusionModel) -> None:
    assert fusekit.fuse([torch.from_numpy(MRI), PET], model).image.shape == (3, 24, 20)
    saved = fusekit.fuse([torch.from_numpy(MRI)[None, None], PET], model).image
    assert saved.shape == (1, 3, 24, 20)


def test_bfloat16_tensors(model: FusionModel) -> None:
    first = torch.from_numpy(texture(1, depth="float32")).bfloat16()
    assert fusekit.fuse([first, MRI], model).image.shape == (24, 20)


@pytest.mark.parametrize("size", [(2, 2), (3, 2), (23, 19), (17, 40)])
def test_odd_sizes(model: FusionModel, size: tuple[int, int]) -> None:
    sources = [texture(1, *size), texture(2, *size)]
    assert fusekit.fuse(sources, model).image.shape == size


def test_three_sources(model: FusionModel) -> None:
    fused, record = fusekit.fuse([CT, MRI, texture(4)], model, rule="mean")
    assert fused.shape == CT.shape
    assert len(record["sources"]) == 3


# --- depth -------------------------------------------------------------------------------------------------------


def test_depth_follows_the_first_source(model: FusionModel) -> None:
    for depth in ("uint8", "uint16", "float32"):
        assert fusekit.fuse([texture(1, depth=depth), MRI], model).image.dtype == depth


def test_floats_keep_the_range_of_the_first_source(model: FusionModel) -> None:
    first = texture(1, depth="float32") * 4095 - 1024
    fused, record = fusekit.fuse([first, MRI], model)
    assert first.min() - 1e-2 <= fused.min() < fused.max() <= first.max() + 1e-2
    assert np.ptp(fused) > 100
    assert record["sources"][0]["range"] == pytest.approx([first.min(), first.max()])


@pytest.mark.parametrize(("asked", "dtype"), [("8", "uint8"), ("16", "uint16"), ("float", "float32"), (8, "uint8")])
def test_bit_depth_override(model: FusionModel, asked: str, dtype: str) -> None:
    fused, record = fusekit.fuse([texture(1, depth="uint16"), MRI], model, bit_depth=asked)
    assert fused.dtype == dtype
    assert record["output"]["depth"] == dtype
    assert record["bit_depth"] == str(asked)
    json.dumps(record)


# --- colour ------------------------------------------------------------------------------------------------------


def assert_same_chroma(fused: np.ndarray, source: np.ndarray, white: float, tolerance: float) -> None:
    """Compare Cb and Cr where no channel of ``fused`` was cut at black or white."""
    inside = ((fused > 0) & (fused < white)).all(axis=-1)
    assert inside.mean() > 0.05
    ours, theirs = color.chroma(fused.astype(float)), color.chroma(source.astype(float))
    assert np.abs(ours - theirs)[inside].max() <= tolerance


@pytest.mark.parametrize(
    ("depth", "white", "tolerance"), [("uint8", 255, 1), ("uint16", 65535, 1), ("float32", 1, 1e-5)]
)
def test_chroma_is_kept(model: FusionModel, depth: str, white: float, tolerance: float) -> None:
    pale = texture(3, channels=3, depth="float32") * 0.3 + 0.35
    source = pale if depth == "float32" else np.rint(pale * white).astype(depth)
    fused, record = fusekit.fuse([source, texture(2, depth=depth)], model)
    assert fused.dtype == depth
    assert record["chroma_from"] == 1
    assert_same_chroma(fused, source, white, tolerance)
    fused, record = fusekit.fuse([texture(2, depth=depth), source], model)
    assert record["chroma_from"] == 2
    assert_same_chroma(fused, source, white, tolerance)


def test_color_choices(model: FusionModel) -> None:
    other = texture(5, channels=3)
    grey, record = fusekit.fuse([PET, MRI], model, color="gray")
    assert grey.shape == MRI.shape
    assert record["chroma_from"] is None
    assert fusekit.fuse([MRI, PET, other], model).record["chroma_from"] == 2
    fused, record = fusekit.fuse([MRI, PET, other], model, color="from:3")
    assert record["chroma_from"] == 3
    assert_same_chroma(fused, other, 255, 1)
    with pytest.raises(OptionError, match="asks for source 3, and there are 2"):
        fusekit.fuse([PET, MRI], model, color="from:3")
    with pytest.raises(OptionError, match="which is grey"):
        fusekit.fuse([PET, MRI], model, color="from:2")
    for wrong in ("from:0", "from:", "from", "hues"):
        with pytest.raises(OptionError, match="unknown color"):
            fusekit.fuse([PET, MRI], model, color=wrong)


# --- sizes, counts, options --------------------------------------------------------------------------------------


def test_sizes_that_differ(tmp_path: Path, model: FusionModel) -> None:
    large = write_texture(tmp_path / "large.png", 5, 48, 40)
    with pytest.raises(InputError, match=r"24×20 and .*large\.png \(source 2\) is 48×40 .*--align first"):
        fusekit.fuse([CT, large], model)
    fused, record = fusekit.fuse([CT, large], model, align="first")
    assert fused.shape == CT.shape
    assert record["sources"][1]["notes"] == ["resampled from 48×40"]
    assert record["align"] == "first"
    assert fusekit.fuse([PET, texture(5, 48, 41, channels=3)], model, align="first").image.shape == PET.shape
    with pytest.raises(OptionError, match="unknown aligner 'last'"):
        fusekit.fuse([CT, large], model, align="last")


def test_arguments_that_make_no_sense(model: FusionModel) -> None:
    with pytest.raises(InputError, match="fuses 2 or more sources, and 1 were given"):
        fusekit.fuse([CT], model)
    with pytest.raises(InputError, match="give the sources as a list"):
        fusekit.fuse(CT, model)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match=r"edge: choices of fusekit\.load, and this model is loaded already"):
        fusekit.fuse([CT, MRI], model, edge="sobel")
    with pytest.raises(OptionError, match="unknown bit depth"):
        fusekit.fuse([CT, MRI], model, bit_depth="12")
    with pytest.raises(InputError, match="holds 2 images"):
        fusekit.fuse([torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)], model)
    with pytest.raises(RuleError, match="3 weights for 2 sources"):
        fusekit.fuse([CT, MRI], model, rule="weighted", rule_options={"weights": [1, 2, 3]})


@pytest.mark.parametrize("rule", registries().fusion_rules.names())
def test_every_rule_runs(model: FusionModel, rule: str) -> None:
    fused, record = fusekit.fuse([CT, MRI], model, rule=rule)
    assert fused.shape == CT.shape
    assert record["rule"]["name"] == rule


def test_all_the_weight_on_one_source_is_its_reconstruction(model: FusionModel) -> None:
    for weights, source in (([1, 0], CT), ([0, 1], MRI)):
        fused = fusekit.fuse([CT, MRI], model, rule="weighted", rule_options={"weights": weights}).image
        assert np.abs(fused.astype(int) - reconstruction(model, source)).max() <= 1


def test_run_takes_luminances(model: FusionModel) -> None:
    units = [texture(seed, depth="float32") for seed in (1, 2)]
    ((raw, weights, report, tiles),) = run(model, [units], model.choose_rule("sfnn"))
    assert raw.shape == (24, 20)
    assert weights is not None
    assert (report["norms"], tiles) == ("exact", None)
    expected = from_unit(output_to_unit(raw, "clamp"), "uint8", (0, 255))
    assert np.abs(expected.astype(int) - fusekit.fuse([CT, MRI], model, rule="sfnn").image).max() <= 1


# --- the record --------------------------------------------------------------------------------------------------


def test_the_record_says_where_everything_came_from(tmp_path: Path, model: FusionModel) -> None:
    path = write_texture(tmp_path / "ct.png", 1)
    fused = fusekit.fuse([path, PET], model, rule="weighted", rule_options={"weights": [0.7, 0.3]})
    record = json.loads(json.dumps(fused.record))
    assert record["sources"][0] == {
        "path": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "size": [24, 20],
        "depth": "uint8",
        "color": False,
        "range": [0, 255],
        "range_choice": "auto",
        "inverted": False,
        "notes": [],
    }
    assert record["sources"][1]["path"] is None
    assert record["output"] == {"size": [24, 20], "channels": 3, "depth": "uint8", "range": [0.0, 255.0]}
    weights_file = model.provenance.weights.path
    assert record["weights"]["sha256"] == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert record["weights"]["name"].startswith("ehdran.")
    assert record["rule"] == {"name": "weighted", "options": {"weights": [0.7, 0.3]}}
    assert record["rule_weights"] == [{"per": "source", "mean": [0.7, 0.3]}]
    assert (record["normalization"], record["output_policy"]) == (model.spec.normalization, model.spec.output)
    assert (record["device"], record["dtype"], record["backend"]) == ("cpu", "float32", "torch")
    assert {"fusekit", "python", "torch", "numpy"} <= record["versions"].keys()
    assert record["seconds"]["total"] >= record["seconds"]["fuse"] >= 0
    assert "BIBM" in record["model"]["citation"]


def test_saving_writes_image_and_record(tmp_path: Path, model: FusionModel) -> None:
    fused = fusekit.fuse([torch.from_numpy(CT)[None, None], PET], model)
    target = tmp_path / ("fused" * 20 + ".png")
    written = fused.save(target)
    np.testing.assert_array_equal(read_image(target).pixels, fused.image[0].permute(1, 2, 0).numpy())
    record = target.with_name(target.name + ".json")
    assert json.loads(record.read_text(encoding="utf-8")) == json.loads(json.dumps(written))
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert written == {**fused.record, "output": {**fused.record["output"], "sha256": digest}}
    with pytest.raises(OutputError, match="it is there already; --overwrite replaces it"):
        fused.save(target, record=False)
    fused.save(target, record=False, overwrite=True)
    assert list(tmp_path.iterdir()) == [target]
