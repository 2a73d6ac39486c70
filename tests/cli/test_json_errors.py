"""A command that fails under ``--json`` prints one JSON object that says why, whatever the fault is."""

from __future__ import annotations

import builtins
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from helpers import contracts
from helpers.cli import Outcome, run_cli, truncate, write_texture
from helpers.paths import ROOT
from PIL import Image
from torch import Tensor

from fusekit import errors
from fusekit.cli.output import Command, Group, result_json
from fusekit.extend import FusionRule, RuleResult
from fusekit.registry.discovery import registries

PAIR = ("ct.png", "mri.png")
FUSE = ("fuse", *PAIR, "-o", "out.png")
RATE = ("evaluate", *PAIR, "--fused", "ct.png")


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate((*PAIR, "a/1.png", "b/1.png")):
        write_texture(Path(name), seed)


def refusal(outcome: Outcome, code: int = 2) -> dict[str, Any]:
    """Return the error of an outcome, having checked that both streams say it."""
    assert outcome.code == code, outcome
    found = json.loads(outcome.out)
    assert set(found) == {"error"}
    error = found["error"]
    assert set(error) == {"kind", "message", "exit_code"}
    assert error["exit_code"] == code
    *_, line = outcome.err.splitlines()
    assert line == f"fusekit: error: {error['message']}"
    return error


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((*FUSE, "--no-such-option"), "UsageError", "No such option"),
        (("fuse", *PAIR), "UsageError", "Missing option '-o'"),
        (("fuse", "-o", "out.png"), "UsageError", "Missing argument"),
        ((*FUSE, "--workers", "many"), "UsageError", "'many' is not a valid integer"),
        ((*FUSE, "-q", "-v"), "UsageError", "--verbose says more and --quiet less"),
        (("fuze", *PAIR), "UsageError", "No such command 'fuze'"),
        (("fuse", "ct.png", "no.png", "-o", "out.png"), "InputError", "there is no file no.png"),
        (("fuse", *PAIR, "-o", "no/out.png"), "OutputError", "the folder no does not exist"),
        ((*FUSE, "--color", "red"), "OptionError", "unknown color 'red'"),
        ((*FUSE, "--rule", "meen"), "UnknownNameError", "did you mean 'mean'"),
        ((*FUSE, "--device", "tpu"), "DeviceError", "unknown device 'tpu'"),
        ((*FUSE, "--weights", "no.safetensors"), "WeightsError", "there is no weights file no.safetensors"),
        (("fuse", "--pairs", "a", "no", "-o", "out"), "InputError", "no"),
        (("fuse", "--pairs", "a", "b", "-o", "out", "--workers", "0"), "OptionError", "0 workers cannot fuse"),
        ((*RATE, "--metrics", "ssimm"), "UnknownNameError", "did you mean 'ssim'"),
        (("evaluate", *PAIR, "--fused", "no.png"), "InputError", "no.png"),
        (("list", "nothing"), "UsageError", "'nothing' is not one of"),
        (("doctor", "--no-such-option"), "UsageError", "No such option"),
        (("bench", "speed", "--rounds", "0"), "OptionError", "--rounds is 1 or more, not 0"),
        (("bench", "metrics", "no.png", "no.png", "no.png"), "InputError", "no.png"),
    ],
)
def test_what_is_refused_is_told_in_json(arguments: tuple[str, ...], kind: str, message: str) -> None:
    error = refusal(run_cli([*arguments, "--json"]))
    assert (error["kind"], message in error["message"]) == (kind, True), error


