"""Information and similarity metrics against values of published implementations, computed on real image triples.

The triples are not part of the repository: the folder is named by the environment variable ``FUSEKIT_SHARED``, or else
stands beside the repository. Without it these tests skip.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from fusekit.io.reading import read_image
from fusekit.metrics.base import Metric, levels
from fusekit.metrics.fmi import feature_mutual_information
from fusekit.metrics.fmi_features import horizontal_gradient, wavelet_coefficients
from fusekit.plugins import registries

# Triples that the slow metrics run on: small, medical with flat background, odd sizes, saturated.
FEW = (
    "fmi_flat_ct", "small_med_ct_16012_avg", "small_vifb_fight_CNN", "deg_F_eq_A", "deg_all_equal",
    "med_ct_16012_avg", "med_pet_25038_max", "vifb_manWalking_MSVD", "vifb_snow_CBF", "vifb_fight_ADF",
)  # fmt: skip
PORT = "python:own numba port of analysis_fmi"

# metric, key in the golden values, implementation, factor to our unit, tolerance, triples it must have at least
GOLDEN = [
    ("ce", "CE", "octave:VIFB", 1, 1e-9, 12),
    ("ce", "CE", "python:MetricsLab.ce_metric", 1, 1e-9, 8),
    ("nmi", "QMI", "octave:Liu", 1, 1e-9, 25),
    ("nmi", "NMI", "python:MetricsLab.nmi_metric", 1, 1e-9, 8),
    ("nmi.mean", "NMI", "python:sklearn.normalized_mutual_info_score(arithmetic) mean", 1, 1e-9, 25),
    ("nmi.joint", "NMI", "python:skimage.normalized_mutual_information(bins=256) mean", 1, 1e-9, 25),
    # Over 100 bins.
    ("nmi.joint", "NMI", "python:EH-DRAN.nmi", 1, 0.05, 25),
    ("mi.nats", "MI", "octave:VIFB", 1, 1e-9, 12),
    ("mi.nats", "MI", "python:CDDFuse.Evaluator", 1, 1e-9, 25),
    ("mi.mean", "MI", "python:EH-DRAN.eval(256 bins)", 1 / math.log(2), 1e-9, 25),
    ("en.float", "EN", "python:EH-DRAN.en", 1, 1e-9, 25),
    ("qncie", "QNCIE", "octave:Liu", 1, 1e-9, 25),
    ("qte.liu", "QTE", "octave:Liu_sw2(q=1.85)", 1, 1e-9, 12),
    ("qte.nava", "QTE", "octave:Liu_sw3(q=0.43137)", 1, 1e-9, 12),
    ("mse", "MSE", "octave:Tang", 1, 1e-9, 25),
    ("mse", "MSE", "python:MetricsLab.mse_metric", 1, 1e-9, 25),
    # Single precision.
    ("mse.255", "MSE", "python:CDDFuse.Evaluator", 1, 1e-6, 25),
    ("psnr.vifb", "PSNR", "octave:VIFB", 1, 1e-9, 25),
    ("psnr.cddfuse", "PSNR", "python:CDDFuse.Evaluator", 1, 1e-6, 25),
    ("cc", "CC", "octave:Tang", 1, 1e-9, 25),
    ("cc", "CC", "python:numpy.corrcoef mean", 1, 1e-9, 25),
    ("scd", "SCD", "octave:Tang", 1, 1e-9, 23),
    ("scd", "SCD", "python:MetricsLab.scd_metric", 1, 1e-9, 25),
    ("ssim.sum", "SSIM", "octave:VIFB", 1, 1e-9, 25),
    ("gmsd", "GMSD", "python:piq.gmsd mean", 1, 1e-9, 25),
    ("vif", "VIF", "octave:Tang", 1, 1e-9, 25),
    ("vif", "VIF", "python:CDDFuse.Evaluator", 1, 1e-9, 25),
    ("vif.mean", "VIF", "python:sewar.vifp sum", 0.5, 1e-9, 25),
    # Its guards against division by zero are larger.
    ("vif", "VIF", "python:piq.vif_p sum", 1, 1e-4, 25),
    # Single precision.
    ("viff", "VIF", "python:MetricsLab.viff_metric", 1, 1e-3, 25),
    ("mef-ssim", "MS_SSIM", "octave:Tang(MEF-SSIM 3 scales)", 1, 1e-9, 7),
    ("fsim.ehdran", "FSIM", "python:EH-DRAN.fsim(float 0-1, as inference_*.py calls it)", 1, 1e-6, 9),
    # It exchanges rows and columns, which the filters at the Nyquist frequency tell apart.
    ("fsim", "FSIM", "python:piq.fsim(chromatic=False) mean", 1, 2e-5, 9),
    ("fmi.dct", "FMI_dct", PORT, 1, 1e-9, 10),
    ("fmi.wavelet", "FMI_wavelet", PORT, 1, 1e-5, 10),
    ("fmi.pixel", "FMI_pixel", "octave:Haghighat", 1, 1e-9, 3),
    ("fmi.gradient", "FMI_gradient", "octave:Haghighat", 1, 1e-9, 3),
    ("fmi.dct", "FMI_dct", "octave:Haghighat", 1, 1e-9, 3),
    ("fmi.wavelet", "FMI_wavelet", "octave:Haghighat", 1, 1e-6, 2),
    # That edge detector meets ties of its rounding on grey levels divided by 255.
    ("fmi.edge", "FMI_edge", "python:own numba port on Octave image-package edge(x/255) Sobel maps", 1, 5e-3, 9),
]
SLOW = ("fsim", "fmi")


@pytest.fixture(scope="module")
def triples(golden: Path) -> dict[str, list[torch.Tensor]]:
    def read(path: Path) -> torch.Tensor:
        return torch.from_numpy(read_image(path).pixels / 255)[None, None]

    folders = sorted((golden / "triples").iterdir())
    return {folder.name: [read(folder / f"{letter}.png") for letter in "ABF"] for folder in folders}


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, str], float]:
    return {}


def load(name: str) -> Metric:
    return registries().metrics.load(name)()


def rate(known: dict[tuple[str, str], float], name: str, triple: str, images: list[torch.Tensor]) -> float:
    if (name, triple) not in known:
        known[name, triple] = load(name)(images[:2], images[2]).item()
    return known[name, triple]


def numbers(published, triple: str, key: str, implementation: str) -> float | None:
    """Return a published value, or ``None`` where there is none or it is not a number."""
    value = published[triple].get(key, {}).get(implementation)
    return None if value is None or math.isnan(float(value)) else float(value)


@pytest.mark.parametrize(("name", "key", "implementation", "factor", "tolerance", "least"), GOLDEN)
def test_published_values(triples, published, known, name, key, implementation, factor, tolerance, least) -> None:
    found = {}
    for triple, images in triples.items():
        wanted = numbers(published, triple, key, implementation)
        if wanted is None or (name.startswith(SLOW) and triple not in FEW):
            continue
        value, wanted = rate(known, name, triple, images), wanted * factor
        found[triple] = 0.0 if value == wanted else abs(value - wanted) / max(abs(wanted), 1e-12)
    assert len(found) >= least
    assert max(found.values()) < tolerance, found


def test_no_degenerate_triple_gives_nan(triples, known) -> None:
    for triple in ("deg_F_eq_A", "deg_all_equal", "fmi_flat_ct"):
        for name in sorted({row[0] for row in GOLDEN} | {"rmse", "ms-ssim", "uqi", "qte", "fmi.pixel", "fmi.gradient"}):
            assert not math.isnan(rate(known, name, triple, triples[triple])), (name, triple)


def test_rmse_without_the_epsilon_under_the_root(triples, published) -> None:
    for triple, images in triples.items():
        wanted = numbers(published, triple, "RMSE", "python:MetricsLab.rmse_metric")
        if wanted is not None:
            each = load("rmse").rate(images[:2], images[2])[1]
            assert (each.square() + 1e-10).sqrt().mean().item() == pytest.approx(wanted, rel=1e-9), triple


def test_multi_scale_ssim(triples, published, known) -> None:
    """MATLAB takes a complex power where a scale's mean is negative, and refuses small images; piq pads odd sizes."""
    matlab, piq = 0, 0
    for triple, images in triples.items():
        value = rate(known, "ms-ssim", triple, images)
        wanted = numbers(published, triple, "MS_SSIM", "octave:MATR.MS_SSIM(5 scales,mean)")
        if wanted is not None and math.isfinite(wanted) and not triple.startswith("vifb_snow"):
            assert value == pytest.approx(wanted, rel=1e-9), triple
            matlab += 1
        wanted = numbers(published, triple, "MS_SSIM", "python:piq.multi_scale_ssim mean")
        if wanted is not None:
            odd = triple.startswith("vifb_manWalking")
            assert value == pytest.approx(wanted, rel=0.05 if odd else 1e-9), triple
            piq += 1
    assert matlab >= 18
    assert piq >= 21


