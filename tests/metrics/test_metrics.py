"""The built-in metrics on small images whose values are known in closed form, and ``evaluate``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from fusekit.errors import InputError, PluginError, UnknownNameError
from fusekit.evaluation.rate import evaluate, evaluate_detailed, metric_names
from fusekit.images.image import from_pixels
from fusekit.listing import list_metrics
from fusekit.metrics.ag import average_gradient
from fusekit.metrics.base import FusedMetric, Metric, SourceMetric
from fusekit.metrics.build import build_metric
from fusekit.metrics.catalog import METRICS
from fusekit.metrics.en import entropy
from fusekit.metrics.mi import MutualInformation, mutual_information
from fusekit.metrics.psnr import PSNR, peak_signal_noise_ratio
from fusekit.metrics.sd import standard_deviation
from fusekit.metrics.sets import PAPER, STANDARD
from fusekit.metrics.sf import spatial_frequency
from fusekit.metrics.ssim import SSIM, structural_similarity
from fusekit.registry.discovery import BUILTIN_OWNER, registries

NAMES = ["ag", "en", "mi", "psnr", "sd", "sf", "ssim"]
ON_FUSED = [average_gradient, entropy, spatial_frequency, standard_deviation]
ON_PAIRS = [mutual_information, peak_signal_noise_ratio, structural_similarity]


def image(rows) -> torch.Tensor:
    """Return grey levels 0-255 (H, W) as (1, 1, H, W) in [0, 1]."""
    return torch.as_tensor(np.asarray(rows), dtype=torch.float64)[None, None] / 255


def constant(level: float, height: int = 16, width: int = 16) -> torch.Tensor:
    return image(np.full((height, width), level))


def noise(seed: int, *shape: int) -> torch.Tensor:
    levels = np.random.default_rng(seed).integers(0, 256, shape or (1, 1, 24, 31))
    return torch.from_numpy(levels).double() / 255


def checkerboard(height: int, width: int) -> np.ndarray:
    return np.indices((height, width)).sum(0) % 2 * 255


def ramp(height: int, width: int, step: int) -> np.ndarray:
    return np.tile(np.arange(width) * step, (height, 1))


# --- values in closed form ---------------------------------------------------------------------------------------


def test_entropy_of_equally_frequent_levels() -> None:
    assert entropy(image(np.arange(256).reshape(16, 16))).item() == pytest.approx(8, rel=1e-12)
    assert entropy(image(checkerboard(4, 6))).item() == pytest.approx(1, rel=1e-12)
    assert entropy(image([[0, 0], [0, 9]])).item() == pytest.approx(2 - 0.75 * math.log2(3), rel=1e-12)


def test_entropy_rounds_to_the_nearest_level() -> None:
    assert entropy(image([[10.4, 9.6], [10.0, 10.6]])).item() == pytest.approx(2 - 0.75 * math.log2(3), rel=1e-12)


def test_standard_deviation_is_the_population_one() -> None:
    assert standard_deviation(image(checkerboard(4, 4))).item() == pytest.approx(127.5, rel=1e-12)
    assert standard_deviation(image([[1, 2], [3, 4]])).item() == pytest.approx(math.sqrt(1.25), rel=1e-12)


def test_spatial_frequency_divides_by_the_pixels() -> None:
    height, width = 5, 8
    differences = height * (width - 1) + (height - 1) * width
    expected = 255 * math.sqrt(differences / (height * width))
    assert spatial_frequency(image(checkerboard(height, width))).item() == pytest.approx(expected, rel=1e-12)
    expected = 3 * math.sqrt((width - 1) / width)
    assert spatial_frequency(image(ramp(height, width, 3))).item() == pytest.approx(expected, rel=1e-12)


def test_average_gradient_of_ramps() -> None:
    share = 5 * 8 / (4 * 7)
    assert average_gradient(image(ramp(5, 8, 3))).item() == pytest.approx(3 / math.sqrt(2) * share, rel=1e-12)
    diagonal = ramp(5, 8, 3) + ramp(8, 5, 4).T
    assert average_gradient(image(diagonal)).item() == pytest.approx(5 / math.sqrt(2) * share, rel=1e-12)
    assert average_gradient(image(checkerboard(2, 2))).item() == pytest.approx(1020, rel=1e-12)


def test_mutual_information_with_itself_is_the_entropy() -> None:
    x = noise(0)
    assert mutual_information(x, x).item() == pytest.approx(entropy(x).item(), rel=1e-12)
    assert mutual_information(x, 1 - x).item() == pytest.approx(entropy(x).item(), rel=1e-12)


def test_mutual_information_of_independent_levels_is_zero() -> None:
    a, b = image([[0, 0], [255, 255]]), image([[0, 255], [0, 255]])
    assert mutual_information(a, b).item() == 0


def test_mutual_information_keeps_the_brightest_levels_apart() -> None:
    a, b = image([[254, 255], [254, 255]]), image([[0, 1], [0, 1]])
    assert mutual_information(a, b).item() == pytest.approx(1, rel=1e-12)


def test_mutual_information_sums_over_three_sources() -> None:
    halves, other = image([[0, 0], [255, 255]]), image([[0, 255], [0, 255]])
    metric: Any = build_metric("mi")
    sources = [halves, other, 1 - halves]
    assert metric.per_source(sources, halves).flatten().tolist() == pytest.approx([1, 0, 1], abs=1e-12)
    assert metric(sources, halves).item() == pytest.approx(2, rel=1e-12)
    assert metric.worst(sources, halves).item() == 0


def test_psnr_of_known_errors() -> None:
    assert peak_signal_noise_ratio(image([[0, 0]] * 2), image([[255, 255]] * 2)).item() == 0
    fused = constant(100) + 0.1
    assert peak_signal_noise_ratio(constant(100), fused).item() == pytest.approx(20, rel=1e-9)
    sources = [constant(100), fused - 0.01]
    assert PSNR()(sources, fused).item() == pytest.approx(30, rel=1e-9)
    metric: Any = build_metric("psnr")
    assert metric.worst(sources, fused).item() == pytest.approx(20, rel=1e-9)


def test_psnr_of_an_equal_source_is_infinite() -> None:
    x, y = noise(1), noise(2)
    assert PSNR().per_source([x, y], x).flatten()[0] == math.inf
    assert PSNR()([x, y], x).item() == math.inf


def test_ssim_of_constants_is_their_luminance_term() -> None:
    expected = (2 * 0.4 * 0.8 + 1e-4) / (0.4**2 + 0.8**2 + 1e-4)
    a, b = constant(102, 13, 20), constant(204, 13, 20)
    assert structural_similarity(a, b).item() == pytest.approx(expected, rel=1e-9)


def test_ssim_of_one_window_follows_the_formula() -> None:
    x, y = noise(3, 1, 1, 11, 11), noise(4, 1, 1, 11, 11)
    side = np.exp(-((np.arange(11) - 5) ** 2) / 4.5)
    weights = np.outer(side, side) / side.sum() ** 2
    a, b = x[0, 0].numpy(), y[0, 0].numpy()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
    assert structural_similarity(x, y).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("side", [2, 3, 7, 10, 11])
def test_ssim_shrinks_its_window_on_small_images(side: int) -> None:
    x, y = noise(5, 1, 1, side, 30), noise(6, 1, 1, side, 30)
    assert structural_similarity(x, x).item() == pytest.approx(1, rel=1e-12)
    assert -1 <= structural_similarity(x, y).item() < 1
    if side == 2:
        # A window of one pixel: no variance, luminance only.
        luminance = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
        assert structural_similarity(x, y).item() == pytest.approx(luminance.mean().item(), rel=1e-9)


@pytest.mark.parametrize("measure", ON_PAIRS)
def test_comparisons_are_symmetric(measure) -> None:
    x, y = noise(7), noise(8)
    assert measure(x, y).item() == pytest.approx(measure(y, x).item(), rel=1e-12)


# --- batches, devices, degenerate images ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("levels", [(0, 0), (0, 255), (255, 255), (77, 78)])
@pytest.mark.parametrize("side", [2, 16])
def test_constant_images_never_give_nan(name: str, levels: tuple[int, int], side: int) -> None:
    metric = build_metric(name)
    source, fused = constant(levels[0], side, side), constant(levels[1], side, side)
    value = metric([source, source, fused], fused).item()
    assert not math.isnan(value)
    if isinstance(metric, FusedMetric) or name == "mi":
        assert value == pytest.approx(0, abs=1e-9)


def test_unusable_tensors_are_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        PSNR()([], noise(1))
    with pytest.raises(InputError, match=r"\(1, 1, 8, 8\).*\(1, 1, 8, 9\)"):
        SSIM()([noise(1, 1, 1, 8, 8)], noise(1, 1, 1, 8, 9))
    with pytest.raises(InputError, match="2×2"):
        build_metric("ag")([], noise(1, 1, 1, 1, 9))
    with pytest.raises(InputError, match="not"):
        build_metric("en")([], noise(1, 1, 3, 9, 9))


def test_the_worse_source_follows_the_direction() -> None:
    class Distance(SourceMetric):
        def compare(self, source, fused):
            return (source - fused).abs().mean((1, 2, 3))

    sources, fused = [constant(0), constant(51)], constant(102)
    distance = Distance()
    with pytest.raises(PluginError, match=r"Distance does not know which values are better.*build_metric"):
        distance.worst(sources, fused)
    distance.direction = "lower"
    assert distance.worst(sources, fused).item() == pytest.approx(0.4)
    assert distance(sources, fused).item() == pytest.approx(0.3)


# --- registration -----------------------------------------------------------------------------------------------


def test_builtin_metrics_are_complete() -> None:
    builtin = [entry for entry in registries().metrics if entry.owner == BUILTIN_OWNER]
    assert {entry.name for entry in builtin} >= set(NAMES)
    for entry in builtin:
        metric = registries().metrics.load(entry.name)
        assert issubclass(metric, Metric)
        assert entry.details["direction"] in ("higher", "lower")
        assert not {"name", "direction", "citation", "reference"} & set(vars(metric)), "they stand in the catalog"
        assert metric.combine in ("mean", "sum", "all at once", "fused only")
        assert (metric.combine == "fused only") == issubclass(metric, FusedMetric)
        assert len(metric.range) == 2
        assert metric.range[0] < metric.range[1]
        for text in (entry.summary, entry.citation, metric.data_range, metric.look_alikes, metric.__doc__):
            assert text.strip()


def test_the_catalog_is_what_is_registered() -> None:
    builtin = {entry.name: entry for entry in registries().metrics if entry.owner == BUILTIN_OWNER}
    assert len({facts.id for facts in METRICS}) == len(METRICS) == len(builtin)
    rows = {row["name"]: row for row in list_metrics()}
    for facts in METRICS:
        assert builtin[facts.id].citation == rows[facts.id]["citation"] == facts.citation
        assert rows[facts.id]["direction"] == facts.direction
        assert rows[facts.id]["optional"] == facts.optional


def test_a_built_metric_knows_its_name_direction_and_paper() -> None:
    metric = build_metric("mse")
    assert (metric.name, metric.direction) == ("mse", "lower")
    assert metric.citation.startswith("Jagalingam")
    assert build_metric("mse.255").name == "mse.255"
    assert MutualInformation().name == ""


def test_a_metric_that_cannot_be_built_is_named_with_its_owner() -> None:
    registry = registries().metrics
    before = registry.snapshot()
    try:
        registry.registrar("stranger")("needy", "builtins:range", direction="higher")
        with pytest.raises(PluginError, match="the metric 'needy' of stranger failed: TypeError"):
            build_metric("needy")
    finally:
        registry.restore(before)


@pytest.mark.parametrize("name", NAMES)
def test_values_lie_in_the_range(name: str) -> None:
    metric = build_metric(name)
    low, high = metric.range
    for fused in (image(checkerboard(2, 2)), image(checkerboard(3, 5)), image(ramp(4, 256, 1))):
        for source in (fused, 1 - fused, torch.zeros_like(fused)):
            assert low - 1e-9 <= metric([source], fused).item() <= high + 1e-9


# --- evaluate ---------------------------------------------------------------------------------------------------


def levels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape or (20, 26), dtype=np.uint8)


def test_evaluate_gives_the_standard_set_by_default() -> None:
    found = evaluate([levels(1), levels(2)], levels(3))
    assert list(found) == list(STANDARD)


@pytest.mark.parametrize("name", ["standard", "paper", "all"])
def test_sets_of_metrics_give_numbers(name: str) -> None:
    found = evaluate([levels(1), levels(2)], levels(3), name)
    assert list(found) == metric_names(name)
    assert all(isinstance(value, float) and not math.isnan(value) for value in found.values())


def test_ids_and_sets_mix_and_none_comes_twice() -> None:
    assert metric_names(["psnr", "paper", "sd"]) == ["psnr", *(name for name in PAPER if name != "psnr"), "sd"]


def test_evaluate_keeps_the_order_asked_for() -> None:
    assert list(evaluate([levels(1)], levels(3), ["sd", "en"])) == ["sd", "en"]
    assert list(evaluate([levels(1)], levels(3), "sd")) == ["sd"]


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.astype(np.uint16) * 257,
        lambda x: x.astype(np.int64),
        lambda x: x / 255,
        lambda x: (x / 255).astype(np.float32),
        lambda x: x[:, :, None].repeat(3, 2),
        lambda x: torch.from_numpy(x),
        lambda x: torch.from_numpy(x)[None],
        lambda x: torch.from_numpy(x / 255)[None, None].requires_grad_(),
        lambda x: torch.from_numpy(x.astype(np.int32)),
    ],
)
def test_evaluate_takes_each_form_of_image(form) -> None:
    images = [levels(1), levels(2), levels(3)]
    plain = evaluate(images[:2], images[2], NAMES)
    assert evaluate([form(images[0]), images[1]], form(images[2]), NAMES) == pytest.approx(plain, rel=1e-6)


def test_evaluate_reads_files(tmp_path) -> None:
    from PIL import Image

    paths = []
    for seed in (1, 2, 3):
        paths.append(tmp_path / f"{seed}.png")
        Image.fromarray(levels(seed)).save(paths[-1])
    found = evaluate(paths[:2], str(paths[2]), NAMES)
    assert found == pytest.approx(evaluate([levels(1), levels(2)], levels(3), NAMES), rel=1e-12)


def test_evaluate_takes_the_luminance_of_colour() -> None:
    color = levels(5, 20, 26, 3)
    luminance = (color @ np.array([0.299, 0.587, 0.114])) / 255
    found = evaluate([color], levels(3), ["psnr", "ssim"])
    assert found == pytest.approx(evaluate([luminance], levels(3), ["psnr", "ssim"]), rel=1e-6)


def test_evaluate_detailed_tells_each_source() -> None:
    sources, fused = [levels(1), levels(2), levels(3)], levels(4)
    found = evaluate_detailed(sources, fused, ["psnr", "mi", "sd"])
    alone = [evaluate([source], fused, ["psnr"])["psnr"] for source in sources]
    assert found["psnr"]["per_source"] == pytest.approx(alone, rel=1e-12)
    assert found["psnr"]["value"] == pytest.approx(sum(alone) / 3, rel=1e-12)
    assert found["psnr"]["worst"] == pytest.approx(min(alone), rel=1e-12)
    assert found["mi"]["value"] == pytest.approx(sum(found["mi"]["per_source"]), rel=1e-12)
    assert found["sd"]["per_source"] is None
    assert found["sd"]["worst"] is None


def test_evaluate_names_both_sizes() -> None:
    with pytest.raises(InputError, match=r"source 2 is 20×25 .*the fused image 20×26"):
        evaluate([levels(1), levels(1, 20, 25)], levels(2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.full((4, 4), np.nan), "source 1.*NaN"),
        (np.full((4, 4), 256), "from 256 to 256.*uint16"),
        (np.full((4, 4), -1), "uint16"),
        (np.zeros((4, 4, 4, 4)), "source 1.*shape"),
        (np.zeros((0, 4), dtype=np.int64), "2×2"),
        (torch.zeros(2, 1, 4, 4), r"\(2, 1, 4, 4\)"),
        (torch.zeros(4), r"\(4,\)"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_evaluate_refuses_unusable_images(wrong, words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate([wrong], np.zeros((4, 4), dtype=np.uint8))


def test_evaluate_wants_a_list_of_sources() -> None:
    for single in ("a.png", levels(1), torch.zeros(4, 4)):
        with pytest.raises(InputError, match="list"):
            evaluate(single, levels(1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one"):
        evaluate([], levels(1))


def test_evaluate_suggests_the_nearest_metric() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'psnr'"):
        evaluate([levels(1)], levels(2), ["psrn"])


def test_evaluate_refuses_what_is_not_a_metric() -> None:
    registry = registries().metrics
    before = registry.snapshot()
    try:
        registry.registrar("stranger")("not-a-metric", "builtins:dict", direction="higher")
        with pytest.raises(PluginError, match="'not-a-metric' of stranger"):
            evaluate([levels(1)], levels(2), ["not-a-metric"])
    finally:
        registry.restore(before)


def test_evaluate_composites_alpha_like_reading_does() -> None:
    with_alpha = np.dstack([levels(1), levels(2)])
    flat = from_pixels(with_alpha).pixels
    assert evaluate([with_alpha], levels(3), ["psnr"]) == evaluate([flat], levels(3), ["psnr"])