def test_json_may_stand_anywhere() -> None:
    for arguments in (
        ("fuse", "--json", *PAIR),
        ("fuse", *PAIR, "-o", "--", "--color", "--", "--json"),
        ("fuse", *PAIR, "--json", "--no-such-option"),
        ("fuze", "--json"),
    ):
        assert refusal(run_cli(arguments))["kind"] in ("UsageError", "OptionError")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fuse", *PAIR, "--no-such-option"),
        ("fuse", "no.png", "-o", "out.png", "--", "--json"),
        ("fuse", *PAIR, "-o", "out.png", "--color", "--json"),
        ("bench", "speed", "--rounds", "0", "--json", "speed.json"),
    ],
)
def test_where_no_json_is_asked_for_there_is_none(arguments: tuple[str, ...]) -> None:
    code, out, err = run_cli(arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_damaged_file_and_a_record_are_told_apart() -> None:
    truncate(Path("mri.png"))
    assert refusal(run_cli([*FUSE, "--json"]))["kind"] == "InputError"
    write_texture(Path("mri.png"), 5)
    assert "error" not in json.loads(run_cli([*FUSE, "--json"]).out)


def test_every_kind_is_documented() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    kinds = [name for name, found in vars(errors).items() if isinstance(found, type) and issubclass(found, Exception)]
    for kind in (*kinds, "UsageError", "Interrupted", "InternalError"):
        assert f"`{kind}`" in page or kind in ("FusekitError", "FusekitWarning"), kind


# --- faults of fusekit's own, and of plugins -------------------------------------------------------------------------


def test_a_fault_of_our_own_is_told_with_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("what\nis not there")

    monkeypatch.setattr("fusekit.record.check_not_a_source", broken)
    error = refusal(run_cli([*FUSE, "--json"]), code=70)
    assert error["kind"] == "InternalError"
    assert error["message"].startswith("fusekit has a fault of its own (KeyError: 'what\\nis not there')")
    assert "run again with --traceback" in error["message"]


def test_an_interruption_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fusekit.record.check_not_a_source", stopped)
    code, out, err = run_cli([*FUSE, "--json"])
    assert (code, err.splitlines()[-1]) == (130, "fusekit: interrupted")
    assert json.loads(out)["error"]["kind"] == "Interrupted"


RULES = {
    "wrong-shape": "returned fused features of shape",
    "a-tuple": "returned an object of type tuple",
    "none-at-all": "returned None",
    "wrong-dtype": "returned fused features of float64",
    "exception": "failed: ZeroDivisionError: the sources are all zero",
    "sys-exit": "failed: SystemExit: 0",
    "mutates": "changed its inputs",
    "not-a-number": "gave values that are not finite",
    "wrong-signature": "failed: TypeError",
    "import-exits": "cannot be imported",
    "report": "has a report that JSON cannot hold",
}


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the rules and encoders of tests/plugins/broken, and the rule of talkative, for a while."""
    for name in ("broken", "talkative"):
        monkeypatch.syspath_prepend(ROOT / "tests" / "plugins" / name / "src")
    before = {hook: registry.snapshot() for hook, registry in registries().by_hook().items()}
    for owner in ("fusekit-broken", "fusekit-talkative"):
        module = importlib.import_module(f"{owner.replace('-', '_')}.plugin")
        for hook, registry in registries().by_hook().items():
            if hasattr(module, hook):
                getattr(module, hook)(registry.registrar(owner))
    yield
    for hook, registry in registries().by_hook().items():
        registry.restore(before[hook])
    for name in [name for name in sys.modules if name.startswith(("fusekit_broken", "fusekit_talkative"))]:
        del sys.modules[name]


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("rule", RULES)
def test_a_broken_rule_is_told_in_json(rule: str) -> None:
    error = refusal(run_cli([*FUSE, "--model", "pixel", "--rule", rule, "--json"]))
    assert error["kind"] == "PluginError"
    assert f"the fusion rule '{rule}' of fusekit-broken {RULES[rule]}" in error["message"]


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "import-exits"])
def test_with_pairs_a_broken_rule_is_in_the_summary(rule: str) -> None:
    code, out, _ = run_cli(
        ["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel", "--rule", rule, "--json"],
    )
    failed = json.loads(out)["failed"]
    assert (code, list(failed)) == (1, ["1"])
    assert f"the fusion rule '{rule}' of fusekit-broken {RULES[rule]}" in failed["1"]


@pytest.mark.usefixtures("broken")
def test_what_a_rule_prints_does_not_spoil_json() -> None:
    code, out, err = run_cli([*FUSE, "--model", "pixel", "--rule", "talkative", "--json"])
    assert code == 0, err
    assert json.loads(out)["rule"]["name"] == "talkative"
    assert "the talkative rule is used" in err


@click.command(cls=Command)
@click.option("--how", default="fine")
@click.option("--json", "as_json", is_flag=True)
def strange(how: str, as_json: bool) -> None:
    """End in one way or another."""
    print("chatter")
    if how == "key":
        raise KeyError("nothing of this name")
    if how == "input":
        raise errors.InputError("no.png: bad; take another")
    result_json({"how": how})


@click.group(cls=Group)
def strange_group() -> None:
    """Hold one command."""


strange_group.add_command(strange)


@pytest.fixture
def commands() -> Iterator[None]:
    registry = registries().commands
    before = registry.snapshot()
    register = registry.registrar("a-test")
    register("strange", f"{__name__}:strange", summary="Ends in one way or another.")
    register("strange-group", f"{__name__}:strange_group", summary="Holds one command.")
    register("absent", "no_such_module:command")
    yield
    registry.restore(before)


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize("called", [("strange",), ("strange-group", "strange")], ids=" ".join)
def test_commands_of_plugins_keep_the_rule(called: tuple[str, ...]) -> None:
    code, out, err = run_cli([*called, "--json"])
    assert (code, json.loads(out), err) == (0, {"how": "fine"}, "chatter\n")
    kinds = {
        ("--how", "key"): ("PluginError", f"the command '{called[0]}' of a-test failed: KeyError: 'nothing of this"),
        ("--how", "input"): ("InputError", "no.png: bad; take another"),
        ("--what",): ("UsageError", "No such option"),
    }
    for arguments, (kind, message) in kinds.items():
        error = refusal(run_cli([*called, *arguments, "--json"]))
        assert (error["kind"], message in error["message"]) == (kind, True), error


@pytest.mark.usefixtures("commands")
def test_a_command_that_cannot_be_imported_is_told_in_json() -> None:
    assert refusal(run_cli(["absent", "--json"]))["kind"] == "PluginError"


class Reject(BaseException):
    """Is no Exception."""


class Raises(FusionRule):
    """Raises what its option says."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        # Of several images that are fused together, one is bright.
        if features[0].flatten(1).amin(1).amax() > 0:
            raise {"Reject": Reject, "None": TypeError}.get(self._kind) or getattr(builtins, self._kind)
        return RuleResult(features[0] + 0)


KINDS = ("Exception", "KeyError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError", "RecursionError")


@pytest.mark.parametrize("kind", [*KINDS, "StopIteration", "BrokenPipeError", "OSError", "Warning", "Reject"])
@pytest.mark.parametrize("executor", ["threads", "serial"])
def test_whatever_a_rule_raises_is_the_failure_of_that_pair_alone(kind: str, executor: str) -> None:
    if (kind, executor) == ("KeyboardInterrupt", "serial"):
        pytest.skip("in the main thread it is the user's")
    code, out, err = fuse_with_a_bright_pair(f"kind={kind}", "--executor", executor, "--json")
    summary = json.loads(out)
    assert (code, summary["done"], list(summary["failed"])) == (1, ["1"], ["bright"]), summary
    assert err.splitlines() == [f"fusekit: bright: {summary['failed']['bright']}"]


def fuse_with_a_bright_pair(*options: str) -> Outcome:
    for folder in ("a", "b"):
        Image.fromarray(np.full((24, 20), 90, np.uint8)).save(f"{folder}/bright.png")
    with contracts.registered("fusion_rules", Raises) as rule:
        arguments = ["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel", "--rule", rule, "--rule-option"]
        return run_cli([*arguments, *options])


def test_tracebacks_of_failed_pairs_are_shown_where_they_are_asked_for() -> None:
    assert "Traceback" not in fuse_with_a_bright_pair("kind=None").err
    code, _, err = fuse_with_a_bright_pair("kind=None", "--traceback")
    assert code == 1
    assert "Traceback (most recent call last):" in err
    assert "in apply" in err
