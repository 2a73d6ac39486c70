"""Results alone on standard output, in any encoding, with what others wrote shown as text; help; more and less talk."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest import mock

import pytest
from helpers.cli import run_cli, truncate, write_texture
from helpers.forked import Forked, run_forked
from helpers.paths import ROOT

from fusekit.cli import progress
from fusekit.cli.main import run
from fusekit.cli.signs import in_signs_of
from fusekit.errors import FusekitError, one_line, plain
from fusekit.registry.discovery import PluginReport, registries

ENCODINGS = ("utf-8", "ascii", "cp1252", "gbk", "latin-1", "cp437")
PAIR = ("ct.png", "mri.png")


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate((*PAIR, "a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        write_texture(Path(name), seed)


def fusekit_process(
    *arguments: str | bytes, code: int = 0, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run fusekit as a shell does, and check its exit code."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONIO"))}
    done = subprocess.run(
        [sys.executable, "-m", "fusekit", *arguments], env={**known, **(more or {})}, capture_output=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done


# --- encodings ------------------------------------------------------------------------------------------------------


def written(arguments: Sequence[str], encoding: str) -> tuple[int, bytes, bytes]:
    """Run the command line with both streams in an encoding, which is strict until the command says otherwise."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with (
        mock.patch.object(sys, "argv", ["fusekit", *arguments]),
        mock.patch.object(sys, "stdout", out),
        mock.patch.object(sys, "stderr", err),
        pytest.raises(SystemExit) as stop,
    ):
        run()
    for stream in (out, err):
        stream.flush()
    assert isinstance(stop.value.code, int)
    return stop.value.code, out.buffer.getvalue(), err.buffer.getvalue()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "fuse --help",
        "train --help",
        "bench quality --help",
        "list",
        "list --json",
        "list metrics",
        "weights verify",
        "evaluate ct.png mri.png --fused ct.png --metrics ssim,mse",
        "evaluate a b --fused a --fused b --metrics ssim,mse",
        "evaluate ct.png mri.png --fused ct.png --metrics ssim,mse --json",
        "fuse ct.png mri.png -o out.png --model pixel --json",
        "fuse --pairs a b -o out --model pixel",
    ],
)
def test_any_encoding_will_do(command: str, encoding: str) -> None:
    code, out, err = written(command.split(), encoding)
    assert code == 0, err
    text = out.decode(encoding)
    assert text
    if command.endswith("--json"):
        json.loads(text)


def test_signs_are_replaced_and_json_escapes_them() -> None:
    write_texture(Path("größe × Ω.png"), 3)
    arguments = [
        "fuse",
        "größe × Ω.png",
        "mri.png",
        "-o",
        "größe × Ω out.png",
        "--model",
        "pixel",
        "--overwrite",
        "--json",
    ]
    for encoding in ENCODINGS:
        record = json.loads(written(arguments, encoding)[1].decode(encoding))
        assert record["fused"] == "größe × Ω out.png"
        assert record["sources"][0]["path"] == "größe × Ω.png"
    assert written(arguments[:-1], "ascii")[1] == b"gr??e x ? out.png\n"
    code, out, err = written(["fuse", "größer.png", "mri.png", "-o", "out.png"], "ascii")
    assert (code, out, err) == (2, b"", b"fusekit: error: there is no file gr??er.png; check the path\n")
    assert in_signs_of("ascii", "256×256 → 1–2 … “a” ±0.5") == '256x256 -> 1-2 ... "a" +-0.5'


@pytest.mark.process
def test_a_process_in_a_narrow_encoding() -> None:
    plain_c = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    narrow = {"PYTHONIOENCODING": "cp1252"}
    assert b"ssim" in fusekit_process("evaluate", *PAIR, "--fused", "ct.png", "--metrics", "ssim", more=narrow).stdout
    assert b"ssim" in fusekit_process("list", "metrics", more=plain_c).stdout
    done = fusekit_process("fuse", "ct.png", "größe.png".encode(), "-o", "out.png", code=2, more=plain_c)
    assert done.stderr.count(b"\n") == 1
    assert b"there is no file gr" in done.stderr


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_file_names_that_are_no_text() -> None:
    Path("ct.png").rename(os.fsdecode(b"ct\xff.png"))
    given = ("fuse", b"ct\xff.png", "mri.png", "-o", b"out\xfe.png", "--model", "pixel", "--overwrite")
    assert fusekit_process(*given).stdout == b"out\\udcfe.png\n"
    record = json.loads(fusekit_process(*given, "--json", more={"PYTHONIOENCODING": "ascii"}).stdout)
    assert os.fsencode(record["sources"][0]["path"]) == b"ct\xff.png"
    beside = Path(os.fsdecode(b"out\xfe.png.json"))
    assert json.loads(beside.read_text(encoding="utf-8"))["sources"][0]["path"] == os.fsdecode(b"ct\xff.png")
    rated = run_cli(["evaluate", os.fsdecode(b"ct\xff.png"), "mri.png", "--fused", "mri.png", "--metrics", "mse"])
    assert rated.code == 0, rated


