"""The gradient, contrast, perceptual and structural metrics against values of published implementations.

The triples are not part of the repository: the folder is named by the environment variable ``FUSEKIT_SHARED``, or else
stands beside the repository. Without it these tests skip.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fusekit.evaluation import evaluate_detailed
from fusekit.io.reading import read_image
from fusekit.metrics.qy import Moments

_KUMAR = "octave:Petrovic/ShreyamshaKumar(F,A,B)"

# metric: (key in the golden values, implementation, tolerance of the relative deviation, least number of triples)
GOLDEN = {
    "ei": [("EI", "octave:VIFB", 1e-9, 25), ("EI", "python:MetricsLab.ei_metric", 1e-4, 25)],
    "sf.diff": [("SF", "octave:Tang", 1e-9, 25), ("SF", "python:CDDFuse.Evaluator", 1e-6, 25)],
    "ag.mn": [("AG", "python:CDDFuse.Evaluator", 1e-6, 25)],
    # A difference of two sums that differ by 0.5 %.
    "qsf": [("QSF", "octave:Liu", 1e-9, 12)],
    "qsf.metricslab": [("QSF", "python:MetricsLab.q_sf_metric", 1e-7, 25)],
    "qabf": [
        ("QABF", "octave:VIFB", 1e-9, 4),
        ("QABF", "octave:Tang", 1e-9, 12),
        ("QABF", "python:CDDFuse.Evaluator", 1e-6, 25),
        # It takes the ratio 1 of equal edges as 1.
        ("QABF", "python:MetricsLab.q_abf_metric", 6e-4, 25),
    ],
    "qabf.kumar": [("QABF", _KUMAR, 1e-9, 4)],
    "labf": [("LABF", _KUMAR, 1e-9, 4)],
    # Some values are as small as 2e-8.
    "nabf": [
        ("NABF", _KUMAR, 1e-8, 4),
        ("NABF", "octave:Tang_signature(F,A,B)", 1e-8, 7),
        ("NABF", "python:MetricsLab.n_abf_metric", 1e-6, 25),
    ],
    "nabf.petrovic": [("NABF1", _KUMAR, 1e-9, 4)],
    "qg": [("QG", "octave:Liu", 1e-7, 25)],
    # Phase congruency is computed in float32.
    "qp": [("QP", "octave:Liu", 2e-6, 25)],
    # Where windows are flat in all sources, but not black, the published shares are quotients of rounding errors: in
    # 0.06 % of the windows of the PET pair.
    "qs": [("QS", "octave:Liu", 6e-4, 25), ("QS", "python:MetricsLab.q_s_metric", 6e-4, 25)],
    "qw": [("QW", "octave:Liu", 1e-6, 25), ("QW", "python:MetricsLab.q_w_metric", 1e-6, 25)],
    "qe": [("QE", "octave:Liu_patched(Q taken from sw=2)", 1e-6, 25)],
    "qe.metricslab": [("QE", "python:MetricsLab.q_e_metric", 1e-6, 25)],
    "qm": [("QM", "octave:Liu", 1e-9, 25), ("QM", "python:MetricsLab.pww_metric", 1e-6, 25)],
    # Far within black areas the contrast is a quotient of rounding errors; see the test below.
    "qcb": [("QCB", "octave:VIFB", 1e-3, 25), ("QCB", "octave:Liu", 1e-3, 25)],
    "qcv": [("QCV", "octave:VIFB", 1e-9, 25), ("QCV", "octave:Liu", 1e-9, 25)],
}
#: Its black areas reach farther than the filters, in PET and SPECT.
WIDE_BLACK = ("med_pet", "med_spect")
BY_WINDOWS = ("qy", "qc", "qc.liu")


def folders(golden: Path) -> list[Path]:
    # Those of another metric have no values here.
    return [each for each in sorted((golden / "triples").iterdir()) if not each.name.startswith("fmi_")]


@pytest.fixture(scope="module")
def ours(golden: Path) -> dict[str, dict[str, float]]:
    found = {}
    for folder in folders(golden):
        first, second, fused = (folder / f"{letter}.png" for letter in "ABF")
        ratings = evaluate_detailed([first, second], fused, [*GOLDEN, *BY_WINDOWS])
        found[folder.name] = {name: rating["value"] for name, rating in ratings.items()}
    return found


@pytest.fixture(scope="module")
def flat(golden: Path) -> dict[str, tuple[float, float]]:
    """The shares of the 7×7 windows that are flat in both sources, and in any of the three images."""
    found = {}
    for folder in folders(golden):
        pixels = [read_image(folder / f"{letter}.png").pixels for letter in "ABF"]
        windows = Moments(
            torch.stack([torch.tensor(each, dtype=torch.float64) for each in pixels])[:, None]
        ).flat.double()
        found[folder.name] = (windows[:2].amin(0).mean().item(), windows.amax(0).mean().item())
    return found


def deviations(ours, published, name: str, key: str, implementation: str) -> dict[str, float]:
    """Return the relative deviation of each triple that has a finite value of the implementation."""
    found = {}
    for triple, values in ours.items():
        known = published[triple].get(key, {}).get(implementation)
        if isinstance(known, float | int):
            found[triple] = 0.0 if values[name] == known else abs(values[name] - known) / max(abs(known), 1e-12)
    return found


@pytest.mark.parametrize(
    ("name", "key", "implementation", "tolerance", "least"),
    [(name, *row) for name, rows in GOLDEN.items() for row in rows],
    ids=[f"{name}-{row[1]}" for name, rows in GOLDEN.items() for row in rows],
)
def test_value_of_the_implementation(ours, published, name, key, implementation, tolerance, least) -> None:
    found = deviations(ours, published, name, key, implementation)
    assert len(found) >= least
    assert max(found.values()) < tolerance, found


@pytest.mark.parametrize("name", ["qs", "qcb"])
def test_only_rounding_errors_in_dark_areas_deviate(ours, published, name) -> None:
    found = deviations(ours, published, name, name.upper(), "octave:Liu")
    assert max(each for triple, each in found.items() if not triple.startswith(WIDE_BLACK)) < 1e-6, found


@pytest.mark.parametrize(("name", "least"), [("qy", 4), ("qc.liu", 4)])
def test_windows_that_are_not_flat_have_the_published_quality(ours, published, flat, name, least) -> None:
    key = name[:2].upper()
    compared = 0
    for implementation in ("octave:Liu", "octave:Liu_sw2", f"python:MetricsLab.{key[0]}_{key[1]}_metric".lower()):
        implementation = implementation.replace("metricslab", "MetricsLab")
        for triple, each in deviations(ours, published, name, key, implementation).items():
            if flat[triple][1] == 0:
                assert each < 1e-9, (triple, implementation)
                compared += 1
    assert compared >= 2 * least


def test_similarity_where_flat_windows_are_left_out(ours, published) -> None:
    """MetricsLab leaves out windows that are flat in both sources, as we do; others break its values in the visible."""
    found = deviations(ours, published, "qy", "QY", "python:MetricsLab.q_y_metric")
    medical = [each for triple, each in found.items() if triple.startswith("med_")]
    assert len(medical) >= 6
    assert max(medical) < 1e-3, found
    assert all(-1 <= values["qy"] <= 1 for values in ours.values())
    assert published["vifb_snow_LatLRR"]["QY"]["python:MetricsLab.q_y_metric"] > 1


def test_covariance_similarity_where_flat_windows_count_as_zero(ours, published, flat) -> None:
    """MetricsLab takes windows that are flat in both sources for 0; we leave them out.

    In its code a window where one source is flat, but not black, has 0 or 1 by the sign of a rounding error: up to 3 %
    of the CT pair's value. The SPECT pair has hardly any.
    """
    compared = 0
    for triple, values in ours.items():
        known = published[triple]["QC"]["python:MetricsLab.q_c_metric"]
        if triple.startswith("med_"):
            tolerance = 1e-6 if triple.startswith("med_spect") else 3e-2
            assert values["qc.liu"] * (1 - flat[triple][0]) == pytest.approx(known, rel=tolerance), triple
            compared += 1
    assert compared >= 6


def test_covariance_similarity_of_the_paper_differs_where_covariances_oppose(ours) -> None:
    differences = [abs(values["qc"] - values["qc.liu"]) for values in ours.values()]
    assert min(differences) < 1e-9
    assert 0.1 < max(differences) < 0.4
