"""Every choice once: each field of the option classes in Python, in the commands and in the record."""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.cli import run_cli, texture, write_texture
from helpers.models import TinyJoint
from helpers.pictures import tiff_bytes

import fusekit
from fusekit import FuseOptions, LoadOptions, RunOptions
from fusekit.cases.roles import check_roles, in_order_of_roles, numbered
from fusekit.cli.fuse import fuse as fuse_command
from fusekit.cli.options import flag_of, made_of, options_of
from fusekit.cli.train import train as train_command
from fusekit.errors import DeviceError, FusekitWarning, InputError, OptionError, RuleError, UnknownNameError
from fusekit.models.base import FusionModel
from fusekit.options import (
    Choices,
    FolderChoices,
    FuseChoices,
    LoadChoices,
    RunChoices,
    chosen_names,
    default_of,
    overridden,
)
from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.recipe import Recipe

#: A choice of each field that is not its default and that the model ``ehdran`` can serve on any machine.
LOADING: dict[str, Any] = {
    "weights": "ct-mri",
    "modality": "ct,mri",
    "edge": "drgo",
    "encoder_options": {"dilations": [1, 3, 5]},
    "device": "cpu",
    "dtype": "bfloat16",
    "form": "plain",
    "backend": "torch",
}
FUSING: dict[str, Any] = {
    "rule": "weighted",
    "rule_options": {"weights": [0.75, 0.25]},
    "range": ("0:255", "percentile:1:99.5"),
    "invert": ("2",),
    "nan": "background",
    "color": "gray",
    "align": "first",
    "bit_depth": "16",
    "many": True,
    "tile": 16,
    "memory": "1GiB",
    "roles": {"mri": 2, "ct": 1},
    "page": 2,
    "max_pixels": 40 * 40,
}
RUNNING: dict[str, Any] = {
    "names": "names.txt",
    "match": ["{}", "{}"],
    "record": False,
    "overwrite": True,
    "workers": 2,
    "executor": "threads",
    "report": print,
}
ALL = [
    *((LoadOptions, each) for each in fields(LoadOptions)),
    *((FuseOptions, each) for each in fields(FuseOptions)),
    *((RunOptions, each) for each in fields(RunOptions)),
]


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return fusekit.load("ehdran", device="cpu")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(("ct", "mri")):
        for name in ("a", "b"):
            write_texture(tmp_path / folder / f"{name}.png", seed, 20, 20)
    (tmp_path / "names.txt").write_text("a.png\n")
    return [tmp_path / "ct", tmp_path / "mri"]


def described(value: Any) -> str:
    return value[1].name if isinstance(value, tuple) else value.__name__


# --- each field ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option_class", [LoadOptions, FuseOptions, RunOptions, Parts, TrainingData, TrainingRun, Recipe]
)
def test_classes_are_frozen_and_say_what_each_field_is(option_class: type) -> None:
    assert is_dataclass(option_class)
    assert option_class.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert all(each.kw_only for each in fields(option_class))
    for each in fields(option_class):
        if each.default is not MISSING or each.default_factory is not MISSING:
            assert each.metadata["help"].endswith("."), each.name
            assert f"    {each.name}: {each.metadata['help']}" in str(option_class.__doc__)


def test_keywords_are_the_fields() -> None:
    pairs = {LoadChoices: LoadOptions, FuseChoices: FuseOptions, RunChoices: RunOptions}
    for keywords, option_class in pairs.items():
        assert get_type_hints(keywords) == get_type_hints(option_class)
    both = get_type_hints(LoadOptions) | get_type_hints(FuseOptions)
    assert get_type_hints(Choices) == both
    assert get_type_hints(FolderChoices) == both | get_type_hints(RunOptions)
    names = [each.name for _, each in ALL]
    assert len(names) == len(set(names))
    assert names == [*LOADING, *FUSING, *RUNNING]


@pytest.mark.parametrize("given", ALL, ids=described)
def test_each_field_is_an_option_of_the_command(given: tuple[type, Field[Any]]) -> None:
    _, each = given
    if each.name == "report":
        assert flag_of(each) is None
        return
    shown = CliRunner().invoke(fuse_command, ["--help"], terminal_width=200).output
    assert flag_of(each) in shown
    assert " ".join(each.metadata["help"].split()) in " ".join(shown.split())