# --- text of others -------------------------------------------------------------------------------------------------

#: Markup of rich, escape codes of terminals (colour, title, link), lines, and signs that turn or hide what follows.
STRANGE = (
    "[bold]x[/bold][/red] :smile: \x1b[31mred \x1b]0;title\x07 \x9b2J a\nb\rc\td \u202eevil\u2066\u200bz\u2028\x00"
)
ACTING = ("\x1b", "\x07", "\x9b", "\r", "\t", "\u202e", "\u2066", "\u200b", "\u2028", "\x00")


def test_plain_text() -> None:
    assert plain("256×256 größe 漢字 😀") == "256×256 größe 漢字 😀"
    assert plain("a\x1b[31m\n\u202e\udcff\xa0b") == "a\\x1b[31m\\n\\u202e\\udcff b"
    assert plain(Path("a\nb")) == "a\\nb"
    assert not any(sign in plain(STRANGE) for sign in (*ACTING, "\n"))


def test_messages_are_one_line_whatever_they_hold() -> None:
    class WorseError(Exception):
        def __str__(self) -> str:
            raise ValueError("cannot say")

    assert one_line(FusekitError(f"a{STRANGE}")).startswith("a[bold]x[/bold][/red] :smile: \\x1b[31mred")
    assert one_line(WorseError()) == "WorseError"
    assert len(one_line(FusekitError("x" * 10**6))) < 2100
    assert one_line(FusekitError("no.png: " + "x" * 10**6 + "; take another")).endswith("; take another")


