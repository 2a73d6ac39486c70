"""The weights that come with the package are the pinned files, and good autoencoders."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import SHARED

import fusekit
from fusekit.cases.folders import matched
from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.images.ranges import output_to_unit, unit_luminance
from fusekit.models.base import EncoderDecoder
from fusekit.registry.discovery import registries
from fusekit.weights.metadata import read_metadata
from fusekit.weights.resolve import find_bundled
from fusekit.weights.verify import verify_all

DATASETS = ["ct-mri", "spect-mri", "pet-mri"]
SHIPPED = [f"{model}.{dataset}" for model in ("ehdran", "dilran") for dataset in DATASETS]
#: Those of peers, each trained on the three data sets together.
TOGETHER = ["ifcnn.harvard", "msrpan.harvard"]
#: Weights of our own that are no autoencoder's.
JOINT = ["mdlatlrr.ct-mri"]
#: Weights that others trained and allow to be handed on, with the notice that must go along.
OTHERS = {"gesenet.authors": ("LICENSE-GeSeNet.txt", "Copyright (c) 2023 JiaweiLi")}


def reconstruction_psnr(network: EncoderDecoder, path: Path) -> float:
    """Return the PSNR in dB, peak 1, of decode(encode(x)) against x."""
    unit = unit_luminance(read_image(path), network.spec.normalization)
    with torch.inference_mode():
        raw = network.reconstruct(torch.from_numpy(unit)[None, None])
    error = np.square(output_to_unit(raw[0, 0].numpy(), network.spec.output) - unit).mean()
    return -10 * math.log10(error)


def test_all_bundled_weights_are_pinned_and_intact():
    assert {check.name: check.state for check in verify_all()} == dict.fromkeys(
        [*SHIPPED, *TOGETHER, *JOINT, *OTHERS], "ok"
    )


@pytest.mark.parametrize("name", OTHERS)
def test_the_notice_and_the_origin_stand_beside_the_weights_of_others(name):
    model, _, tag = name.partition(".")
    file, holder = OTHERS[name]
    path = find_bundled(model, f"{tag}.safetensors")
    assert path is not None
    spec = registries().models.entry(model).details["spec"].find_weights(tag)
    notice, card = (path.with_name(each).read_text(encoding="utf-8") for each in (file, f"{tag}.md"))
    assert holder in notice
    assert "The above copyright notice and this permission notice shall be included" in notice
    assert spec.sha256 in card
    assert spec.licence == "MIT"
    assert "Not a medical device" in card
    assert f"({file})" in card
    config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))["weights"][tag]
    assert config["sha256"] == spec.sha256
    assert config["origin"]["repository"] in card
    assert config["origin"]["commit"] in card
    assert f"({tag}.md)" in path.with_name("README.md").read_text(encoding="utf-8")
    assert read_metadata(path)["model"] == model


@pytest.mark.parametrize("name", [*SHIPPED, *TOGETHER, *JOINT])
def test_a_card_and_a_configuration_stand_beside_the_weights(name):
    model, _, tag = name.partition(".")
    path = find_bundled(model, f"{tag}.safetensors")
    assert path is not None
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    pinned = registries().models.entry(model).details["spec"].find_weights(tag).sha256
    assert pinned[:16] in card
    assert "Not a medical device" in card
    assert read_metadata(path)["model"] == model
    config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))
    assert config["weights"][tag]["sha256"] == pinned
    lists = [f"splits.json#/{each}/train" for each in DATASETS for _ in "ab"]
    assert config["weights"][tag]["training"]["data"]["names"] in (f"splits.json#/{tag}/train", lists)
    assert f"({tag}.md)" in path.with_name("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHIPPED)
def test_samples_are_reconstructed(name):
    network: Any = fusekit.load(name, device="cpu")
    for sample in ("ct", "mri"):
        assert reconstruction_psnr(network, samples.path(sample)) > 35


def reconstruction_of_the_card(model, tag):
    """Return mean PSNR, least PSNR and number of images by folder, as the card of the weights gives them."""
    card = find_bundled(model, f"{tag}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z-]+) \| (\d+\.\d+) \| (\d+\.\d+) \| (\d+) \|$", card, re.M)
    return {folder: (float(mean), float(least), int(count)) for folder, mean, least, count in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_the_test_split_is_reconstructed(name):
    """The card's figures are of all images; here every eighth pair keeps to the least of them."""
    data = SHARED / "data" / "harvard"
    if not data.is_dir():
        pytest.skip(f"no research data at {data}; name its folder by FUSEKIT_SHARED")
    network: Any = fusekit.load(name, device="cpu")
    model, _, dataset = name.partition(".")
    # The PET and MRI training images are of one brain; the test images are those of other patients.
    folder, names = (
        (data / "pet-mri-external", None)
        if dataset == "pet-mri"
        else (data / dataset, f"{data / 'splits.json'}#/{dataset}/test")
    )
    cases = matched([folder / dataset.partition("-")[0], folder / "mri"], names)
    assert len(cases) == {"ct-mri": 38, "spect-mri": 53, "pet-mri": 20}[dataset]
    figures = reconstruction_of_the_card(model, dataset)
    assert figures.keys() == {dataset.partition("-")[0], "mri"}
    for mean, least, count in figures.values():
        assert mean >= 35
        assert least <= mean
        assert count == len(cases)
    for case in cases[::8]:
        for path in case.files:
            assert reconstruction_psnr(network, path) >= figures[path.parent.name][1] - 0.01, path.name