def test_commands_default_to_what_python_does() -> None:
    fused = fuse_command.make_context("fuse", ["a.png", "b.png", "-o", "out.png"]).params
    for option_class in (LoadOptions, FuseOptions, RunOptions):
        assert made_of(option_class, fused) == option_class()
    trained = train_command.make_context("train", ["ct", "-o", "run"]).params
    for training_class in (Parts, Recipe):
        assert made_of(training_class, trained) == training_class()
    assert made_of(TrainingRun, trained, output=Path("run")) == TrainingRun(output=Path("run"))
    assert made_of(TrainingData, {**trained, "validation_series": ("2,10", "41")}, folders=[Path("ct")]) == (
        TrainingData(folders=[Path("ct")], validation_series=("2", "10", "41"))
    )


@pytest.mark.parametrize("option_class", [Parts, TrainingData, TrainingRun, Recipe])
def test_each_choice_of_training_is_an_option_of_its_command(option_class: type) -> None:
    shown = CliRunner().invoke(train_command, ["--help"], terminal_width=200).output
    for each in fields(option_class):
        if each.name not in ("folders", "output"):
            assert flag_of(each) in shown


def test_each_choice_of_loading_is_taken_and_recorded(folders: list[Path]) -> None:
    plain = fusekit.fuse([folders[0] / "a.png", folders[1] / "a.png"])
    assert plain.record["load"] == {each.name: default_of(LoadOptions, each.name) for each in fields(LoadOptions)}
    for name, value in LOADING.items():
        by_keyword = fusekit.load("ehdran", **{name: value})
        assert by_keyword.provenance.options == LoadOptions(**{name: value})
    loaded = fusekit.load("ehdran", LoadOptions(**LOADING))
    for given in (fusekit.fuse([texture(1), texture(2)], loaded), fusekit.fuse([texture(1), texture(2)], **LOADING)):
        assert given.record["load"] == LOADING
        assert [given.record[key] for key in ("device", "dtype", "form", "backend")] == [
            "cpu",
            "bfloat16",
            "plain",
            "torch",
        ]


