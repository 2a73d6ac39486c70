"""The distances of a network's features: of a tiny network, of weights that are missing, and of the real one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.cli import run_cli, write_texture
from helpers.metrics import check_entry, image, noise
from helpers.paths import SHARED
from torch import Tensor, nn

from fusekit.errors import InputError, WeightsError
from fusekit.evaluation.rate import evaluate, evaluate_detailed, metric_names
from fusekit.machine.files import sha256_of
from fusekit.metrics import lpips
from fusekit.metrics.lpips import LearnedDistance, feature_distances
from fusekit.metrics.vgg import PrunedVGG19

PRUNED = SHARED / "data" / "perceptual" / "vgg19_16x_relu4_1.pth"
WIDTHS = {"conv0": (3, 3, 1), "conv11": (2, 3, 3), "conv12": (2, 2, 3), "conv21": (3, 2, 3), "conv22": (3, 3, 3),
          "conv31": (4, 3, 3), "conv32": (4, 4, 3), "conv33": (4, 4, 3), "conv34": (4, 4, 3)}  # fmt: skip


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, (out, into, side) in WIDTHS.items():
        found[f"{name}.weight"] = torch.randn(out, into, side, side, generator=generator)
        found[f"{name}.bias"] = torch.randn(out, generator=generator)
    return found


class TinyDistance(LearnedDistance):
    """Of a tiny network of random weights."""

    name, direction = "lpips.tiny", "lower"
    network = "random"
    look_alikes = "none"

    def load(self) -> nn.Module:
        return PrunedVGG19(state(), Path("tiny"))


def test_distance_is_the_sum_of_the_layers_mean_squares() -> None:
    class TwoLayers(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [torch.cat([x, 1 - x], 1), torch.cat([-x, x], 1)]

    x, y = image([[0, 255], [0, 0]]), image([[0, 0], [255, 0]])
    # First layer: (0, 1) against (1, 0) in two of four pixels; second: the ReLU leaves (0, 1) against nothing there.
    assert feature_distances(TwoLayers(), [x, y], y).flatten().tolist() == pytest.approx([2 / 4 * 2 + 2 / 4 * 1, 0])


def test_properties_of_a_distance() -> None:
    metric = TinyDistance()
    sources, fused = [noise(1, 3, 1, 20, 17), noise(2, 3, 1, 20, 17), noise(3, 3, 1, 20, 17)], noise(4, 3, 1, 20, 17)
    value, shares = metric.rate(sources, fused)
    assert value.tolist() == pytest.approx(shares.mean(0).tolist())
    assert torch.equal(metric.worst(sources, fused), shares.amax(0))
    assert (shares > 0).all()
    assert (shares <= metric.range[1]).all()
    for index, source in enumerate(sources):
        alone = metric([source[1:2]], fused[1:2]).item()
        assert alone == pytest.approx(shares[index, 1].item(), rel=1e-4)
        assert metric([fused], source).tolist() == pytest.approx(shares[index].tolist(), rel=1e-4)
    assert metric([fused], fused).tolist() == [0, 0, 0]
    for level in (0, 1):
        flat = torch.full((1, 1, 8, 8), float(level), dtype=torch.float64)
        assert math.isfinite(metric([flat, 1 - flat], flat).item())
    with pytest.raises(InputError, match="at least 8×8 pixels, not 7×20"):
        metric([noise(1, 1, 1, 7, 20)], noise(2, 1, 1, 7, 20))


def test_learned_distances_are_never_meant_by_a_set() -> None:
    for name in ("standard", "paper", "all"):
        assert not [each for each in metric_names(name) if each.startswith("lpips")]
    assert metric_names(["sd", "lpips.vgg16"]) == ["sd", "lpips.vgg16"]


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_texture(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    arguments = ["evaluate", *paths[:2], "--fused", paths[2], "--metrics", "lpips.vgg19-pruned"]
    monkeypatch.delenv(lpips.VARIABLE, raising=False)
    done = run_cli(arguments)
    assert done.code == 2
    assert "FUSEKIT_PERCEPTUAL is not set" in done.err
    assert "Collaborative-Distillation; set FUSEKIT_PERCEPTUAL to its path" in done.err
    monkeypatch.setenv(lpips.VARIABLE, str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match=r"there is no file .*none\.pth"):
        evaluate(paths[:2], paths[2], "lpips.vgg19-pruned")
    other = tmp_path / "other.pth"
    torch.save({"model": state()}, other)
    monkeypatch.setenv(lpips.VARIABLE, str(other))
    with pytest.raises(WeightsError, match="is another file"):
        evaluate(paths[:2], paths[2], "lpips.vgg19-pruned")


def test_weights_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"model": state()}, path)
    monkeypatch.setenv(lpips.VARIABLE, str(path))
    monkeypatch.setattr(lpips, "_PRUNED_DIGEST", sha256_of(path))
    sources, fused = [noise(1), noise(2)], noise(3)
    found = evaluate_detailed(sources, fused, "lpips.vgg19-pruned")["lpips.vgg19-pruned"]
    assert found["value"] == pytest.approx(TinyDistance()(sources, fused).item(), rel=1e-5)
    assert found["worst"] == max(found["per_source"])
    check_entry("lpips.vgg19-pruned")


def test_vgg16_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(source: str) -> nn.Module:
        asked.append(source)
        return PrunedVGG19(state(), Path("tiny"))

    lpips._vgg16.cache_clear()
    monkeypatch.setattr(lpips, "load_perceptual", load)
    assert evaluate([noise(1)], noise(2), "lpips.vgg16")["lpips.vgg16"] > 0
    assert asked == ["vgg16"]
    lpips._vgg16.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(not PRUNED.is_file(), reason="the pruned VGG-19 is not here; FUSEKIT_SHARED names its folder")
def test_distance_grows_with_blur_and_with_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    from fusekit.evaluation.rate import read_luminance
    from fusekit.images import samples

    monkeypatch.setenv(lpips.VARIABLE, str(PRUNED))
    picture = read_luminance(samples.path("mri"))
    generator = torch.Generator().manual_seed(1)
    rough = torch.randn(picture.shape, generator=generator, dtype=torch.float64)
    blurred = [F.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False) for side in (1, 3, 5, 9)]
    noisy = [(picture + strength * rough).clamp(0, 1) for strength in (0, 0.02, 0.05, 0.1)]
    for images in (blurred, noisy):
        values = [evaluate([picture], each.clamp(0, 1), "lpips.vgg19-pruned")["lpips.vgg19-pruned"] for each in images]
        assert values[0] == pytest.approx(0, abs=1e-9)
        assert values == sorted(values)
        assert values[1] > 0.01
