"""What results, specs and models look like where Python shows them: one short line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cli import texture, write_texture

import fusekit
from fusekit.batch.run import Summary
from fusekit.evaluation.compare import compare


def test_a_fused_image() -> None:
    fused = fusekit.fuse([texture(1), texture(2, channels=3)], "pixel", rule="max")
    assert repr(fused) == "Fused(24×20, colour, uint8, 'pixel', rule 'max')"
    grey = fusekit.fuse([texture(1), texture(2)], "laplacian-pyramid")
    assert repr(grey) == "Fused(24×20, uint8, 'laplacian-pyramid')"


def test_a_summary() -> None:
    found = Summary(done=["1", "2"], failed={"3": "no"}, doubts={"share": ["1"]}, interrupted=True)
    assert repr(found) == "Summary(2 fused, 1 failed, 1 with a doubt about share, interrupted)"
    assert found.text(Path("out")) == "out: 2 fused, 1 failed, 1 with a doubt about share"
    assert repr(Summary()) == "Summary(nothing to do)"


def test_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [write_texture(Path(name), seed) for seed, name in enumerate(("ct.png", "mri.png", "fused.png"))]
    found = compare(paths[:2], {"ours": paths[2]}, ["ssim", "psnr"])
    assert repr(found) == "Comparison(1 methods, 1 images, 2 metrics)"


def test_models_and_their_specs() -> None:
    model = fusekit.load("ehdran", device="cpu", dtype="bfloat16")
    assert repr(model) == "EHDRAN('ehdran', weights ehdran.ct-mri, cpu, bfloat16)"
    assert repr(fusekit.load("pixel")) == "Pixel('pixel', cpu, float32)"
    assert repr(model.spec) == "ModelSpec('ehdran', free rule, weights ct-mri, spect-mri, pet-mri)"
    assert repr(model.spec.weights[0]) == "WeightsSpec('ct-mri', ct-mri.safetensors)"
    hub = fusekit.WeightsSpec("far", "model.safetensors", sha256="0" * 64, hub="lab/net", revision="main")
    assert repr(hub) == "WeightsSpec('far', hub:lab/net)"
