"""The protocols of ``fusekit bench quality``: splits, and the trainings of the draws and of the ablation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.cli import run_cli
from helpers.datasets import write_data

import fusekit
from fusekit.cases.datasets import Dataset, read_datasets
from fusekit.errors import OptionError, TrainingError
from fusekit.models.base import EncoderDecoder
from fusekit.train.recipe import Recipe
from fusekit.weights.metadata import read_metadata
from fusekit_bench.cards import reconstruction_psnr
from fusekit_bench.quality.export import result
from fusekit_bench.quality.methods import RECONSTRUCTION, Measure
from fusekit_bench.quality.protocols import draw_split, series_split, spread
from fusekit_bench.quality.runner import run
from fusekit_bench.quality.table import summary, values
from fusekit_bench.requests import Quality

pytest.importorskip("pandas", reason="the table needs the extra bench")

RECIPE = Recipe(steps=2, batch=2, crop=16, perceptual_weight=0)


def tiny(root: Path, **changes: Any) -> Dataset:
    return read_datasets(write_data(root, **changes))["tiny"]


def test_a_series_is_held_out_to_validate_on(tmp_path: Path) -> None:
    dataset = tiny(tmp_path)
    lists = tmp_path / "lists.json"
    lists.write_text(json.dumps({"train": ["1000", "1001", "1002", "2000", "2001"], "test": ["3000"]}))
    split = series_split(dataset, ["3000"])
    assert (split.train, split.validation, split.test) == (["1000", "1001", "1002"], ["2000", "2001"], ["3000"])


def test_draws_keep_test_validation_and_training_apart(tmp_path: Path) -> None:
    dataset = tiny(tmp_path)
    splits = [draw_split(dataset, seed) for seed in (1, 2, 3)]
    for split in splits:
        assert len(split.test) == 2
        assert not set(split.train) & set(split.test) | set(split.train) & set(split.validation)
        assert not set(split.test) & set(split.validation)
        assert {name[0] for name in split.train}.isdisjoint(name[0] for name in split.validation)
        assert len(split.train) + len(split.validation) + len(split.test) == 9
    assert len({tuple(split.test) for split in splits}) > 1
    assert draw_split(dataset, 1) == splits[0]


def test_a_tenth_is_held_out_where_series_are_unknown(tmp_path: Path) -> None:
    split = draw_split(tiny(tmp_path, series=None), 1)
    assert (len(split.train), len(split.validation), len(split.test)) == (6, 1, 2)


def test_draws_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="states no 'draw'"):
        draw_split(tiny(tmp_path, draw=None), 1)
    with pytest.raises(OptionError, match="has 9 pairs, too few to draw 8"):
        draw_split(tiny(tmp_path, draw=8), 1)
    dataset = tiny(tmp_path)
    (tmp_path / "lists.json").write_text(json.dumps({"train": ["1000"], "test": ["3000"]}))
    with pytest.raises(TrainingError, match="leaves 1 pairs"):
        series_split(dataset, ["3000"])


def test_names_are_spread_evenly() -> None:
    names = [str(number) for number in range(100)]
    assert spread(names, 4) == ["12", "37", "62", "87"]
    assert spread(names[:2], 4) == ["0", "1"]


@pytest.mark.slow
def test_each_draw_has_a_training_of_its_own(tmp_path: Path) -> None:
    data, output = write_data(tmp_path / "data"), tmp_path / "out"
    request = Quality(
        data,
        output,
        protocol="paper",
        methods=["ehdran:max", "pixel:max"],
        metrics=["scd"],
        seeds=(7, 8),
        recipe=RECIPE,
        device="cpu",
    )
    table = run(request)
    row, pixel = table.rows
    assert list(row.ratings) == ["draw 1", "draw 2"]
    dataset = read_datasets(data)["tiny"]
    for number, seed in ((1, 7), (2, 8)):
        split = draw_split(dataset, seed)
        assert sorted(row.ratings[f"draw {number}"]) == sorted(pixel.ratings[f"draw {number}"]) == split.test
        folder = output / "runs" / "tiny" / f"draw-{number}" / "ehdran"
        assert (folder / "train.txt").read_text().split() == split.train
        training = read_metadata(folder / "weights.safetensors")["training"]
        assert (training["steps"], training["seed"], training["data"]["images"]) == (2, seed, 2 * len(split.train))
    assert len(set(row.weights())) == 2
    assert pixel.weights() == []
    scd = Measure("scd")
    means = [sum(image["scd"]["value"] for image in images.values()) / len(images) for images in row.ratings.values()]
    assert list(values([row], [scd])["scd"]) == pytest.approx(means)
    assert summary([row], [scd]).at[row.name, ("std", "scd")] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    text = result(table, "x").text
    assert "(drawn with seed 7; drawn with seed 8)" in text
    assert "Means over draw 1, draw 2, ± their standard deviation." in text
    assert "2 steps of 2 crops of 16×16" in text
    again = run(request)
    assert again.rows[0].weights() == row.weights(), "a finished training is not begun anew"


@pytest.mark.slow
def test_the_rows_of_the_ablation_differ_in_one_thing_each(tmp_path: Path) -> None:
    data, output = write_data(tmp_path / "data"), tmp_path / "out"
    request = Quality(
        data, output, ablation=True, metrics=["scd"], rules=["max"], seeds=(7,), recipe=RECIPE, device="cpu"
    )
    table = run(request)
    assert [row.method.name for row in table.rows] == [
        "base · max",
        "base + L_grad · max",
        "base + L_grad + DRGO · max",
    ]
    headers = [read_metadata(Path(row.method.weights or "")) for row in table.rows]
    assert [header["config"]["edge"] for header in headers] == ["none", "none", "drgo"]
    assert [header["training"]["gradient_weight"] for header in headers] == [0.0, 0.2, 0.2]
    for key in ("steps", "batch", "crop", "rate", "seed", "settle", "precision", "data"):
        assert headers[0]["training"][key] == headers[1]["training"][key] == headers[2]["training"][key]
    model = fusekit.load(table.rows[0].method.weights or "", device="cpu")
    assert isinstance(model, EncoderDecoder)
    values = [reconstruction_psnr(model, data / folder / "3001.png") for folder in ("pet", "mri")]
    rating = table.rows[0].ratings["seed 7"]["3001"][RECONSTRUCTION.name]
    assert rating["per_source"] == pytest.approx(values)
    assert rating["value"] == pytest.approx(sum(values) / 2)
    text = result(table, "x").text
    assert "| method | scd ↑ | reconstruction, dB ↑ |" in text
    assert "Seed 7: means over the pairs, ± their standard deviation. Trained on 3 pairs, 3 to choose" in text


@pytest.mark.slow
def test_the_command_trains_with_the_recipe_it_was_given(tmp_path: Path) -> None:
    data, output = write_data(tmp_path / "data"), tmp_path / "out"
    words = ["bench", "quality", "--data", data, "--ablation", "--seeds", "3", "--rules", "max", "--metrics", "paper"]
    words += ["--steps", "2", "--batch", "1", "--crop", "16", "--device", "cpu", "-o", output, "--no-figures"]
    code, _, err = run_cli(words)
    assert code == 2
    assert "give --perceptual FILE, or set --perceptual-weight 0" in err
    code, out, err = run_cli([*words, "--perceptual-weight", "0"])
    assert code == 0
    assert "fusekit: training tiny, seed-3, base+L_grad+DRGO: 2" in err.splitlines()
    assert "--ablation --metrics paper --rules max --seeds 3 --device cpu --steps 2 --batch 1 --crop 16" in out
    assert "| *paper: base + L_grad + DRGO* | *16.830 ± 0.490* | *0.753 ± 0.007* |" in out
    code, _, err = run_cli([*words, "--perceptual-weight", "0", "--rate", "0.5"])
    assert code == 2
    assert "was trained with another rate" in err