def test_each_choice_of_fusing_is_taken_and_recorded(
    model: FusionModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(model, "spec", told_apart(model, ("ct", "mri")))
    images = [tmp_path / "ct.tif", tmp_path / "mri.tif"]
    for seed, path in enumerate(images):
        stack = np.stack([texture(seed, 40, 40), texture(seed + 5, 40, 40)])
        path.write_bytes(tiff_bytes(stack, photometric="minisblack"))
    options = FuseOptions(**FUSING)
    for fused in (fusekit.fuse(images, model, options), fusekit.fuse(images, model, **FUSING)):
        record = fused.record
        assert record["rule"] == {"name": FUSING["rule"], "options": FUSING["rule_options"]}
        for name in FUSING.keys() - {"rule", "rule_options"}:
            wanted = FUSING[name]
            assert record[name] == (list(wanted) if isinstance(wanted, tuple) else wanted), name
        assert fused.image.dtype == "uint16"
        assert record["tiles"]["side"] == [16, 16]
    # A keyword overrules the object.
    assert fusekit.fuse(images, model, options, color="keep").record["color"] == "keep"


def test_each_choice_of_folders_is_taken_and_reported(folders: list[Path], model: FusionModel) -> None:
    told: list[Any] = []
    chosen = {**RUNNING, "report": told.append}
    for summary in (
        fusekit.fuse_folders(folders, "out", model, FuseOptions(rule="mean"), RunOptions(**chosen)),
        fusekit.fuse_folders(folders, "out", model, rule="mean", **chosen),
    ):
        assert summary.done == ["a"]
        assert summary.as_dict()["run"] == {name: RUNNING[name] for name in RUNNING if name != "report"}
    assert len(told) == 2
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png"]
    again = fusekit.fuse_folders(folders, "recorded", device="cpu", rule="max", overwrite=True)
    assert again.done == ["a", "b"]
    assert '"name": "max"' in Path("recorded/a.png.json").read_text(encoding="utf-8")


# --- unknown and impossible choices ----------------------------------------------------------------------------------


def test_an_unknown_choice_names_the_nearest(model: FusionModel, folders: list[Path]) -> None:
    for call in (
        lambda: fusekit.load("ehdran", devise="cpu"),  # type: ignore[call-arg]
        lambda: fusekit.fuse([texture(1), texture(2)], model, devise="cpu"),  # type: ignore[call-overload]
        lambda: fusekit.fuse_folders(folders, "out", model, devise="cpu"),  # type: ignore[call-arg]
    ):
        with pytest.raises(UnknownNameError, match="unknown option 'devise'; did you mean 'device'"):
            call()
    with pytest.raises(OptionError, match="unknown option 'optimize'"):
        fusekit.load("ehdran", optimize=False)  # type: ignore[call-arg]
    with pytest.raises(OptionError, match="options are given as FuseOptions or as keywords, not as 'mean'"):
        fusekit.fuse([texture(1), texture(2)], model, "mean")  # type: ignore[call-overload]


@pytest.mark.parametrize("name", LOADING)
def test_no_choice_of_loading_is_dropped_for_a_loaded_model(name: str, model: FusionModel, folders: list[Path]) -> None:
    message = rf"^{name}: choices of fusekit\.load, and this model is loaded already"
    with pytest.raises(OptionError, match=message):
        fusekit.fuse([texture(1), texture(2)], model, **{name: LOADING[name]})
    with pytest.raises(OptionError, match=message):
        fusekit.fuse_folders(folders, "out", model, **{name: LOADING[name]})
    # What is the default anyway contradicts nothing.
    fusekit.fuse([texture(1), texture(2)], model, **{name: default_of(LoadOptions, name)})


@pytest.mark.parametrize(
    ("option_class", "choices", "message"),
    [
        (FuseOptions, {"color": "from:0"}, "unknown color 'from:0'"),
        (FuseOptions, {"bit_depth": "12"}, "unknown bit depth '12'"),
        (FuseOptions, {"tile": 8}, "8 is no choice of tiles"),
        (FuseOptions, {"page": 0}, "page takes a whole number of 1 or more, not 0"),
        (FuseOptions, {"max_pixels": None}, "max_pixels takes a whole number of 1 or more, not None"),
        (FuseOptions, {"memory": "much"}, "'much' is not an amount of memory"),
        (FuseOptions, {"memory": "1GiB", "tile": "off"}, "memory decides when to fuse in tiles, and tile is off"),
        (FuseOptions, {"rule_options": None}, "rule_options takes a mapping"),
        (LoadOptions, {"encoder_options": "depth=1"}, "encoder_options takes a mapping"),
        (RunOptions, {"workers": 0}, "0 workers cannot fuse"),
    ],
)
def test_values_that_cannot_be_used(option_class: type, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        option_class(**choices)
    with pytest.raises(OptionError, match=message):
        overridden(option_class, None, choices)


def test_choices_that_cannot_apply_are_refused(model: FusionModel) -> None:
    images = [texture(1), texture(2)]
    with pytest.raises(RuleError, match="is given as an object, which has its own options"):
        fusekit.fuse(images, model, rule=model.choose_rule("max"), rule_options={"radius": 2})
    with pytest.raises(RuleError, match="for options of a rule to act on"):
        TinyJoint().choose_rule(None, {"radius": 2})
    with pytest.raises(OptionError, match="'laplacian-pyramid' has no exchangeable encoder"):
        fusekit.load("laplacian-pyramid", encoder_options={"depth": 1})
    with pytest.raises(DeviceError, match="has no parameters and computes on the CPU in float32, not in bfloat16"):
        fusekit.load("laplacian-pyramid", dtype="bfloat16")
    with pytest.raises(OptionError, match="no form 'compile'; choose fastest, plain"):
        fusekit.load("laplacian-pyramid", form="compile")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--match", "{}", "--match", "{}"], "--match is for the pairs of folders; add --pairs"),
        (["--names", "names.txt", "--workers", "2"], "--names, --workers are for the pairs of folders"),
        (["--executor", "cluster"], "--executor is for the pairs of folders"),
        (["--pairs", "--executor", "cluster"], "unknown executor 'cluster'; known: serial, threads"),
        (["--tile", "off", "--memory", "2GiB"], "memory decides when to fuse in tiles"),
        (["--role", "ct=ct/a.png"], "'ehdran' does not tell its sources apart; leave out --role ct"),
        (["--role", "ct"], "--role takes KEY=VALUE, not 'ct'"),
    ],
)
def test_choices_that_cannot_apply_are_refused_by_the_command(
    arguments: list[str], message: str, folders: list[Path]
) -> None:
    sources = ["ct", "mri"] if "--pairs" in arguments else ["ct/a.png", "mri/a.png"]
    code, out, err = run_cli(["fuse", *sources, "-o", "out" if "--pairs" in arguments else "out.png", *arguments])
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("out.png").exists()


def test_other_commands_refuse_what_cannot_apply(folders: list[Path]) -> None:
    evaluate = ["evaluate", "ct/a.png", "mri/a.png", "--fused", "ct/b.png"]
    assert "--per-source is of the table" in run_cli([*evaluate, "--per-source", "--json"]).err
    assert "--names chooses among the images of folders" in run_cli([*evaluate, "--names", "names.txt"]).err
    train = ["train", "ct", "-o", "run", "--perceptual", "vgg16", "--perceptual-weight", "0"]
    assert "a perceptual network has no effect at a weight of 0" in run_cli(train).err
    assert "made of an encoder and a decoder" in run_cli(["train", "ct", "-o", "run", "--decoder-option", "a=1"]).err
    assert "steps, 1 or more" in run_cli(["train", "ct", "-o", "run", "--log-every", "0"]).err


