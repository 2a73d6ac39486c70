"""The metrics beside published implementations on real image triples, where a single tolerance does not tell all.

The triples are not part of the repository: the folder is named by the environment variable ``FUSEKIT_SHARED``, or else
stands beside the repository. Without it these tests skip.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.metrics import Triples

from fusekit.evaluation.rate import Rating, evaluate_detailed, metric_names
from fusekit.metrics.build import build_metric
from fusekit.metrics.filters import planes_of
from fusekit.metrics.fmi import feature_mutual_information
from fusekit.metrics.fmi_features import horizontal_gradient, wavelet_coefficients
from fusekit.metrics.levels import levels
from fusekit.metrics.qy import Moments
from fusekit.metrics.sf import spatial_frequency

PORT = "python:own numba port of analysis_fmi"


def test_spatial_frequency_divided_by_the_differences(triples: Triples) -> None:
    """The other usual definition, put together from ours of single rows and columns, on all triples."""
    compared = 0
    for triple in triples.names():
        wanted = triples.known(triple, "SF", "octave:Tang")
        if wanted is None:
            continue
        rows = triples.images(triple)[2][0, 0]
        height, width = rows.shape
        along_rows = spatial_frequency(rows[:, None, None]).square().mean() * width / (width - 1)
        along_columns = spatial_frequency(rows.T[:, None, None]).square().mean() * height / (height - 1)
        assert math.sqrt(along_rows + along_columns) == pytest.approx(wanted, rel=1e-9), triple
        compared += 1
    assert compared >= 25


def test_identical_images_are_infinitely_close(triples: Triples) -> None:
    def rating(triple: str) -> Rating:
        paths = [triples.folder / "triples" / triple / f"{letter}.png" for letter in "ABF"]
        return evaluate_detailed(paths[:2], paths[2], "psnr")["psnr"]

    assert rating("deg_all_equal") == {"value": math.inf, "per_source": [math.inf] * 2, "worst": math.inf}
    assert rating("deg_F_eq_A")["worst"] < math.inf


@pytest.mark.slow
def test_no_degenerate_triple_gives_nan(triples: Triples) -> None:
    names = metric_names("all")
    for triple in ("deg_F_eq_A", "deg_all_equal", "fmi_flat_ct"):
        for name in names:
            assert not math.isnan(triples.value(name, triple)), (name, triple)


def test_rmse_without_the_epsilon_under_the_root(triples: Triples) -> None:
    """Also where an image equals the fused one."""
    for triple in triples.names():
        wanted = triples.known(triple, "RMSE", "python:MetricsLab.rmse_metric")
        if wanted is not None:
            first, second, fused = triples.images(triple)
            each = build_metric("rmse").rate([first, second], fused)[1]
            assert (each.square() + 1e-10).sqrt().mean().item() == pytest.approx(wanted, rel=1e-9), triple


def test_fsim_with_rows_and_columns_exchanged(triples: Triples) -> None:
    metric = build_metric("fsim")
    for triple in ("med_ct_16012_max", "small_med_ct_16012_avg", "vifb_manWalking_MSVD"):
        first, second, fused = (image.mT for image in triples.images(triple))
        wanted = triples.known(triple, "FSIM", "python:piq.fsim(chromatic=False) mean")
        assert metric([first, second], fused).item() == pytest.approx(wanted, rel=5e-7)


def test_quality_index_of_window_means_for_sums(triples: Triples) -> None:
    """What sewar computes: the paper's index with window means where it has sums."""
    for triple in ("vifb_fight_ADF", "med_ct_16012_avg", "small_vifb_fight_CNN"):
        first, second, fused = (image[0] * 255 for image in triples.images(triple))
        values = []
        for x, y in ((first, fused), (second, fused)):
            mean_x, mean_y, square, product = (F.avg_pool2d(z, 8, 1) for z in (x, y, x * x + y * y, x * y))
            both, power = mean_x * mean_y, mean_x**2 + mean_y**2
            slip = 64 * square - power
            quality = 4 * (64 * product - both) * both / (slip * power)
            quality = torch.where((slip == 0) & (power > 0), 2 * both / power, quality)
            values.append(quality.nan_to_num(1).mean().item())
        wanted = triples.known(triple, "UQI", "python:sewar.uqi mean")
        assert sum(values) / 2 == pytest.approx(wanted, rel=1e-3), triple
        assert triples.value("uqi", triple) < wanted


