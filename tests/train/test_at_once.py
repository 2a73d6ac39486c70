"""Training that works at once: no option is needed, a run is weights, more steps go on, and weights may begin one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import Outcome, run_cli, texture, write_texture
from helpers.training import log_rows, make_trainer, same_tensors, training

import fusekit
from fusekit.errors import FusekitWarning, OptionError, OutputError, TrainingError, WeightsError
from fusekit.train.processes import find_processes
from fusekit.train.recipe import PERCEPTUAL_WEIGHT, Recipe
from fusekit.weights.folders import weights_in
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import read_tensors, save_tensors, save_weights
from fusekit_ehdran.model import DILRAN, EHDRAN

TINY = ["--encoder", "dran", "--decoder", "conv3", "--encoder-option", "channels=2"]
QUICK = ["--batch", "1", "--crop", "32", "--device", "cpu"]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two folders of four series of five slices, and work where they are."""
    monkeypatch.chdir(tmp_path)
    for series, count in ((1, 12), (2, 5), (3, 3), (41, 7)):
        for number in range(count):
            for folder in ("ct", "mri"):
                write_texture(tmp_path / folder / f"{series}{number:03}.png", 50 * series + number, 34, 33)
    return tmp_path


def train(*more: object, parts: list[str] = TINY) -> Outcome:
    return run_cli(["train", "ct", "mri", "-o", "run", *QUICK, *parts, *more])


def facts(folder: str = "run") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())["training"]
    return found


# --- without further options ---------------------------------------------------------------------------------------