def test_fsim_with_rows_and_columns_exchanged(triples, published) -> None:
    metric = load("fsim")
    for triple in ("med_ct_16012_max", "small_med_ct_16012_avg", "vifb_manWalking_MSVD"):
        first, second, fused = (image.mT for image in triples[triple])
        wanted = numbers(published, triple, "FSIM", "python:piq.fsim(chromatic=False) mean")
        assert metric([first, second], fused).item() == pytest.approx(wanted, rel=5e-7)


def test_quality_index_of_window_means_for_sums(triples, published) -> None:
    """What sewar computes: the paper's index with window means where it has sums."""
    for triple in ("vifb_fight_ADF", "med_ct_16012_avg", "small_vifb_fight_CNN"):
        first, second, fused = (image[0] * 255 for image in triples[triple])
        values = []
        for x, y in ((first, fused), (second, fused)):
            mean_x, mean_y, square, product = (F.avg_pool2d(z, 8, 1) for z in (x, y, x * x + y * y, x * y))
            both, power = mean_x * mean_y, mean_x**2 + mean_y**2
            slip = 64 * square - power
            quality = 4 * (64 * product - both) * both / (slip * power)
            quality = torch.where((slip == 0) & (power > 0), 2 * both / power, quality)
            values.append(quality.nan_to_num(1).mean().item())
        wanted = numbers(published, triple, "UQI", "python:sewar.uqi mean")
        assert sum(values) / 2 == pytest.approx(wanted, rel=1e-3), triple
        ours = load("uqi")(triples[triple][:2], triples[triple][2]).item()
        assert ours < wanted


