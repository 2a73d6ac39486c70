"""One pair in 8 bits, in 12 of 16, and in Hounsfield units: the same fused images and the same ratings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from helpers.cli import run_cli
from PIL import Image as Pillow

import fusekit
from fusekit.errors import FusekitError
from fusekit.images import samples
from fusekit.models.load import build_network
from fusekit.registry.discovery import registries
from fusekit.weights.store import save_weights

pytestmark = pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
SIDE = 64
#: What becomes of a value of 8 bits, and back.
FORMS: dict[str, tuple[float, float, str]] = {
    "8 bit": (1.0, 0.0, "uint8"),
    "12 bit": (4095 / 255, 0.0, "uint16"),
    "hounsfield": (2000 / 255, -1000.0, "float32"),
}
#: Rules and models that take each detail from one source, as wavelets do, leave it to the rounding to 12 bits where
#: both are equally strong: in so large a share of the pixels at most, as one coarse detail is seen in many.
TIES = 0.01
OTHERS = [form for form in FORMS if form != "8 bit"]


def stored(unit: np.ndarray, form: str) -> np.ndarray:
    factor, offset, depth = FORMS[form]
    values = unit * factor + offset
    return (np.rint(values) if depth != "float32" else values).astype(depth)


def whole_range(name: str) -> np.ndarray:
    """Return an embedded picture that uses all 8 bits."""
    with Pillow.open(samples.path(name)) as picture:
        pixels = np.asarray(picture.convert("L").resize((SIDE, SIDE), Pillow.Resampling.LANCZOS)).astype(float)
    return np.rint((pixels - pixels.min()) / (pixels.max() - pixels.min()) * 255)


@pytest.fixture(scope="module")
def pair() -> list[np.ndarray]:
    return [whole_range("ct"), whole_range("mri")]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return weights of every combination of registered parts, as training begins with them."""
    known = registries()
    spec, found = known.models.entry("composed").details["spec"], {}
    kinds = (known.encoders, known.edge_operators, known.decoders)
    for encoder, edge, decoder in itertools.product(*([each.name for each in kind] for kind in kinds)):
        try:
            network = build_network(spec, {"encoder": encoder, "edge": edge, "decoder": decoder}, seed=7)
        except FusekitError:
            continue  # Parts that do not go together.
        found[f"{encoder} {edge} {decoder}"] = folder = tmp_path_factory.mktemp("composed")
        save_weights(network, folder / "model.safetensors", network.header)
    return found