def test_folders_and_an_output_are_enough(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Recipe.__dataclass_fields__["steps"].default
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def stop(self: Any) -> dict[str, Any]:
        self.progress = replace(self.progress, step=self.step + 1)
        if self.step > 1:
            raise KeyboardInterrupt
        return {"step": self.step, "phase": "train", "rate": 0.1, "loss": 1.0}

    monkeypatch.setattr("fusekit.train.trainer.Trainer.train_step", stop)
    code, out, err = run_cli(["train", "ct", "mri", "-o", "run", "--device", "cpu"])
    assert (code, out) == (130, "")
    perceptual, series, plan, end = filter(None, err.splitlines())
    assert end == "fusekit: interrupted"
    assert perceptual.startswith(
        "fusekit: warning: the perceptual term is left out of the objective, as no network for"
    )
    assert "--perceptual vgg16_bn" in perceptual
    assert "--perceptual-weight 0" in perceptual
    assert series.startswith(
        "fusekit: warning: the series '3' (6 of 54 images) is held out, to choose the best weights"
    )
    assert "--validation-series" in series
    assert plan == f"fusekit: training ehdran for {steps} steps on 48 images; --steps sets another number"


def test_what_was_left_to_the_defaults_stands_in_the_record(folders: Path) -> None:
    code, _, err = train("--steps", "1")
    assert code == 0
    assert len(err.splitlines()) == 2
    assert facts()["perceptual_weight"] == 0
    assert "perceptual" not in facts()
    assert facts()["validation"]["series"] == ["3"]
    assert facts()["data"]["series"] == ["1", "2", "41"]
    card = Path("run/README.md").read_text()
    assert "--validation-series 3 " in card
    assert "| objective | mean squared error of the reconstruction + 0.2 × gradient |" in card


def test_who_says_it_is_told_nothing(folders: Path) -> None:
    told = ["--perceptual-weight", "0", "--validation-series", "none", "--steps", "1"]
    assert train(*told) == (0, "run/weights.safetensors\n", "")
    assert "validation" not in facts()
    assert "--validation-series none" in Path("run/README.md").read_text()
    # The same words go on with it, others do not.
    assert train(*told) == (0, "run/weights.safetensors\n", "")
    code, _, err = train("--perceptual-weight", "0", "--steps", "1")
    assert code == 2
    assert "was trained with another data, validation" in err


NAMES = {
    "each name a series of its own": [f"p{number}" for number in range(12)],
    "one series": [f"7{number:03}" for number in range(12)],
    "two halves": [f"{series}{number:03}" for series in (1, 2) for number in range(6)],
}


@pytest.mark.parametrize("case", NAMES)
def test_where_names_tell_no_series_nothing_is_held_out_and_a_line_says_so(case: str, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES[case]):
        write_texture(tmp_path / "ct" / f"{name}.png", number, 34, 33)
    recipe = Recipe(steps=1, batch=1, crop=32, perceptual_weight=0)
    trainer = training([tmp_path / "ct"], tmp_path / "run", recipe, device="cpu")
    assert (len(trainer.examples), trainer.validation) == (12, [])
    with pytest.warns(FusekitWarning, match="no image is held out.* the last weights will be the final ones"):
        trainer.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        training([tmp_path / "ct"], tmp_path / "run", recipe, device="cpu").run()


def test_the_output_is_not_one_of_the_folders(folders: Path) -> None:
    with pytest.raises(OutputError, match="the output folder ct is one of the folders of images"):
        training([Path("ct"), Path("mri")], Path("ct"), Recipe(), device="cpu")


def test_the_weight_of_the_perceptual_term_follows_its_network() -> None:
    assert Recipe().weighed(True).perceptual_weight == PERCEPTUAL_WEIGHT
    assert Recipe().weighed(False).perceptual_weight == 0
    assert Recipe(perceptual_weight=0.5).weighed(True).perceptual_weight == 0.5
    with pytest.raises(TrainingError, match="needs a network: give --perceptual FILE"):
        Recipe(perceptual_weight=0.5).weighed(False)


# --- a run is weights ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    make_trainer(folder).run(save_every=2)
    return folder


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return the folder of a run that was stopped after five of six steps, four of them in its checkpoint."""

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path / "stopped").run(save_every=2, report=stop)
    return tmp_path / "stopped"


def loaded(**choices: Any) -> dict[str, torch.Tensor]:
    return fusekit.load(device="cpu", **choices).state_dict()


@pytest.mark.filterwarnings("error::fusekit.errors.FusekitWarning")
def test_the_folder_of_a_run_is_what_weights_takes(run: Path, tmp_path: Path) -> None:
    wanted = read_tensors(run / "weights.safetensors")
    for choices in ({"name": run}, {"name": "ehdran", "weights": run}, {"weights": str(run)}):
        found = loaded(**choices)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    record = fusekit.fuse([texture(1), texture(2)], weights=run, device="cpu").record
    assert record["weights"]["name"] == "weights.safetensors"
    assert record["model"]["name"] == "ehdran"


def test_the_command_takes_a_run_by_a_bare_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    for name in ("a", "b"):
        write_texture(tmp_path / f"{name}.png", ord(name))
    pair = ["fuse", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out.png"]
    assert run_cli([*pair, "--weights", run.name]) == (0, f"{tmp_path / 'out.png'}\n", "")
    assert run_cli([*pair, "--overwrite", "--model", "ehdran", "--weights", f"{run.name}/"]).code == 0


def test_a_run_that_has_not_ended_says_which_of_its_weights_are_taken(stopped: Path) -> None:
    best = read_metadata(stopped / "checkpoint.safetensors")["best"]["step"]
    tensors = read_tensors(stopped / "checkpoint.safetensors")
    line = rf"has not ended \(step 4 of 6\); its best weights so far by validation, those of step {best}, are taken"
    for name in (stopped, stopped / "checkpoint.safetensors"):
        with pytest.warns(FusekitWarning, match=line):
            model = fusekit.load(name, device="cpu")
        assert all(torch.equal(value, tensors[f"best.{key}"]) for key, value in model.state_dict().items())
    with pytest.warns(FusekitWarning, match=line):
        record = fusekit.fuse([texture(1), texture(2)], weights=stopped, device="cpu").record
    assert "has not ended" in record["model"]["notes"][0]
    assert record["weights"]["name"] == "checkpoint.safetensors"


def test_without_validation_the_last_weights_of_a_checkpoint_are_taken(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.validation = []
    trainer.run(save_every=2)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.warns(FusekitWarning, match=r"\(step 6 of 6\); its last weights are taken"):
        found = loaded(name=tmp_path)
    tensors = read_tensors(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(found[key], tensors[f"model.{key}"]) for key in found)


def test_folders_that_hold_no_weights_say_what_they_lack(tmp_path: Path, run: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors, .* and no weights\.safetensors"):
        weights_in(tmp_path)
    (tmp_path / "config.json").write_text('{"model": "ehdran", "training": {}}')
    with pytest.raises(WeightsError, match="has not ended, and has no checkpoint yet"):
        weights_in(tmp_path)
    save_weights(model := EHDRAN(), tmp_path / "model.safetensors", model.header)
    assert weights_in(tmp_path).path.name == "model.safetensors"
    (tmp_path / "weights.safetensors").write_bytes((run / "weights.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=r"holds both model\.safetensors and weights\.safetensors; name one"):
        weights_in(tmp_path)


# --- more steps ----------------------------------------------------------------------------------------------------


def test_more_steps_go_on_with_a_finished_run(folders: Path) -> None:
    assert train("--steps", "4", "--log-every", "1", "--save-every", "2").code == 0
    first = log_rows(Path("run"))
    code, out, _ = train("--steps", "8", "--log-every", "1", "--save-every", "2")
    assert (code, out) == (0, "run/weights.safetensors\n")
    rows = log_rows(Path("run"))
    assert rows[:4] == first
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    # The rest is that of a run of eight steps: the rate rises to where it would be, and ends at 1 %.
    recipe = Recipe(steps=8)
    assert [float(row["rate"]) for row in rows[4:]] == pytest.approx(
        [recipe.learning_rate(step) for step in range(4, 8)], rel=1e-4
    )
    assert {row["phase"] for row in rows[4:]} == {"settle"}
    assert facts()["steps"] == 8
    assert facts()["extended"] == [{"after": 4, "steps": 4}]
    assert read_metadata(Path("run/weights.safetensors"))["training"]["extended"] == [{"after": 4, "steps": 4}]
    card = Path("run/README.md").read_text()
    assert "8 steps (first 4) of 1 crops" in card
    commands = [line for line in card.splitlines() if line.startswith("    fusekit train")]
    assert ["--steps 4 " in commands[0], "--steps 8 " in commands[1], len(commands)] == [True, True, 2]


@pytest.mark.slow
def test_a_continued_run_that_is_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 9:
            raise KeyboardInterrupt

    for folder, interrupted in (("whole", False), ("stopped", True)):
        make_trainer(tmp_path / folder).run(log_every=1, save_every=2)
        if interrupted:
            with pytest.raises(KeyboardInterrupt):
                make_trainer(tmp_path / folder, steps=12).run(log_every=1, save_every=2, report=stop)
            before = read_tensors(tmp_path / folder / "weights.safetensors")
            with pytest.warns(FusekitWarning, match=r"was given more steps and has not ended \(step 8 of 12\); the"):
                found = loaded(name=tmp_path / folder)
            assert all(torch.equal(found[key], before[key]) for key in found)
        make_trainer(tmp_path / folder, steps=12).run(log_every=1, save_every=2)
    assert same_tensors(tmp_path / "whole" / "weights.safetensors", tmp_path / "stopped" / "weights.safetensors")
    assert log_rows(tmp_path / "whole") == log_rows(tmp_path / "stopped")
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        fusekit.load(tmp_path / "whole", device="cpu")


def test_fewer_steps_than_done_are_refused_and_fewer_than_planned_are_not(stopped: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"has done 4 steps already, and --steps 3 asks for fewer; choose --steps 4"
    ):
        make_trainer(stopped, steps=3).run()
    assert not (stopped / "weights.safetensors").exists()
    make_trainer(stopped, steps=4).run(save_every=2)
    training_facts = read_metadata(stopped / "weights.safetensors")["training"]
    assert training_facts["steps"] == 4
    assert training_facts["extended"] == [{"after": 4, "steps": 6}]
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        fusekit.load(stopped, device="cpu")
    # Back to what was planned at first: as if nothing had been said in between.
    make_trainer(stopped, steps=6).run(save_every=2)
    assert "extended" not in read_metadata(stopped / "weights.safetensors")["training"]


def test_any_other_change_is_refused_by_name_with_more_steps_too(run: Path) -> None:
    with pytest.raises(TrainingError, match="trained with another rate; choose another output folder"):
        make_trainer(run, steps=12, rate=1e-4).run()
    other = make_trainer(run, steps=12)
    other.about = {"validation": {"images": 3}}
    with pytest.raises(TrainingError, match="trained with another validation; "):
        other.run()


def test_what_a_run_had_and_is_not_asked_for_again_is_a_change(tmp_path: Path) -> None:
    first = make_trainer(tmp_path)
    first.about = {"scanner": "another"}
    first.run(save_every=2)
    with pytest.raises(TrainingError, match="trained with another scanner; "):
        make_trainer(tmp_path).run()


def test_a_damaged_checkpoint_is_one_line(run: Path, tmp_path: Path) -> None:
    metadata, tensors = read_metadata(run / "checkpoint.safetensors"), read_tensors(run / "checkpoint.safetensors")
    lacking = {key: value for key, value in tensors.items() if not key.startswith("adam.exp_avg.")}
    for number, (kept, said) in enumerate(
        [
            (lacking, metadata),
            (tensors, {**metadata, "step": "four"}),
            (tensors, {**metadata, "extended": [{"after": []}]}),
            (tensors, {**metadata, "best": {"step": 2}}),
            ({key: each for key, each in tensors.items() if key.startswith("adam.")}, metadata),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        save_tensors(kept, folder / "checkpoint.safetensors", said)
        with pytest.raises(WeightsError, match=r"checkpoint\.safetensors"):
            make_trainer(folder).run()


# --- from weights --------------------------------------------------------------------------------------------------


@pytest.fixture
def named() -> Iterator[None]:
    """Say what is held out and that there is no perceptual term, so that no line need say it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        yield


def fine_tune(init: object, output: str = "tuned", **choices: Any) -> Any:
    recipe = Recipe(steps=2, batch=1, crop=32, perceptual_weight=0, seed=7)
    return training([Path("ct")], Path(output), recipe, device="cpu", validation_series=["none"], init=init, **choices)


@pytest.mark.usefixtures("named")
def test_a_run_begins_from_weights_and_records_them(folders: Path, run: Path) -> None:
    start = read_tensors(run / "weights.safetensors")
    for init, parts in ((run, {}), (run / "weights.safetensors", {"model": "ehdran"}), (str(run), {"edge": "drgo"})):
        trainer = fine_tune(init, **parts)
        assert all(torch.equal(value, start[key]) for key, value in trainer.model.state_dict().items())
    trainer.run()
    origin = facts("tuned")["init"]
    assert origin["name"] == "weights.safetensors"
    assert read_metadata(Path("tuned/weights.safetensors"))["training"]["init"] == origin
    card = Path("tuned/README.md").read_text()
    assert f"| started from | `weights.safetensors`, sha256 `{origin['sha256']}` |" in card
    assert "--init DATA/weights.safetensors" in card


def test_the_weights_that_a_run_began_from_belong_to_it(folders: Path, run: Path, tmp_path: Path) -> None:
    fine_tune(run).run()
    fine_tune(run).run()
    with pytest.raises(TrainingError, match="trained with another init; choose another output folder"):
        fine_tune(None).run()
    torch.manual_seed(5)
    save_weights(model := EHDRAN(), tmp_path / "other.safetensors", model.header)
    with pytest.raises(TrainingError, match="trained with another init; "):
        fine_tune(tmp_path / "other.safetensors").run()
    with pytest.raises(
        TrainingError, match="lies in the folder of the run itself; to go on with the run, give it more"
    ):
        fine_tune("tuned", "tuned")


def test_tags_and_what_the_weights_say_of_their_network(folders: Path) -> None:
    assert fine_tune("ct-mri").about["init"]["name"] == "ehdran.ct-mri"
    assert fine_tune("ct-mri", model="dilran").about["init"]["name"] == "dilran.ct-mri"
    assert train("--steps", "1").code == 0
    trainer = fine_tune("run")
    assert trainer.model.spec.id == "composed"
    assert trainer.model.config["encoder_options"] == {"channels": 2}
    parts: dict[str, Any] = {"encoder": "dran", "decoder": "conv3", "encoder_options": {"channels": 2}}
    assert fine_tune("run", **parts).model.config == trainer.model.config


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"edge": "sobel"}, WeightsError, "was trained with edge 'drgo', and 'sobel' is asked for; leave out --edge"),
        (
            {"encoder_options": {"dilations": [1, 2, 3]}},
            WeightsError,
            "trained with encoder options .*--encoder-option",
        ),
        ({"model": "dilran"}, WeightsError, "holds weights of the model 'ehdran', not of 'dilran'"),
        ({"encoder": "dran", "decoder": "conv3"}, WeightsError, "of the model 'ehdran', not of 'composed'"),
        ({"model": "ehdran", "encoder": "dran"}, OptionError, "has its own encoder and decoder"),
    ],
)
def test_another_network_than_the_weights_is_one_line(
    choices: dict[str, Any], error: type[Exception], message: str, folders: Path, run: Path
) -> None:
    with pytest.raises(error, match=message):
        fine_tune(run, **choices)
    assert not Path("tuned").exists()


