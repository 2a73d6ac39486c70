"""What the commands of ``fusekit bench`` share: options made of requests, where results go, how a command is told."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from helpers.cli import run_cli, write_texture

from fusekit.errors import InputError, MissingExtraError, OptionError
from fusekit_bench.cli import bench
from fusekit_bench.options import ListsCommand, choice, command_line, options_of, request_of
from fusekit_bench.publish import Outputs, Result, require, table, to_csv, to_json
from fusekit_bench.requests import Speed

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Toy:
    names: tuple[str, ...] = choice(("a",), "Names.", metavar="NAME…")
    counts: tuple[int, ...] = choice((1, 2), "Counts.", read=int)
    source: Path | None = choice(None, "Folder.", type=click.Path(path_type=Path), metavar="DATA")
    size: int = choice(256, "Side.")
    fast: bool = choice(False, "Fast.")
    memory: bool = choice(True, "No memory.")
    inner: str = ""


@click.command("toy", cls=ListsCommand)
@options_of(Toy)
@click.option("-o", "--output")
@click.pass_context
def toy(context: click.Context, /, output: str | None, **choices: object) -> None:
    request = request_of(Toy, choices, inner="x")
    click.echo(f"{request}\n{command_line(context)}")


def told(*words: object) -> list[str]:
    done = CliRunner().invoke(toy, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.output.splitlines()


def test_fields_are_options_with_their_defaults() -> None:
    assert told() == [str(Toy(inner="x")), "fusekit bench toy"]
    help_text = " ".join(CliRunner().invoke(toy, ["--help"]).output.split())
    assert "--names NAME… Names. Several by spaces, commas or repetition." in help_text
    assert "--size INTEGER Side. [default: 256]" in help_text
    assert "--no-memory No memory." in help_text
    assert "--inner" not in help_text


def test_the_command_is_told_without_outputs_and_places(tmp_path: Path) -> None:
    file = write_texture(tmp_path / "w.png", 1)
    words = [
        "--names",
        "b",
        f"m={file}",
        "--counts",
        "3,4",
        "--no-memory",
        "--source",
        tmp_path,
        "-o",
        tmp_path / "out",
    ]
    request, command = told(*words)
    assert request == str(Toy(("b", f"m={file}"), (3, 4), tmp_path, memory=False, inner="x"))
    assert command == "fusekit bench toy --names b m=w.png --counts 3 4 --source DATA --no-memory"


def test_what_cannot_be_read_names_the_option() -> None:
    with pytest.raises(OptionError, match="--counts takes whole numbers, not '3 x'"):
        told("--counts", "3", "x")
    with pytest.raises(OptionError, match="--warm-up is 1 or more, not 0"):
        Speed(warm_up=0)


def test_results_go_where_they_are_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pandas", reason="CSV needs the extra bench")
    rows: list[dict[str, Any]] = [
        {"who": "a", "seconds": {"low": 0.1, "high": float("inf")}},
        {"who": "b, c", "seconds": None},
    ]
    found = Result({"value": float("nan"), "rows": rows}, "# text", rows)
    page = tmp_path / "page.md"
    page.write_text("<!-- x: begin -->\n<!-- x: end -->\n")
    files = [tmp_path / name for name in ("a.md", "a.json", "a.csv")]
    outputs = Outputs(files[0], files[1], files[2], docs=page, mark="x")
    outputs.check()
    outputs.write(found)
    assert capsys.readouterr().out == "# text\n"
    assert files[0].read_text() == "# text\n"
    assert json.loads(files[1].read_text())["value"] == "nan"
    assert [line["seconds.high"] for line in csv.DictReader(files[2].open())] == ["inf", "nan"]
    assert page.read_text() == "<!-- x: begin -->\n\n# text\n\n<!-- x: end -->\n"
    Outputs(json=Path("-")).write(found)
    assert capsys.readouterr().out == to_json(found.data)
    with pytest.raises(InputError, match="has no lines <!-- y: begin -->"):
        Outputs(docs=page, mark="y").check()


def test_numbers_keep_all_their_digits() -> None:
    pytest.importorskip("pandas", reason="CSV needs the extra bench")
    value = 0.1 + 0.2
    assert to_csv([{"x": value, "name": ""}]) == f"x,name\r\n{value!r},\r\n"


def test_tables_of_markdown() -> None:
    assert table(["", "b"], [["a", 1], ["", 2]], "lr") == ["| | b |", "|---|--:|", "| a | 1 |", "|  | 2 |"]


def test_what_is_not_installed_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pandas" else known(name))
    with pytest.raises(MissingExtraError, match="pandas: pip install 'fusekit-imaging"):
        require("pandas", "this")
    for words in (["metrics", "--csv", tmp_path / "a.csv"], ["quality", "--data", tmp_path, "--no-figures"]):
        done = run_cli(["bench", *words])
        assert done.code == 2
        assert "pip install 'fusekit-imaging[bench]'" in done.err


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the pages are not beside the tests")
def test_every_command_of_the_docs_is_one() -> None:
    parsed = 0
    for page in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("weights/*/*.md")):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for found in re.findall(r"fusekit bench ([^`\n]*)", text):
            name, *words = [word.rstrip(",.") for word in shlex.split(found.partition("   ")[0])] or [""]
            if words and name in bench.commands:
                bench.commands[name].make_context(name, words)
                parsed += 1
    assert parsed > 20


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from fusekit_bench.cli import bench; bench(['speed', '--help'], standalone_mode=False); "
        "print([name for name in ('torch', 'numpy', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_files_that_are_there_already_are_replaced_when_asked(tmp_path: Path) -> None:
    for flag in ("--markdown", "--csv", "--json"):
        target = tmp_path / "there"
        target.write_text("of others")
        words = ["bench", "metrics", "--size", 16, "--repeats", 1, "--metrics", "en", flag, target]
        code, out, err = run_cli(words)
        assert (code, out) == (2, "")
        assert f"cannot write {target}: it is there already; --overwrite replaces it" in err
        assert target.read_text() == "of others"
        assert run_cli([*words, "--overwrite"]).code == 0
        assert target.read_text() != "of others"


def test_a_quality_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "table.md").write_text("of others")
    code, _, err = run_cli(["bench", "quality", "--data", tmp_path, "--no-figures", "-o", tmp_path / "out"])
    assert code == 2
    assert "table.md: it is there already" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["table.md"]
