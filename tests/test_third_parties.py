"""Acceptance: a plugin of another wheel adds one component of every kind, and broken ones are named and stay alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Outcome, texture, write_texture
from helpers.paths import ROOT
from helpers.wheels import Environment, build_wheel
from PIL import Image

pytest.importorskip("hatchling", reason="building wheels needs hatchling")
pytestmark = [pytest.mark.slow, pytest.mark.process]

PLUGINS = ROOT / "tests" / "plugins"
EVERY_KIND = PLUGINS / "every_kind"
#: Kind of `fusekit list` → what the plugin adds.
ADDED = {
    "models": "edge-pair",
    "encoders": "with-edges",
    "decoders": "grey",
    "edges": "central",
    "rules": "magnitude",
    "metrics": "mae",
    "formats": "pgm",
    "aligners": "centre",
    "executors": "last-first",
    "commands": "blend",
}
PAIR = ("a/1.png", "b/1.png")
FUSE = ("fuse", *PAIR, "-o", "out.png", "--overwrite", "--model")
RATE = ("evaluate", *PAIR, "--fused", "a/1.png", "--json", "--metrics")
#: What is broken → the command that meets it, and the line that it gives.
TWINS: dict[str, tuple[tuple[str, ...], str]] = {
    **{
        f"rule {name}": ((*FUSE, "edge-pair", "--rule", name, "--json"), f"the fusion rule '{name}' {line}")
        for name, line in {
            "wrong-shape": r"returned fused features of shape \(1, 2, 24, 19\); \(1, 2, 24, 20\) is wanted",
            "a-tuple": "returned an object of type tuple; apply",
            "none-at-all": "returned None; apply",
            "wrong-dtype": "returned fused features of float64; float32 is wanted",
            "exception": "failed: ZeroDivisionError: the sources are all zero",
            "sys-exit": "failed: SystemExit: 0",
            "mutates": "changed its inputs; ",
            "not-a-number": "gave values that are not finite",
            "wrong-signature": "failed: TypeError: .*apply",
            "import-exits": "cannot be imported .*SystemExit",
            "report": "has a report that JSON cannot hold: ",
        }.items()
    },
    **{
        f"metric {name}": ((*RATE, name), f"the metric '{name}' {line}")
        for name, line in {
            "metric-shape": r"returned a tensor \(1, 24\) of float64 for its value; a float tensor \(1,\) is wanted",
            "metric-tuple": "returned an object of type tuple for its value",
            "metric-none": "returned None; rate",
            "metric-dtype": r"returned a tensor \(1,\) of int64 for its value",
            "metric-mutates": "changed its inputs; ",
            "metric-nan": "returned NaN for its value",
            "metric-exits": "failed: SystemExit: 0",
        }.items()
    },
    "encoder": ((*FUSE, "of-wrong-channels", "--json"), "the encoder 'wrong-channels' returned 2 channels; it says"),
    "edge operator": ((*FUSE, "of-wrong-edges", "--json"), "the edge operator 'edge-shape' returned edges of shape"),
    "model": ((*FUSE, "cannot-be-made"), "the model 'cannot-be-made' failed: FileNotFoundError: no such table"),
    "model of NaN": ((*FUSE, "image-not-finite"), "the model 'image-not-finite' gave values that are not finite"),
    "format": (
        ("fuse", "a/2.wrong", "b/2.png", "-o", "refused.png", "--model", "edge-pair"),
        r"the format 'wrong-thing' reads a/2\.wrong as bytes; read returns",
    ),
    "format that writes": (
        ("fuse", *PAIR, "-o", "out.wrong", "--model", "edge-pair"),
        "the format 'wrong-thing' encodes an image as ndarray; encode returns bytes",
    ),
    "format that exits": (
        ("fuse", "a/3.exits", "b/3.png", "-o", "refused.png", "--model", "edge-pair"),
        r"the format 'reading-exits' cannot read a/3\.exits: SystemExit: 0",
    ),
    "aligner": (
        ("fuse", "a/1.png", "large.png", "-o", "refused.png", "--model", "edge-pair", "--align", "another-grid"),
        r"the aligner 'another-grid' leaves large\.png on another grid: they differ in size",
    ),
    "aligner that exits": (
        ("fuse", "a/1.png", "large.png", "-o", "refused.png", "--model", "edge-pair", "--align", "aligning-exits"),
        r"the aligner 'aligning-exits' cannot align large\.png: SystemExit: 0",
    ),
    "executor": (
        ("fuse", "--pairs", "a", "b", "-o", "none", "--model", "edge-pair", "--executor", "executor-exits"),
        "the executor 'executor-exits' failed: SystemExit: 0",
    ),
    "survey": (
        (*FUSE, "edge-pair", "--rule", "survey", "--tile", "16"),
        "the fusion rule 'survey' failed: LookupError: no tile",
    ),
    "aligner that mutates": (
        ("fuse", "a/1.png", "large.png", "-o", "refused.png", "--model", "edge-pair", "--align", "aligning-mutates"),
        r"the aligner 'aligning-mutates' cannot align large\.png: ValueError: .*read-only",
    ),
    "absent command": (("absent",), "the command 'absent' cannot be imported .*ModuleNotFoundError"),
    "no command": (("no-command",), "the command 'no-command' is an object of type function; register a click.Command"),
    "failing command": (("fails",), "the command 'fails' failed: KeyError: 'nothing of this name'"),
}
#: What is met in working order.
GOOD: dict[str, tuple[str, ...]] = {
    "list": ("list", "--json"),
    "help": ("--help",),
    "fuse": (*FUSE, "edge-pair", "--rule", "magnitude", "--rule-option", "power=2", "--json"),
    "pgm": ("fuse", "graymap.pgm", "b/1.png", "-o", "fused.pgm", "--model", "edge-pair", "--json"),
    "aligned": (
        *("fuse", "a/1.png", "large.png", "-o", "aligned.png", "--model", "edge-pair"),
        *("--align", "centre", "--json"),
    ),
    "rated": (*RATE, "mae"),
    "executed": (
        *("fuse", "--pairs", "good/a", "good/b", "-o", "executed", "--model", "edge-pair"),
        *("--executor", "last-first", "--json"),
    ),
    "blended": ("blend", *PAIR, "-o", "blended.png", "--power", "2"),
    "talkative": (*FUSE, "edge-pair", "--rule", "talkative", "--json"),
    "talkative pairs": (
        *("fuse", "--pairs", "good/a", "good/b", "-o", "talked", "--model", "edge-pair"),
        *("--rule", "talkative", "--json"),
    ),
}
#: Of several images some fail, and the others do not.
PARTLY: dict[str, tuple[str, ...]] = {
    "pairs": ("fuse", "--pairs", "a", "b", "-o", "partly", "--model", "edge-pair", "--json"),
    "pairs of a rule": (
        *("fuse", "--pairs", "good/a", "good/b", "-o", "failed", "--model", "edge-pair"),
        *("--rule", "sys-exit", "--json"),
    ),
    "rated": ("evaluate", "good/a", "good/b", "--fused", "dark", "--metrics", "metric-dark,mae", "--json"),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("third-parties")
    projects = (ROOT, EVERY_KIND, *(PLUGINS / name for name in ("broken", "misspelt", "talkative")))
    made = Environment(folder / "environment", [build_wheel(project, folder) for project in projects])
    _write_images(made.folder)
    return made


def _write_images(folder: Path) -> None:
    for seed, name in enumerate((*PAIR, "b/2.png", "b/3.png", "a/4.png", "b/4.png")):
        write_texture(folder / name, seed)
    for seed, name in enumerate(("good/a/1.png", "good/b/1.png", "good/a/2.png", "good/b/2.png", "dark/1.png")):
        write_texture(folder / name, seed)
    write_texture(folder / "large.png", 5, 30, 28)
    (folder / "a/2.wrong").write_bytes(b"WRONG" * 9)
    (folder / "a/3.exits").write_bytes(b"EXITS" * 9)
    Image.fromarray(np.zeros((24, 20), np.uint8)).save(folder / "dark/2.png")
    (folder / "graymap.pgm").write_bytes(b"P5\n20 24\n255\n" + texture(3).tobytes())


@pytest.fixture(scope="module")
def outcomes(environment: Environment) -> dict[str, Outcome]:
    """Return what each of the commands above gave, all of them run by one interpreter of the environment."""
    commands = {f"good {key}": command for key, command in GOOD.items()}
    commands |= {f"partly {key}": command for key, command in PARTLY.items()}
    commands |= {f"twin {key}": command for key, (command, _) in TWINS.items()}
    code = (
        f"import json, sys; sys.path.append({str(ROOT / 'tests')!r}); from helpers.cli import run_cli; "
        "print(json.dumps([run_cli(each) for each in json.load(sys.stdin)]))"
    )
    done = environment.run("python", "-c", code, given=json.dumps(list(commands.values())))
    return {key: Outcome(*found) for key, found in zip(commands, json.loads(done.stdout), strict=True)}


def _imported(files: Iterable[Path]) -> set[str]:
    """Return the names of the modules of fusekit that the files import."""
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name for name in names if name.partition(".")[0] == "fusekit"}
    return found


def test_the_example_uses_only_the_doors() -> None:
    assert _imported(EVERY_KIND.glob("src/**/*.py")) == {"fusekit", "fusekit.extend"}
    assert _imported(EVERY_KIND.glob("tests/*.py")) == {"fusekit.extend", "fusekit.testing"}


def test_the_contract_tests_of_the_example_pass(environment: Environment) -> None:
    tests = environment.folder / "contracts"
    tests.mkdir()
    file = tests / "test_contracts.py"
    file.write_text((EVERY_KIND / "tests" / file.name).read_text(encoding="utf-8"), encoding="utf-8")
    done = environment.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tests, file)
    assert "10 passed" in done.stdout


@pytest.mark.parametrize(("kind", "name"), ADDED.items())
def test_one_component_of_each_kind_is_listed(outcomes: dict[str, Outcome], kind: str, name: str) -> None:
    rows = json.loads(outcomes["good list"].out)
    (row,) = [row for row in rows if (row["kind"], row["owner"]) == (kind, "fusekit-every-kind")]
    assert row["name"] == name
    assert row["summary"]


@pytest.mark.parametrize("name", GOOD)
def test_every_component_works(outcomes: dict[str, Outcome], name: str) -> None:
    code, out, err = outcomes[f"good {name}"]
    assert code == 0, err
    assert not [line for line in err.splitlines() if line.startswith("fusekit: error")]
    if "--json" in GOOD[name]:
        json.loads(out)


def test_what_they_did(environment: Environment, outcomes: dict[str, Outcome]) -> None:
    def pixels(name: str) -> np.ndarray:
        with Image.open(environment.folder / name) as image:
            return np.asarray(image)

    record = json.loads(outcomes["good fuse"].out)
    assert (record["model"]["name"], record["rule"]["name"]) == ("edge-pair", "magnitude")
    assert pixels("fused.pgm").shape == (24, 20)
    alignment = json.loads(outcomes["good aligned"].out)["alignment"]
    assert alignment == {"how": "centre", "transforms": [None, {"offset": [3, 4]}]}
    assert json.loads(outcomes["good executed"].out)["done"] == ["1", "2"]
    assert outcomes["good blended"].out == "blended.png\n"
    (rating,) = json.loads(outcomes["good rated"].out)["methods"]
    assert "blend " in outcomes["good help"].out
    assert rating


@pytest.mark.parametrize("name", TWINS)
def test_a_broken_twin_gives_one_line_that_names_it(outcomes: dict[str, Outcome], name: str) -> None:
    command, line = TWINS[name]
    code, out, err = outcomes[f"twin {name}"]
    assert code == 2
    (said,) = err.splitlines()
    line = line.replace("' ", "' of fusekit-broken ", 1)
    assert re.match(f"fusekit: error: (no image could be rated; 1: (1: )?)?{line}", said), said
    if "--json" in command:
        error = json.loads(out)["error"]
        assert (f"fusekit: error: {error['message']}", error["exit_code"]) == (said, 2)
    else:
        assert out == ""


def test_pairs_of_broken_files_are_reported_and_the_others_fused(
    environment: Environment, outcomes: dict[str, Outcome]
) -> None:
    code, out, err = outcomes["partly pairs"]
    summary = json.loads(out)
    assert (code, summary["done"], sorted(summary["failed"])) == (1, ["1", "4"], ["2", "3"])
    assert "the format 'wrong-thing' of fusekit-broken reads" in summary["failed"]["2"]
    assert "the format 'reading-exits' of fusekit-broken cannot read" in summary["failed"]["3"]
    assert [line.split(": ")[1] for line in err.splitlines()] == ["2", "3"]
    assert sorted(path.name for path in (environment.folder / "partly").glob("*.png")) == ["1.png", "4.png"]


def test_each_pair_of_a_broken_rule_is_reported(outcomes: dict[str, Outcome]) -> None:
    code, out, _ = outcomes["partly pairs of a rule"]
    reason = "the fusion rule 'sys-exit' of fusekit-broken failed: SystemExit: 0"
    assert (code, json.loads(out)["failed"]) == (1, {"1": reason, "2": reason})


def test_an_image_that_a_metric_fails_for_is_reported_and_the_others_rated(outcomes: dict[str, Outcome]) -> None:
    code, out, err = outcomes["partly rated"]
    assert code == 1
    assert json.loads(out)["failed"] == {
        "2": "dark: the metric 'metric-dark' of fusekit-broken failed: ValueError: the image is dark"
    }
    assert err.splitlines() == [f"fusekit: 2: {reason}" for reason in json.loads(out)["failed"].values()]


def test_a_plugin_with_a_misspelt_keyword_is_left_out_whole(environment: Environment) -> None:
    done = environment.run("fusekit", *FUSE, "edge-pair", "--rule", "misspelt", "--json", code=2)
    assert json.loads(done.stdout)["error"]["kind"] == "UnknownNameError"
    left_out, unknown = (line for line in done.stderr.splitlines() if line.startswith("fusekit: "))
    assert left_out.startswith("fusekit: warning: the plugin 'misspelt' of fusekit-misspelt is left out: ")
    assert "the fusion rule 'misspelt' with 'summery', which is no keyword; did you mean 'summary'?" in left_out
    assert unknown.startswith("fusekit: error: unknown fusion rule 'misspelt'")


def test_what_a_plugin_prints_goes_to_standard_error(environment: Environment) -> None:
    done = environment.run("fusekit", *FUSE, "edge-pair", "--rule", "talkative", "--json")
    assert json.loads(done.stdout)["rule"]["name"] == "talkative"
    for printed in ("plugin says hello", "plugin registers", "module is imported", "rule is made", "rule is used"):
        assert f"the talkative {printed}" in done.stderr