def test_bare_weights_must_fit(folders: Path, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "a.pth")
    for path, model, message in (
        (tmp_path / "dilran.safetensors", DILRAN(), "does not fit the model 'ehdran'"),
        (tmp_path / "ehdran.safetensors", EHDRAN(), ""),
    ):
        save_tensors(model.state_dict(), path, {})
        if message:
            with pytest.raises(WeightsError, match=message):
                fine_tune(path)
        else:
            assert isinstance(fine_tune(path).model, EHDRAN)
    with pytest.raises(WeightsError, match="is a pickled checkpoint, which fusekit does not load"):
        fine_tune(tmp_path / "a.pth")


def test_the_command_begins_from_weights(folders: Path, run: Path) -> None:
    more = ["--perceptual-weight", "0", "--validation-series", "none", "--steps", "1"]
    assert train("--init", run, *more, parts=[]) == (0, "run/weights.safetensors\n", "")
    code, out, err = train("--init", run, "--edge", "scharr", *more, parts=[])
    assert (code, out) == (2, "")
    assert err.startswith("fusekit: error: ")
    assert len(err.splitlines()) == 1


def test_only_the_main_process_says_what_was_left_to_defaults(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusekit.train import trainer

    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "find_processes", lambda device: replace(find_processes(device), index=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        started = training([Path("ct")], Path("run"), Recipe(steps=1, crop=32), device="cpu")
        monkeypatch.setattr(started, "train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            started.run()
