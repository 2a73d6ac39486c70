"""The promises of SECURITY.md that no other test holds, and that each test named there exists."""

from __future__ import annotations

import ast
import functools
import os
import pickle
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from helpers.cli import run_cli, truncate, write_texture
from helpers.paths import ROOT

PAIR = ("ct.png", "mri.png")
CODE = sorted([*ROOT.glob("fusekit/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")])


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate((*PAIR, "a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        write_texture(Path(name), seed)


def test_every_test_that_is_named_exists() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    promised = page[: page.index("## What is not promised")]
    rows = [line for line in promised.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) >= 12
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (
                f"{file}::{test}"
            )


# --- code -----------------------------------------------------------------------------------------------------------


@functools.cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Return each call in the code: its file, what is called, and the call."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.unparse(node.func), node)
        for path in CODE
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


@pytest.mark.slow
def test_one_place_alone_reads_pickles() -> None:
    readers = ("torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "numpy.load", "np.load", "joblib.load")
    found = [each for each in calls() if each[1] in readers or "unpickler" in each[1].lower()]
    safe = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
    assert "torch.load" in {called for _, called, _ in found} <= set(safe)
    for file, called, call in found:
        assert file == "fusekit/weights/checkpoints.py"
        keyword, wanted = safe[called]
        (given,) = [each.value for each in call.keywords if each.arg == keyword]
        assert isinstance(given, ast.Constant)
        assert given.value is wanted


@pytest.mark.slow
def test_no_text_is_evaluated_or_given_to_a_shell() -> None:
    for file, called, call in calls():
        assert called not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), file
        assert not any(each.arg == "shell" for each in call.keywords), file


class Payload:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("run-by-a-pickle",)


@pytest.mark.parametrize("name", ["payload.pth", "payload.safetensors", "payload.png", "payload"])
def test_a_checkpoint_that_would_run_code_runs_none(name: str) -> None:
    for zipped in (True, False):
        torch.save({"model": Payload()}, name, _use_new_zipfile_serialization=zipped)
        commands = [
            ["weights", "convert", name, "--model", "ehdran", "-o", "o.safetensors"],
            ["fuse", *PAIR, "-o", "out.png", "--weights", f"./{name}"],
            ["fuse", *PAIR, "-o", "out.png", "--model", f"./{name}"],
            ["fuse", name, "mri.png", "-o", "out.png"],
            ["evaluate", *PAIR, "--fused", name],
            ["fuse", "--pairs", "a", "b", "-o", "out", "--names", name],
        ]
        for command in commands:
            code, _, err = run_cli(command)
            assert code == 2, command
            assert err.count("\n") == 1, err
    assert not Path("run-by-a-pickle").exists()
    pickle.loads(pickle.dumps(Payload()))
    assert Path("run-by-a-pickle").exists()


# --- network --------------------------------------------------------------------------------------------------------

OFFLINE = """
import socket, sys

def refuse(*arguments, **more):
    raise AssertionError(f"the network was asked: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from helpers.cli import run_cli
for line in sys.stdin.read().splitlines():
    code, out, err = run_cli(line.split())
    assert code == 0, (line, err)
print("quiet")
"""
COMMANDS = """
fuse ct.png mri.png -o out.png
fuse ct.png mri.png -o other.png --model ehdran.pet-mri --rule max
fuse --pairs a b -o out --model dilran
evaluate ct.png mri.png --fused out.png --metrics standard --html page.html
evaluate a b --fused out --metrics mse --csv rows.csv
demo -o demo
list
list weights --json
weights verify
doctor
"""


@pytest.mark.slow
@pytest.mark.process
def test_nothing_asks_the_network() -> None:
    paths = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE],
        input=COMMANDS.strip(),
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "quiet\n"), done.stderr


# --- files ----------------------------------------------------------------------------------------------------------


def contents() -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path().rglob("*") if path.is_file()}


def test_no_other_file_is_touched() -> None:
    for name in ("out.png.txt", ".out.png", "out.jpg.json", "a/1.png.json", "out/3.png", "out/3.png.json", "notes.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("somebody else's")
    truncate(write_texture(Path("bad.png"), 3))
    before = contents()
    commands = {
        "fuse ct.png mri.png -o out.png --model pixel": {"out.png", "out.png.json"},
        "fuse ct.png bad.png -o new.png --model pixel": set(),
        "fuse ct.png mri.png -o ct.png --model pixel": set(),
        "fuse --pairs a b -o out --model pixel": {f"out/{name}.png{end}" for name in "12" for end in ("", ".json")},
        "fuse --pairs a b -o a --model pixel": set(),
        "evaluate ct.png mri.png --fused out.png --metrics mse --csv r.csv --html r.html": {"r.csv", "r.html"},
        "evaluate a b --fused out --metrics mse": set(),
        "list": set(),
        "weights verify": set(),
    }
    made: set[str] = set()
    for command, files in commands.items():
        run_cli(command.split())
        made |= files
        after = contents()
        assert {path.as_posix() for path in after.keys() - before.keys()} == made, command
        assert {path: after[path] for path in before} == before, command


def _png(side: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    rows = zlib.compress(bytes(10_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _bmp(side: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1000, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(900)


def _tiff(side: int) -> bytes:
    tags = {
        256: (4, side),
        257: (4, side),
        258: (3, 16),
        259: (3, 1),
        262: (3, 1),
        273: (4, 200),
        277: (3, 1),
        278: (4, side),
    }
    tags[279] = (4, min(side * side * 2, 2**32 - 1))
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(400)


def _jpeg(side: int) -> bytes:
    path = write_texture(Path("small.jpg"), 1)
    data = path.read_bytes()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", min(side, 65500), min(side, 65500)) + data[at + 4 :]


PEAK = """
import sys
from helpers.fuzz_worker import _reset_peak, _status
from helpers.cli import run_cli
run_cli(["fuse", "ct.png", "mri.png", "-o", "out.png", "--model", "pixel"])
before = _reset_peak()
for name in sys.argv[1:]:
    code, out, err = run_cli(["fuse", "ct.png", name, "-o", "new.png", "--model", "pixel"])
    assert (code, out, err.count("\\n")) == (2, "", 1), (name, err)
print(0 if before is None else _status("VmHWM") - before)
"""


@pytest.mark.process
def test_a_header_that_promises_much_takes_no_memory() -> None:
    for name, make in {"large.png": _png, "large.bmp": _bmp, "large.tif": _tiff, "large.jpg": _jpeg}.items():
        Path(name).write_bytes(make(60_000))
    paths = os.pathsep.join([str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "large.png", "large.bmp", "large.tif", "large.jpg"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 << 20


def test_the_page_shows_names_as_text() -> None:
    strange = "<script>alert(1)</script>"
    write_texture(Path("a/<b>1&.png"), 1)
    write_texture(Path("b/<b>1&.png"), 2)
    arguments = [
        "evaluate",
        "a",
        "b",
        "--fused",
        f"{strange}=a",
        "--fused",
        "b",
        "--metrics",
        "mse",
        "--html",
        "page.html",
    ]
    assert run_cli(arguments).code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>1&." not in page
