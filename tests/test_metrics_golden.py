"""The metrics against values of published implementations, computed on real image triples.

The triples are not part of the repository: the folder is named by the environment variable ``FUSEKIT_SHARED``, or else
stands beside the repository. Without it these tests skip.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fusekit.evaluation import Rating, evaluate_detailed
from fusekit.io.reading import read_image
from fusekit.metrics.sf import spatial_frequency

NAMES = ("psnr", "ssim", "en", "mi", "sd", "sf", "ag")

# metric: (key in the golden values, implementations in order of preference with the factor to our unit, tolerance)
GOLDEN = {
    "psnr": ("PSNR", {"python:skimage.peak_signal_noise_ratio mean of two": 1.0}, 1e-9),
    "ssim": (
        "SSIM",
        {"python:skimage.structural_similarity(gaussian 1.5, population cov) mean": 1.0, "octave:VIFB": 0.5},
        1e-9,
    ),
    "en": ("EN", {"octave:VIFB": 1.0, "octave:Tang": 1.0}, 1e-9),
    "mi": ("MI", {"octave:VIFB": 1 / math.log(2), "python:CDDFuse.Evaluator": 1 / math.log(2)}, 1e-9),
    "sd": ("SD", {"octave:VIFB": 1.0}, 1e-9),
    "sf": ("SF", {"octave:VIFB": 1.0}, 1e-9),
    "ag": ("AG", {"octave:VIFB": 1.0}, 1e-9),
}
OTHERS = {
    "psnr": ("PSNR", {"python:EH-DRAN.psnr(data_range=1)": 1.0}, 1e-6),
    "ssim": ("SSIM", {"python:piq.ssim(downsample=False) mean": 1.0}, 1e-9),
    # A float32 epsilon inside its logarithm.
    "en": ("EN", {"python:MetricsLab.en_metric": 1.0}, 1e-6),
    "sd": ("SD", {"python:CDDFuse.Evaluator": 1.0}, 1e-6),
}


@pytest.fixture(scope="module")
def ours(golden: Path) -> dict[str, dict[str, Rating]]:
    found = {}
    for folder in sorted((golden / "triples").iterdir()):
        first, second, fused = (folder / f"{letter}.png" for letter in "ABF")
        found[folder.name] = evaluate_detailed([first, second], fused, NAMES)
    return found


def deviations(ours, published, name, table):
    """Return the relative deviation of each triple that has a value, of the first implementation that has one."""
    key, implementations, _ = table[name]
    found = {}
    for triple, ratings in ours.items():
        known = published[triple].get(key, {})
        for implementation, factor in implementations.items():
            if known.get(implementation) is not None:
                wanted, value = float(known[implementation]) * factor, ratings[name]["value"]
                found[triple] = 0.0 if value == wanted else abs(value - wanted) / max(abs(wanted), 1e-12)
                break
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_value_of_the_named_implementation(ours, published, name) -> None:
    found = deviations(ours, published, name, GOLDEN)
    # The implementation of this spatial frequency ran on one method a pair; the test below covers all triples.
    assert len(found) >= (12 if name == "sf" else 25)
    assert max(found.values()) < GOLDEN[name][2], found


@pytest.mark.parametrize("name", OTHERS)
def test_value_of_another_implementation_of_the_same_definition(ours, published, name) -> None:
    found = deviations(ours, published, name, OTHERS)
    assert found
    assert max(found.values()) < OTHERS[name][2], found


def test_spatial_frequency_divided_by_the_differences(golden, published) -> None:
    """The other usual definition, put together from ours of single rows and columns, on all triples."""
    compared = 0
    for triple, known in published.items():
        if "octave:Tang" not in known.get("SF", {}):
            continue
        pixels = read_image(golden / "triples" / triple / "F.png").pixels
        rows = torch.from_numpy(pixels / 255)
        height, width = rows.shape
        along_rows = spatial_frequency(rows[:, None, None]).square().mean() * width / (width - 1)
        along_columns = spatial_frequency(rows.T[:, None, None]).square().mean() * height / (height - 1)
        value = math.sqrt(along_rows + along_columns)
        assert value == pytest.approx(known["SF"]["octave:Tang"], rel=1e-9), triple
        compared += 1
    assert compared >= 25


def test_identical_images_are_infinitely_close(ours) -> None:
    assert ours["deg_all_equal"]["psnr"] == {"value": math.inf, "per_source": [math.inf] * 2, "worst": math.inf}
    assert ours["deg_F_eq_A"]["psnr"]["worst"] < math.inf


def test_padded_ssim_is_that_of_torchmetrics(golden, published):
    for folder in sorted((golden / "triples").iterdir()):
        wanted = published[folder.name].get("SSIM", {}).get("python:torchmetrics.ssim(data_range=1) mean")
        if wanted is not None:
            first, second, fused = (folder / f"{letter}.png" for letter in "ABF")
            value = evaluate_detailed([first, second], fused, "ssim.padded")["ssim.padded"]["value"]
            assert value == pytest.approx(float(wanted), rel=1e-9)