def test_tsallis_information_of_the_right_marginals(triples, known) -> None:
    """One figure that is known for the toolbox's code with its marginals put right; as published it gives 3029."""
    assert rate(known, "qte", "med_ct_16012_avg", triples["med_ct_16012_avg"]) == pytest.approx(17.078, abs=5e-4)


@pytest.mark.parametrize(
    ("key", "feature", "slack"),
    [("FMI_pixel", levels, 0.01), ("FMI_gradient", horizontal_gradient, 3), ("FMI_wavelet", wavelet_coefficients, 0.5)],
)
def test_feature_information_but_for_the_overwritten_window(triples, published, key, feature, slack) -> None:
    """Published code normalises the fused window before it meets the second source: equal ones then look unequal.

    Where one pixel alone differs from the others in it, it has 0 for 1; elsewhere the same.
    """

    def windows(features: torch.Tensor) -> torch.Tensor:
        return features[0].unfold(0, 3, 1).unfold(1, 3, 1).flatten(0, 1).flatten(1)

    for triple in ("med_ct_16012_max", "med_pet_25038_max", "vifb_fight_GTF", "small_med_ct_16012_avg", "fmi_flat_ct"):
        maps = [feature(image) for image in triples[triple]]
        first, second, fused = (windows(features) for features in maps)
        least, most = fused.amin(1), fused.amax(1)
        single = (fused > least[:, None]).sum(1) == 1
        overwritten = (first != fused).any(1) & ((least != 0) | (most != 1))
        lost = (single & overwritten & (second == fused).all(1)).sum().item()
        value = feature_mutual_information(maps[:2], maps[2]).mean().item()
        missing = (value - numbers(published, triple, key, PORT)) * 2 * len(fused)
        assert missing == pytest.approx(lost, abs=slack), triple
