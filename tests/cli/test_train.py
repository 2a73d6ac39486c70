"""``fusekit train`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.cli import run_cli, write_texture
from helpers.training import log_rows

import fusekit


def test_the_command_trains_and_resumes(tmp_path: Path) -> None:
    for number in range(3):
        write_texture(tmp_path / "images" / f"{number}.png", number, 40, 36)
    (tmp_path / "train.txt").write_text("0.png\n1.png\n")
    (tmp_path / "validate.txt").write_text("2.png\n")
    command = ["train", tmp_path / "images", "-o", tmp_path / "run", "--steps", 2, "--batch", 2, "--crop", 32]
    command += ["--perceptual-weight", 0, "--device", "cpu", "--log-every", 1]
    command += ["--names", tmp_path / "train.txt", "--validation-names", tmp_path / "validate.txt", "--edge", "sobel"]
    weights = tmp_path / "run" / "weights.safetensors"
    assert run_cli(command) == (0, f"{weights}\n", "")
    assert run_cli(command) == (0, f"{weights}\n", "")
    assert fusekit.load(weights, device="cpu").provenance.config["edge"] == "sobel"
    assert len(log_rows(tmp_path / "run")) == 2
    code, out, err = run_cli([*command, "--rate", "1"])
    assert (code, out) == (2, "")
    assert err.startswith("fusekit: error: ")
    assert "trained with another rate" in err
    code, out, err = run_cli([*command, "-o", tmp_path / "new", "--perceptual-weight", "0.1"])
    assert (code, out) == (2, "")
    assert "give --perceptual FILE" in err
    assert not (tmp_path / "new").exists()


def test_series_are_held_out_by_the_command(tmp_path: Path) -> None:
    for series in (2, 10, 41):
        for number in range(2):
            write_texture(tmp_path / "images" / f"{series}{number:03}.png", series + number, 36, 36)
    command = ["train", tmp_path / "images", "-o", tmp_path / "run", "--steps", 2, "--batch", 1, "--crop", 32]
    command += ["--perceptual-weight", 0, "--device", "cpu", "--save-every", 1]
    assert run_cli([*command, "--validation-series", "2,10"])[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text(encoding="utf-8"))
    assert config["training"]["data"]["series"] == ["41"]
    assert config["training"]["validation"]["series"] == ["2", "10"]
    rows = log_rows(tmp_path / "run")
    losses = {int(row["step"]): float(row["validation_loss"]) for row in rows}
    result = config["training"]["result"]
    assert result["step"] == min(losses, key=losses.get) == int(rows[-1]["best_step"])
    assert result["validation_loss"] == pytest.approx(min(losses.values()), rel=1e-5)
    code, out, err = run_cli([*command, "--validation-series", "3"])
    assert (code, out) == (2, "")
    assert "no image is of the series '3' to validate on; series: 2, 10, 41" in err
    code, _, err = run_cli([*command, "--validation-series", "10"])
    assert code == 2
    assert "trained with another data, validation; choose another output folder" in err
