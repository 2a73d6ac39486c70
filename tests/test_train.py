"""Training: files, resumption to the bit, objectives, data, and what is refused."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_helper import run_cli, texture, write_texture

import fusekit
from fusekit.errors import TrainingError, WeightsError
from fusekit.train.data import describe, find_images, load_images, sample_batch
from fusekit.train.objectives import PrunedVGG19, gradient_loss, load_perceptual, perceptual_loss, pixel_loss
from fusekit.train.session import start_training
from fusekit.train.trainer import Recipe, Trainer
from fusekit.weights.store import read_tensors, save_tensors
from fusekit_ehdran.model import EHDRAN

SHORT = {"steps": 6, "batch": 2, "crop": 32, "perceptual_weight": 0.0}
IMAGES = [torch.from_numpy(texture(seed, 48, 48, depth="float32"))[None] for seed in range(3)]


def make_trainer(folder: Path, images: list[torch.Tensor] = IMAGES, **recipe: Any) -> Trainer:
    torch.manual_seed(0)
    return Trainer(EHDRAN(), images, Recipe(**{**SHORT, **recipe}), folder, validation=IMAGES[:1])


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="", encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder).run(log_every=1, save_every=2)
    return folder


# --- a run -------------------------------------------------------------------------------------------------------


def test_a_run_writes_weights_that_load(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"checkpoint.safetensors", "config.json", "log.csv", "weights.safetensors"}
    model = fusekit.load(finished / "weights.safetensors", device="cpu")
    assert model.spec.id == "ehdran"
    assert not model.training
    assert fusekit.fuse([texture(1), texture(2)], model).image.shape == (24, 20)
    config = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    assert config["model"] == "ehdran"
    assert config["training"]["steps"] == 6


def test_the_log_has_a_row_a_step(finished: Path) -> None:
    rows = log_rows(finished)
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["phase"] for row in rows] == ["train"] * 3 + ["settle"] * 3
    assert all(float(row["loss"]) > 0 and float(row["psnr"]) > 0 for row in rows)
    assert [bool(row["validation_psnr"]) for row in rows] == [False, True] * 3


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, finished: Path, stop_at: int) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path).run(log_every=1, save_every=2, report=stop)
    assert not (tmp_path / "weights.safetensors").exists()
    make_trainer(tmp_path).run(log_every=1, save_every=2)
    ours, theirs = (read_tensors(folder / "weights.safetensors") for folder in (tmp_path, finished))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert log_rows(tmp_path) == log_rows(finished)


def test_a_finished_run_is_left_as_it_is(finished: Path) -> None:
    before, rows = read_tensors(finished / "weights.safetensors"), log_rows(finished)
    make_trainer(finished).run(log_every=1, save_every=2)
    after = read_tensors(finished / "weights.safetensors")
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert log_rows(finished) == rows


def test_another_recipe_is_not_resumed(finished: Path) -> None:
    with pytest.raises(TrainingError, match="trained with another rate, seed; choose another output folder"):
        make_trainer(finished, rate=1e-4, seed=1).run()


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        make_trainer(tmp_path, [torch.full((1, 48, 48), torch.nan)]).run()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 0}, {"crop": 8}, {"rate": 0}, {"settle": 1.5}, {"precision": "float8"}]
)
def test_recipes_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(TrainingError):
        Recipe(**wrong)


def test_the_perceptual_term_needs_its_network(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="needs a network: give --perceptual FILE"):
        make_trainer(tmp_path, perceptual_weight=0.2)


# --- objectives --------------------------------------------------------------------------------------------------


def test_pixel_and_gradient_losses_against_loops() -> None:
    x, y = (torch.rand(1, 1, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert pixel_loss(x, y).item() == pytest.approx(((x - y) ** 2).mean().item())
    sobel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    expected = 0.0
    for kernel in (sobel, sobel.T):
        responses = []
        for image in (x, y):
            padded = np.pad(image[0, 0].numpy(), 1)
            responses.append([[abs((padded[i : i + 3, j : j + 3] * kernel).sum()) for j in range(5)] for i in range(6)])
        expected += np.mean((np.array(responses[0]) - np.array(responses[1])) ** 2)
    assert gradient_loss(x, y).item() == pytest.approx(expected)
    assert gradient_loss(x, x).item() == 0


def vgg_state() -> dict[str, torch.Tensor]:
    """Return random tensors of the shapes of a VGG-19 up to convolution 3-4, thin."""
    generator = torch.Generator().manual_seed(3)
    widths = {"conv0": (3, 3, 1), "conv11": (4, 3, 3), "conv12": (4, 4, 3), "conv21": (8, 4, 3), "conv22": (8, 8, 3)}
    widths |= {"conv31": (8, 8, 3), "conv32": (8, 8, 3), "conv33": (8, 8, 3), "conv34": (8, 8, 3)}
    state = {}
    for name, (outputs, inputs, side) in widths.items():
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side, generator=generator)
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator)
    return state


def test_the_perceptual_loss_has_gradients(tmp_path: Path) -> None:
    torch.save(vgg_state(), tmp_path / "vgg.pth")
    network = load_perceptual(tmp_path / "vgg.pth")
    assert isinstance(network, PrunedVGG19)
    assert not list(network.parameters())
    x, y = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32, requires_grad=True)
    of_x, of_y = network(x), network(y)
    assert [tuple(each.shape) for each in of_x] == [(2, 4, 32, 32), (2, 8, 16, 16), (2, 8, 8, 8)]
    loss = perceptual_loss(of_x, of_y)
    loss.backward()
    assert 0 < loss.item() < float("inf")
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    assert perceptual_loss(of_x, of_x).item() == 0


def test_a_file_without_the_layers_is_refused(tmp_path: Path) -> None:
    state = vgg_state()
    del state["conv34.weight"]
    save_tensors(state, tmp_path / "vgg.safetensors", {})
    with pytest.raises(TrainingError, match=r"has no conv34\.weight"):
        load_perceptual(tmp_path / "vgg.safetensors")
    with pytest.raises(WeightsError, match="there is no weights file"):
        load_perceptual(tmp_path / "absent.pth")


def test_training_with_the_perceptual_term(tmp_path: Path) -> None:
    network = PrunedVGG19(vgg_state(), Path("vgg")).eval()
    trainer = Trainer(EHDRAN(), IMAGES, Recipe(**{**SHORT, "perceptual_weight": 0.2}), tmp_path, perceptual=network)
    row = trainer.train_step()
    assert row["perceptual"] > 0
    assert row["loss"] == pytest.approx(row["pixel"] + 0.2 * row["gradient"] + 0.2 * row["perceptual"], rel=1e-5)


# --- data --------------------------------------------------------------------------------------------------------


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = sample_batch(IMAGES, 3, 32, seed=1, step=5)
    assert first.shape == (3, 1, 32, 32)
    torch.manual_seed(99)
    assert torch.equal(first, sample_batch(IMAGES, 3, 32, seed=1, step=5))
    assert not torch.equal(first, sample_batch(IMAGES, 3, 32, seed=1, step=6))
    assert not torch.equal(first, sample_batch(IMAGES, 3, 32, seed=2, step=5))


def test_small_images_are_padded_by_their_border() -> None:
    small = torch.arange(20 * 40, dtype=torch.float32).reshape(1, 20, 40)
    batch = sample_batch([small], 2, 32, seed=1, step=1)
    assert batch.shape == (2, 1, 32, 32)
    assert set(batch.unique().tolist()) <= set(small.unique().tolist())


def test_images_names_and_digest(tmp_path: Path) -> None:
    paths = [write_texture(tmp_path / "images" / f"{number}.png", number) for number in range(3)]
    write_texture(tmp_path / "images" / "3.png", 3, channels=3)
    assert len(find_images([tmp_path / "images"])) == 4
    (tmp_path / "names.txt").write_text("2.png\n0.png\n")
    chosen = find_images([tmp_path / "images"], tmp_path / "names.txt")
    assert chosen == [paths[2], paths[0]]
    assert describe(chosen) != describe(chosen[::-1])
    assert describe(chosen, f"{tmp_path}/list.json#/a")["names"] == "list.json#/a"
    assert str(tmp_path) not in json.dumps(describe(chosen, tmp_path / "names.txt"))
    loaded = load_images(find_images([tmp_path / "images"]), "minmax")
    assert all(image.shape == (1, 24, 20) and image.min() == 0 and image.max() == 1 for image in loaded)
    (tmp_path / "names.txt").write_text("9.png\n")
    with pytest.raises(TrainingError, match="lists '9', which none of the folders holds"):
        find_images([tmp_path / "images"], tmp_path / "names.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="no images in"):
        find_images([tmp_path / "empty"])


def test_validation_on_trained_images_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        write_texture(tmp_path / "images" / f"{number}.png", number)
    (tmp_path / "train.txt").write_text("0.png\n1.png\n")
    (tmp_path / "validate.txt").write_text("1.png\n2.png\n")
    with pytest.raises(TrainingError, match=r"1\.png is in both the training and the validation list"):
        start_training(
            [tmp_path / "images"],
            tmp_path / "run",
            Recipe(**SHORT),
            names=tmp_path / "train.txt",
            validation_names=tmp_path / "validate.txt",
            device="cpu",
        )


# --- the command -------------------------------------------------------------------------------------------------


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
    code, out, err = run_cli(["train", tmp_path / "images", "-o", tmp_path / "new"])
    assert (code, out) == (2, "")
    assert "give --perceptual FILE" in err


def test_a_run_killed_by_force_reaches_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(3):
        write_texture(tmp_path / "images" / f"{index}.png", index, 40, 40)

    def command(run: str) -> list[str]:
        options = "--steps 30 --batch 2 --crop 32 --perceptual-weight 0 --device cpu --log-every 1 --save-every 2"
        target = [str(tmp_path / "images"), "-o", str(tmp_path / run)]
        return [sys.executable, "-c", "from fusekit.cli.main import run; run()", "train", *target, *options.split()]

    killed = tmp_path / "killed"
    process = subprocess.Popen(command("killed"))
    deadline = time.monotonic() + 60
    while not (killed / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "weights.safetensors").exists()
    for run in ("killed", "whole"):
        subprocess.run(command(run), check=True, stdout=subprocess.DEVNULL)
    assert not list(killed.glob(".*"))
    first, second = (tmp_path / run / "weights.safetensors" for run in ("killed", "whole"))
    assert first.read_bytes() == second.read_bytes()
    timeless = [
        [{key: value for key, value in row.items() if key != "seconds"} for row in log_rows(tmp_path / run)]
        for run in ("killed", "whole")
    ]
    assert timeless[0] == timeless[1]
    assert len(timeless[0]) == 30