def differences(model: Any, pair: list[np.ndarray], **choices: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield how many grey levels of 255 what is fused in each form differs from what is fused in 8 bits."""
    eight = fusekit.fuse([stored(each, "8 bit") for each in pair], model, **choices).image.astype(float)
    for form in OTHERS:
        factor, offset, depth = FORMS[form]
        fused = fusekit.fuse([stored(each, form) for each in pair], model, **choices).image
        assert fused.dtype == depth
        yield form, np.abs((fused.astype(float) - offset) / factor - eight)


MODELS = [entry.name for entry in registries().models if entry.name != "composed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_fuses_the_same_image(name: str, pair: list[np.ndarray]) -> None:
    try:
        model = fusekit.load(name, device="cpu")
        model.check_count(2)
    except FusekitError as error:
        pytest.skip(f"not here, or not for two sources: {error}")
    rules = [entry.name for entry in registries().fusion_rules] if model.spec.default_rule else [None]
    tried = 0
    for rule in rules:
        try:
            model.choose_rule(rule, {})
        except FusekitError:
            continue
        for form, found in differences(model, pair, rule=rule):
            assert (found > 1).mean() <= (TIES if form == "12 bit" else 0), (rule, form, found.max())
            tried += 1
    assert tried


@pytest.mark.parametrize("name", ["ehdran", "dilran"])
def test_models_by_their_own_rule_fuse_the_same_image(name: str, pair: list[np.ndarray]) -> None:
    for form, found in differences(fusekit.load(name, device="cpu"), pair):
        assert found.max() <= 1, form


@pytest.mark.slow
def test_every_composed_model_fuses_the_same_image(composed: dict[str, Path], pair: list[np.ndarray]) -> None:
    assert composed
    for parts, folder in composed.items():
        for form, found in differences(fusekit.load(folder, device="cpu"), pair):
            assert found.max() <= 1, (parts, form)


@pytest.fixture(scope="module")
def ratings(pair: list[np.ndarray]) -> tuple[np.ndarray, Mapping[str, float]]:
    """Return an image fused in 8 bits, and how it is rated."""
    eight = [stored(each, "8 bit") for each in pair]
    fused = fusekit.fuse(eight, "ehdran", device="cpu").image
    return fused, fusekit.evaluate(eight, fused)


@pytest.fixture(scope="module", params=OTHERS)
def files(
    request: pytest.FixtureRequest, pair: list[np.ndarray], ratings: Any, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """Return the files of two sources and the fused image in one form, without a record."""
    folder = tmp_path_factory.mktemp("form")
    for name, each in zip(("ct", "mri", "fused"), (*pair, ratings[0].astype(float)), strict=True):
        tifffile.imwrite(folder / f"{name}.tif", stored(each, request.param))
    return request.param, folder


def test_ratings_are_those_of_8_bits(files: Any, ratings: Any) -> None:
    """All standard metrics, of the files alone, by Python and by the command."""
    folder = files[1]
    sources, fused = [folder / "ct.tif", folder / "mri.tif"], folder / "fused.tif"
    wanted = pytest.approx(dict(ratings[1]), abs=1e-3, rel=1e-3)
    assert fusekit.evaluate(sources, fused) == wanted
    code, out, err = run_cli(["evaluate", *sources, "--fused", f"x={fused}", "--json"])
    assert code == 0, err
    assert json.loads(out)["methods"]["x"]["mean"] == wanted


def test_what_is_fused_and_rated_in_each_form_is_rated_alike(files: Any, ratings: Any) -> None:
    """Each form's own fused image, with its record or alone, is rated as that of 8 bits but for its rounding."""
    folder = files[1]
    sources, output = [folder / "ct.tif", folder / "mri.tif"], folder / "own.tif"
    metrics = ["ssim", "ms-ssim", "cc", "qabf", "vif", "scd"]
    wanted = pytest.approx({name: ratings[1][name] for name in metrics}, abs=1e-2)
    for record in (True, False):
        fusekit.fuse(sources, "ehdran", device="cpu").save(output, record=record, overwrite=True)
        assert fusekit.evaluate(sources, output, metrics) == wanted


def test_a_dark_image_of_12_bits_is_one_of_12_bits(pair: list[np.ndarray], tmp_path: Path) -> None:
    """An image that uses 8 of the 12 bits of its sources is not stretched by its own."""
    files = [tmp_path / name for name in ("ct.tif", "mri.tif", "fused.tif")]
    dark = (pair[0] + pair[1]) / 2 / 18
    for path, each in zip(files, (*pair, dark), strict=True):
        tifffile.imwrite(path, stored(each, "12 bit"))
    eight = fusekit.evaluate([each / 255 for each in pair], dark / 255, ["ssim", "psnr"])
    assert fusekit.evaluate(files[:2], files[2], ["ssim", "psnr"]) == pytest.approx(eight, abs=1e-2)


@pytest.mark.parametrize("form", OTHERS)
def test_the_record_says_what_was_black_and_white(form: str, pair: list[np.ndarray]) -> None:
    for model in ("pixel", "ehdran"):
        record = fusekit.fuse([stored(each, form) for each in pair], model, rule="max").record
        wanted = [0, 4095] if form == "12 bit" else [-1000, 1000]
        assert record["output"]["range"] == wanted
        for source in record["sources"]:
            assert (source["range"], source["range_choice"]) == (wanted, "auto")
            assert source.get("bits_stored") == (12 if form == "12 bit" else None)
