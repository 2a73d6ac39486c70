"""``fusekit bench metrics``: times of metrics, alone and in a race; and metrics in bands of rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, write_texture
from helpers.metrics import load, noise

from fusekit.errors import InputError, OptionError, UnknownNameError
from fusekit.evaluation.rate import metric_names
from fusekit.metrics import levels
from fusekit.metrics import windows as local
from fusekit_bench.requests import Metrics
from fusekit_bench.speed.metrics import load_raters, sample_images, time_metrics

ADAPTER = """
import numpy as np

def deviation(a, b, f):
    assert f.dtype == np.float32 and f.max() <= 255 and (f == f.round()).all() and a.shape == b.shape == f.shape
    return np.std(f, dtype=np.float64)

METRICS = {"sd": deviation, "en": lambda a, b, f: 3.0}
UNKNOWN = {"spread": deviation}
EMPTY = {}
"""


@pytest.fixture
def adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "an_adapter.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "an_adapter"


@pytest.mark.parametrize("name", metric_names("all"))
def test_bands_give_what_whole_images_give(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = load(name)
    sources, fused = [noise(1, 2, 1, 61, 45), noise(2, 2, 1, 61, 45)], noise(3, 2, 1, 61, 45)
    whole, whole_shares = metric.rate(sources, fused)
    monkeypatch.setattr(levels, "_BAND", 45 * 7)
    monkeypatch.setattr(local, "_BAND_ROWS", 5)
    banded, banded_shares = metric.rate(sources, fused)
    assert torch.allclose(whole, banded, rtol=1e-9, atol=1e-12)
    if whole_shares is not None:
        assert torch.allclose(whole_shares, banded_shares, rtol=1e-9, atol=1e-12)


def test_bands_cover_an_image_and_share_their_halo() -> None:
    image = torch.arange(10.0)[:, None].expand(10, 2**15)
    assert [band[0][:, 0].tolist() for band in levels.bands(image)] == [[2 * i, 2 * i + 1] for i in range(5)]
    assert [len(band[0]) for band in levels.bands(image, halo=3)] == [5, 5, 5, 4]
    assert [len(band[0]) for band in levels.bands(image[:2], halo=3)] == [2]


def test_standard_set_takes_less_than_a_second_of_a_thread() -> None:
    """Also the first call; a sixth of that on the machine that this was written on."""
    found = time_metrics(Metrics(metrics=["standard"], repeats=1)).data
    assert [row["metric"] for row in found["metrics"]] == metric_names("standard")
    assert found["first"] == pytest.approx(sum(row["first"] for row in found["metrics"]))
    assert 0 < found["best"] < 1


@pytest.mark.parametrize("size", [16, 256, 300, 700])
def test_sample_images_of_any_size(size: int) -> None:
    ct, mri, fused = sample_images(size)
    assert ct.shape == mri.shape == fused.shape == (1, 1, size, size)
    assert torch.equal(fused, torch.maximum(ct, mri))
    assert torch.equal(ct[..., :16, :16], sample_images(16)[0])
    if size == 300:
        assert torch.equal(ct[..., 256, :], ct[..., 255, :])


def test_race_against_a_mapping(adapter: str) -> None:
    found, text, rows = time_metrics(Metrics(size=32, repeats=2, against=f"{adapter}:METRICS"))
    assert rows == found["metrics"]
    deviation, entropy = found["metrics"]
    assert (deviation["metric"], entropy["metric"]) == ("sd", "en")
    assert deviation["deviation"] < 1e-9
    assert deviation["their_value"] == pytest.approx(np.std(sample_images(32)[2].numpy() * 255))
    assert deviation["ratio"] == pytest.approx(deviation["theirs"] / deviation["best"])
    assert "| equal |" in text
    assert f"another definition: {entropy['value']:.4f}, 3.0000" in text
    assert "all of both" in text
    assert torch.get_num_threads() >= 1


def test_raters_that_cannot_be_used(adapter: str) -> None:
    assert list(load_raters(f"{adapter}:METRICS")) == ["sd", "en"]
    for target, message in (
        (adapter, "takes MODULE:ATTRIBUTE"),
        (f"{adapter}:NONE", "cannot be imported: AttributeError"),
        ("no_such_module:X", "cannot be imported: ModuleNotFoundError"),
        (f"{adapter}:EMPTY", "is not a mapping"),
        (f"{adapter}:deviation", "is not a mapping"),
    ):
        with pytest.raises(OptionError, match=message):
            load_raters(target)
    with pytest.raises(UnknownNameError, match="spread"):
        load_raters(f"{adapter}:UNKNOWN")


def test_command_prints_times_of_given_images(tmp_path: Path) -> None:
    paths = [write_texture(tmp_path / f"{letter}.png", seed) for seed, letter in enumerate("abf")]
    done = run_cli(["bench", "metrics", *paths, "--metrics", "en,sd", "--repeats", 1, "--json"])
    found = json.loads(done.out)
    assert (done.code, found["size"], found["images"]) == (0, [24, 20], "given")
    done = run_cli(["bench", "metrics", "--metrics", "en,sd", "--size", 32, "--dtype", "float32"])
    assert done.code == 0
    assert "32×32 pixels (the embedded sample), float32, 1 thread of" in done.out
    assert "| all |" in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", 8], "sides of 16 or more"),
        (["--threads", 0], "1 or more"),
        (["--metrics", "sdd"], "did you mean 'sd'"),
        (["one.png"], "three images"),
    ],
)
def test_options_that_cannot_be_used(arguments: list[object], message: str) -> None:
    done = run_cli(["bench", "metrics", *arguments])
    assert done.code == 2
    assert message in done.err


def test_images_of_different_sizes(tmp_path: Path) -> None:
    paths = [write_texture(tmp_path / f"{i}.png", i, 24, 20 + (i == 1)) for i in range(3)]
    with pytest.raises(InputError, match=r"1\.png and .*2\.png are of different sizes"):
        time_metrics(Metrics(metrics=["en"], images=paths))