@pytest.fixture
def strange() -> Iterator[None]:
    """Register a rule, a metric and a command whose words are strange, and report a strange plugin."""
    registry = registries()
    before = {hook: each.snapshot() for hook, each in registry.by_hook().items()}
    owner = f"lab{STRANGE}"
    registry.fusion_rules.registrar(owner)("odd", "a.b:C", summary=STRANGE, citation=f"Paper {STRANGE}")
    registry.metrics.registrar(owner)("odd", "a.b:C", direction="lower", summary=STRANGE)
    registry.commands.registrar(owner)("odd", "a.b:C", summary=STRANGE)
    report = PluginReport(f"p{STRANGE}", owner, STRANGE, "a.b", error=STRANGE, traceback=STRANGE)
    registry.reports.append(report)
    yield
    registry.reports.remove(report)
    for hook, each in registry.by_hook().items():
        each.restore(before[hook])


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("list", 0),
        ("list rules", 0),
        ("list metrics", 0),
        ("list plugins", 0),
        ("list commands", 0),
        ("doctor --tracebacks", 0),
        ("--help", 0),
        ("odd", 2),
        ("fuse ct.png mri.png -o out.png --rule odd", 2),
        ("evaluate ct.png mri.png --fused ct.png --metrics odd", 2),
    ],
)
def test_what_plugins_say_is_shown_as_text(command: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    found = run_cli(command.split())
    assert found.code == code, found
    shown = found.out + found.err
    assert not any(sign in shown for sign in ACTING), shown
    assert "[bold]x[/bold][/red]" in shown
    assert ":smile:" in shown
    if "list" in command and command != "list commands":
        json.loads(run_cli([*command.split(), "--json"]).out)


@pytest.mark.skipif(os.name == "nt", reason="such names are not allowed there")
@pytest.mark.parametrize("name", ["[bold]x[red]", "a\x1b[31mb\x9bc", "a\nb", "\u202egnp :smile:"])
def test_names_of_files_are_shown_as_text(name: str) -> None:
    for folder in ("a", "b"):
        write_texture(Path(folder) / f"{name}.png", 7)
    write_texture(Path(f"{name}.png"), 8)
    truncate(write_texture(Path("b") / f"bad{name}.png", 7))
    write_texture(Path("a") / f"bad{name}.png", 7)
    commands = [
        (["fuse", f"{name}.png", "mri.png", "-o", f"{name}.out.png", "--model", "pixel"], 0),
        (["fuse", f"{name}.no.png", "mri.png", "-o", "out.png"], 2),
        (["fuse", "ct.png", "mri.png", "-o", f"{name}/out.png"], 2),
        (["fuse", "--pairs", "a", "b", "-o", f"out{name}", "--model", "pixel"], 1),
        (["fuse", "ct.png", "mri.png", "-o", "out.png", "--model", name], 2),
        (["fuse", "ct.png", "mri.png", "-o", "out.png", "--weights", f"{name}.safetensors"], 2),
        (["evaluate", f"{name}.png", "mri.png", "--fused", f"{name}.png", "--metrics", "mse"], 0),
        (["evaluate", *PAIR, "--metrics", "mse", "--fused", f"{name}=ct.png", "--fused", "b=mri.png"], 0),
        (["evaluate", "ct.png", "mri.png", "--fused", f"{name}.no.png"], 2),
        (["list", name], 2),
        ([name], 2),
        (["bench", "metrics", "--metrics", name], 2),
        (["weights", "verify", name], 2),
    ]
    for arguments, code in commands:
        found = run_cli(arguments)
        assert found.code == code, (arguments, found)
        shown = (found.out + found.err).replace("\n", "") if "\n" not in name else found.err
        assert not any(sign in shown for sign in ACTING if sign != "\r"), (arguments, shown)
        if code == 2:
            assert found.err.count("\n") == 1, found.err


# --- help, much and little talk -------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [(), ("weights",), ("bench",)], ids=lambda group: " ".join(group) or "fusekit")
def test_a_bare_group_shows_its_help(group: tuple[str, ...]) -> None:
    bare, asked = run_cli(group), run_cli([*group, "--help"])
    assert bare.code in (0, 2)
    assert (bare.out + bare.err).strip() == asked.out.strip()
    assert "\n  " in bare.out + bare.err
    assert asked.code == 0
    assert run_cli([*group, "-h"]).out == asked.out


def test_exit_codes_stand_in_the_help_and_in_the_docs() -> None:
    shown = run_cli(["--help"]).out
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code in (0, 1, 2, 70, 130):
        assert f" {code} " in " ".join(shown[shown.index("Exit codes") :].split())
        assert f"| {code} |" in page


@pytest.mark.parametrize(
    "command", ["fuse", "demo", "evaluate", "list", "weights verify", "train", "doctor", "bench speed"]
)
def test_every_command_has_the_common_options(command: str) -> None:
    for flag in ("-h", "--help"):
        code, out, err = run_cli([*command.split(), flag])
        assert code == 0, err
        for option in ("-v, --verbose", "-q, --quiet", "--traceback", "-h, --help"):
            assert option in out


def test_verbose_tells_what_was_done() -> None:
    arguments = ["fuse", *PAIR, "-o", "out.png", "--rule", "max", "--tile", "16", "--overwrite"]
    quiet, verbose = run_cli(arguments), run_cli(["-v", *arguments])
    assert (quiet.out, quiet.err) == ("out.png\n", "")
    assert verbose.out == quiet.out
    assert run_cli([*arguments, "--verbose"]).err.splitlines()[:5] == verbose.err.splitlines()[:5]
    for part in (
        "loaded EHDRAN('ehdran', weights ehdran.ct-mri",
        "source 1: ct.png, 24×20 uint8, 0 to 255 become 0 to 1",
        "weights ehdran.ct-mri (bundled), rule max",
        "4 tiles of 16×16, 1 passes",
        "seconds: read ",
        "fusekit fuse: ",
    ):
        assert part in verbose.err, verbose.err
    assert all(line.startswith("fusekit: ") for line in verbose.err.splitlines())
    folders = run_cli(["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel", "-v"])
    assert "fusekit: 1: through\n" in folders.err
    assert "fusekit list: " in run_cli(["list", "rules", "-v"]).err


def test_quiet_leaves_out_warnings_and_keeps_errors() -> None:
    arguments = ["fuse", *PAIR, "-o", "out.png", "--edge", "sobel", "--overwrite"]
    assert run_cli(arguments).err.startswith("fusekit: warning: ")
    assert run_cli([*arguments, "-q"]) == (0, "out.png\n", "")
    assert run_cli(["-q", *arguments]) == (0, "out.png\n", "")
    run_cli(["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel"])
    truncate(Path("b/2.png"))
    Path("out/2.png").unlink()
    code, out, err = run_cli(["fuse", "--pairs", "a", "b", "-o", "out", "--model", "pixel", "--rule", "max", "-q"])
    assert (code, out) == (1, "out: 1 there already, 1 failed\n")
    assert err.startswith("fusekit: 2: b/2.png is a damaged PNG file")
    assert err.count("\n") == 1


def test_the_traceback_is_shown_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["fuse", "no.png", "mri.png", "-o", "out.png"]
    for given in ([*arguments, "--traceback"], ["--traceback", *arguments]):
        code, _, err = run_cli(given)
        assert code == 2
        assert err.startswith("Traceback (most recent call last):\n")
        assert err.splitlines()[-1] == "fusekit: error: there is no file no.png; check the path"
    monkeypatch.setenv("FUSEKIT_TRACEBACK", "1")
    assert run_cli(arguments).err.startswith("Traceback")
    monkeypatch.setenv("FUSEKIT_TRACEBACK", "0")
    assert run_cli(arguments).err.count("\n") == 1


# --- standard output ------------------------------------------------------------------------------------------------

LOUD = """
import ctypes, os, subprocess, sys, threading, atexit
import click
from torch import Tensor
from fusekit.cli import progress
from fusekit.cli.main import run
from fusekit.extend import FusionRule, RuleResult
from fusekit.registry.discovery import registries

def shout():
    print("from Python")
    os.write(1, b"from the system\\n")
    subprocess.run([sys.executable, "-c", "print('from a process')"])
    ctypes.CDLL(None).puts(b"from C")

class Loud(FusionRule):
    def apply(self, features):
        shout()
        return RuleResult(features[0] + 0)

registries().fusion_rules.registrar("a-test")("loud", "__main__:Loud")
atexit.register(shout)
run()
"""


@pytest.mark.process
@pytest.mark.skipif(os.name == "nt", reason="handles are those of POSIX")
def test_nothing_but_the_result_reaches_standard_output() -> None:
    arguments = ["fuse", *PAIR, "-o", "out.png", "--model", "pixel", "--rule", "loud", "--json"]
    done = subprocess.run([sys.executable, "-c", LOUD, *arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rule"]["name"] == "loud"
    for said in ("from Python", "from the system", "from a process", "from C"):
        assert done.stderr.count(said) == 2, done.stderr


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a file that is always full")
@pytest.mark.parametrize("command", ["list rules", "list --json", "--help"])
def test_a_full_disk_behind_standard_output_is_told(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fusekit", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("fusekit: error: ")
    assert "No space left on device; make room" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.process
@pytest.mark.parametrize("command", ["list", "list --json", "--help", "evaluate ct.png mri.png --fused ct.png -q"])
def test_a_reader_that_goes_is_no_error(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "fusekit", *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(os.name == "nt", reason="the shell is that of POSIX")
def test_closed_handles_are_no_error() -> None:
    command = f"exec {sys.executable} -m fusekit fuse ct.png mri.png -o out.png --model pixel >&- 2>&- <&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert json.loads(Path("out.png.json").read_text(encoding="utf-8"))["model"]["name"] == "pixel"


def program(seconds: float) -> str:
    """Return fusekit as a program, whose bars appear after so many seconds."""
    return f"from fusekit.cli import main, progress; progress._SECONDS = {seconds}; main.run()"


def on_a_terminal(*arguments: str, seconds: float = 0) -> tuple[str, bytes]:
    """Run fusekit with standard error on a terminal and a bar after some seconds; return its output and what showed."""
    ours, theirs = pty.openpty()
    process = Forked(program(seconds), *arguments, error=theirs)
    shown = b""
    while not process.ended() or select.select([ours], [], [], 0)[0]:
        if select.select([ours], [], [], 0.02)[0]:
            shown += os.read(ours, 1 << 16)
    os.close(theirs)
    os.close(ours)
    done = process.wait()
    assert done.returncode == 0, shown
    return done.stdout, shown


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="terminals are those of POSIX")
def test_long_work_is_seen_on_a_terminal_and_nowhere_else() -> None:
    assert progress._SECONDS == 2
    for seed in (1, 2):
        write_texture(Path(f"large{seed}.png"), seed, 100, 100)
    arguments = ["fuse", "large1.png", "large2.png", "-o", "out.png", "--rule", "l1", "--tile", "32", "--overwrite"]
    for more, seconds, seen in (([], 0.0, True), ([], 100.0, False), (["-q"], 0.0, False)):
        out, shown = on_a_terminal(*arguments, *more, seconds=seconds)
        assert out == "out.png\n"
        assert (b"tiles" in shown) == seen, shown
    assert run_forked(program(0), *arguments).stderr == ""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="terminals are those of POSIX")
def test_rating_and_drawing_are_seen_on_a_terminal_and_nowhere_else() -> None:
    for number in (1, 2):
        write_texture(Path(f"mine/{number}.png"), 7 + number)
    arguments = ["evaluate", "a", "b", "--fused", "mine", "--metrics", "ssim", "--html", "page.html", "--overwrite"]
    for more, seen in ((["--json"], True), (["--json", "-q"], False)):
        out, shown = on_a_terminal(*arguments, *more)
        assert json.loads(out)["images"] == ["1", "2"]
        for work in (b"rating", b"drawing"):
            assert (work in shown) == seen, shown
    assert run_forked(program(0), *arguments).stderr == ""