# --- roles -----------------------------------------------------------------------------------------------------------


def told_apart(model: FusionModel, roles: tuple[str, ...]) -> Any:
    return replace(model.spec, roles=roles, n_sources=(len(roles), len(roles)))


def test_sources_come_in_the_order_of_their_roles(
    model: FusionModel, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "spec", told_apart(model, ("mri", "ct")))
    paths = [folders[0] / "a.png", folders[1] / "a.png"]
    fused = fusekit.fuse(paths, model, roles={"ct": str(paths[0]), "mri": str(paths[1])})
    assert [each["role"] for each in fused.record["sources"]] == ["mri", "ct"]
    assert [each["path"] for each in fused.record["sources"]] == [str(paths[1]), str(paths[0])]
    with pytest.warns(FusekitWarning, match="takes the sources for mri, ct, in their order; --role mri=SOURCE"):
        assert (fusekit.fuse(paths[::-1], model).image == fused.image).all()
    summary = fusekit.fuse_folders(folders, "out", model, roles={"ct": folders[0], "mri": 2})  # type: ignore[dict-item]
    assert summary.done == ["a", "b"]
    record = Path("out/a.png.json").read_text(encoding="utf-8")
    assert record.index("mri/a.png") < record.index("ct/a.png")


def test_roles_that_cannot_be() -> None:
    spec = told_apart(TinyJoint(), ("t1", "t2", "flair"))
    with pytest.raises(UnknownNameError, match="unknown role of the model 'tiny-joint' 't3'"):
        check_roles(spec, {"t3": 1})
    with pytest.raises(OptionError, match="fuses t1, t2, flair; say which source is 't2', as --role"):
        check_roles(spec, {"t1": 1})
    with pytest.raises(InputError, match="fuses t1, t2, flair, and 2 sources were given"):
        in_order_of_roles(spec, ["a", "b"], {})
    with pytest.raises(OptionError, match="'t1' is given to 4, which is none of the 3 sources"):
        numbered({"t1": 4}, [torch.zeros(2), "b", "c"])
    with pytest.raises(OptionError, match="source 2 is given two roles, 't2' is the second"):
        numbered({"t1": "b", "t2": "2"}, [torch.zeros(2), "b", "c"])
    assert numbered({"t1": "./c", "t2": 1}, [torch.zeros(2), "b", "c"]) == {"t1": 3, "t2": 1}


def test_a_role_of_several_words_takes_any_of_them() -> None:
    spec = told_apart(TinyJoint(), ("ct/pet", "mri"))
    for word in ("ct", "pet", "ct/pet"):
        roles: dict[str, str | int] = {"mri": 1, word: 2}
        check_roles(spec, roles)
        assert in_order_of_roles(spec, ["a", "b"], roles) == ["b", "a"]
    with pytest.warns(FusekitWarning, match=r"takes the sources for ct/pet, mri, in their order; --role ct=SOURCE"):
        check_roles(spec, {})
    with pytest.raises(UnknownNameError, match="unknown role of the model 'tiny-joint' 'spect'"):
        check_roles(spec, {"spect": 1})
    with pytest.raises(OptionError, match="takes one source for ct/pet; give 'ct' or 'pet'"):
        check_roles(spec, {"ct": 1, "pet": 2})
    with pytest.raises(OptionError, match="say which source is 'ct/pet', as --role"):
        check_roles(spec, {"mri": 1})


# --- options of commands ---------------------------------------------------------------------------------------------


def test_options_of_some_fields_make_a_value_of_the_class() -> None:
    @click.command()
    @options_of(FuseOptions, "rule_options", "tile", "roles")
    @options_of(RunOptions, "record")
    def command(**choices: Any) -> None:
        options, run = made_of(FuseOptions, choices), made_of(RunOptions, choices)
        click.echo((options.rule_options, options.tile, options.roles, run.record, chosen_names(options)))

    given = ["--rule-option", "a=1,2", "--rule-option", "per-pixel=true", "--role", "t1-gd=a,b.png", "--no-record"]
    found = CliRunner().invoke(command, given).output
    assert found.startswith("({'a': [1, 2], 'per_pixel': True}, 'auto', {'t1-gd': 'a,b.png'}, False")
    assert re.search(r"\['rule_options', 'roles'\]", found)