def test_tsallis_information_of_the_right_marginals(triples: Triples) -> None:
    """One figure that is known for the toolbox's code with its marginals put right; as published it gives 3029."""
    assert triples.value("qte", "med_ct_16012_avg") == pytest.approx(17.078, abs=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "feature", "slack"),
    [("FMI_pixel", levels, 0.01), ("FMI_gradient", horizontal_gradient, 3), ("FMI_wavelet", wavelet_coefficients, 0.5)],
)
def test_feature_information_but_for_the_overwritten_window(triples: Triples, key, feature, slack) -> None:
    """Published code normalises the fused window before it meets the second source: equal ones then look unequal.

    Where one pixel alone differs from the others in it, it has 0 for 1; elsewhere the same.
    """

    def windows(features: torch.Tensor) -> torch.Tensor:
        return features[0].unfold(0, 3, 1).unfold(1, 3, 1).flatten(0, 1).flatten(1)

    for triple in ("med_ct_16012_max", "med_pet_25038_max", "vifb_fight_GTF", "small_med_ct_16012_avg", "fmi_flat_ct"):
        maps = [feature(image) for image in triples.images(triple)]
        first, second, fused = (windows(features) for features in maps)
        least, most = fused.amin(1), fused.amax(1)
        single = (fused > least[:, None]).sum(1) == 1
        overwritten = (first != fused).any(1) & ((least != 0) | (most != 1))
        lost = (single & overwritten & (second == fused).all(1)).sum().item()
        value = feature_mutual_information(maps[:2], maps[2]).mean().item()
        missing = (value - triples.known(triple, key, PORT)) * 2 * len(fused)
        assert missing == pytest.approx(lost, abs=slack), triple


def test_similarity_where_flat_windows_are_left_out(triples: Triples) -> None:
    """MetricsLab leaves out windows that are flat in both sources, as we do; others break its values in the visible."""
    compared = 0
    for triple in triples.names():
        wanted = triples.known(triple, "QY", "python:MetricsLab.q_y_metric")
        if wanted is not None:
            assert -1 <= triples.value("qy", triple) <= 1
        if triple.startswith("med_"):
            assert triples.value("qy", triple) == pytest.approx(wanted, rel=1e-3), triple
            compared += 1
    assert compared >= 6
    assert triples.known("vifb_snow_LatLRR", "QY", "python:MetricsLab.q_y_metric") > 1


def test_covariance_similarity_where_flat_windows_count_as_zero(triples: Triples) -> None:
    """MetricsLab takes windows that are flat in both sources for 0; we leave them out.

    In its code a window where one source is flat, but not black, has 0 or 1 by the sign of a rounding error: up to 3 %
    of the CT pair's value. The SPECT pair has hardly any.
    """
    compared = 0
    for triple in triples.names():
        if triple.startswith("med_"):
            flat = Moments(planes_of(triples.images(triple))).flat[:2].all(0).double().mean().item()
            wanted = triples.known(triple, "QC", "python:MetricsLab.q_c_metric")
            tolerance = 1e-6 if triple.startswith("med_spect") else 3e-2
            assert triples.value("qc.liu", triple) * (1 - flat) == pytest.approx(wanted, rel=tolerance), triple
            compared += 1
    assert compared >= 6


def test_covariance_similarity_of_the_paper_differs_where_covariances_oppose(triples: Triples) -> None:
    differences = [abs(triples.value("qc", triple) - triples.value("qc.liu", triple)) for triple in triples.names()]
    assert min(differences) < 1e-9
    assert 0.1 < max(differences) < 0.4
