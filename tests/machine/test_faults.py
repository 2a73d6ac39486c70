"""What the system refuses is told in our words, by the command line and by the functions of Python alike."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.cli import run_cli, write_texture

import fusekit
from fusekit.errors import FusekitError, InputError, MachineError, one_line
from fusekit.machine.faults import as_ours, in_our_words

LONG = "a" * 300


def system(number: int, name: str | None = "ct.png") -> OSError:
    return OSError(number, os.strerror(number), name)


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (system(errno.ENAMETOOLONG), InputError, "cannot use ct.png: File name too long; choose a shorter name"),
        (system(errno.EACCES), InputError, "cannot use ct.png: Permission denied; check its permissions"),
        (system(errno.ELOOP), InputError, "the links go round in a circle; name the file itself"),
        (system(errno.ENOTDIR), InputError, "cannot use ct.png: Not a directory; check the path"),
        (system(errno.ENOSPC), MachineError, "cannot use ct.png: No space left on device; make room on the disk"),
        (system(errno.ENOSPC, None), MachineError, "the system refuses: No space left on device; make room"),
        (system(errno.EROFS), MachineError, "choose another folder"),
        (
            system(errno.EMFILE),
            MachineError,
            "Too many open files; allow more open files (ulimit -n)",
        ),
        (system(errno.EAGAIN, None), MachineError, "allow more processes and threads (ulimit -u)"),
        (system(errno.ENOMEM), MachineError, "the memory does not suffice"),
        (system(errno.EXDEV), InputError, "cannot use ct.png: Invalid cross-device link; check it"),
        (MemoryError(), MachineError, "the memory does not suffice; allow more of it, or ask for less"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), MachineError, "the memory does not suffice"),
        (RuntimeError("can't start new thread"), MachineError, "the system starts no further thread"),
        (RuntimeError("unable to open file: Too many open files (24)"), MachineError, "ulimit -n"),
        (
            ImportError("x\n\nlibtorch.so: failed to map segment from shared object\n"),
            MachineError,
            "no memory to load a library (libtorch.so: failed to map segment from shared object)",
        ),
        (OSError("libgomp.so.1: failed to map segment from shared object"), MachineError, "no memory to load"),
        (RecursionError("maximum recursion depth exceeded"), InputError, "nested too deeply"),
        (
            UnicodeEncodeError("ascii", "größe", 2, 3, "no"),
            InputError,
            "'größe' cannot be written in the encoding",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_faults_of_the_system(error: BaseException, kind: type, line: str) -> None:
    found = as_ours(error)
    assert type(found) is kind
    assert line in one_line(found)
    assert "\n" not in str(found)


def test_other_errors_are_not_of_the_system() -> None:
    for error in (
        KeyError("a"),
        RuntimeError("illegal memory access"),
        OSError("odd"),
        BrokenPipeError(errno.EPIPE, "x"),
    ):
        assert as_ours(error) is None
    ours = InputError("mine")
    assert as_ours(ours) is ours


def test_functions_speak_in_our_words() -> None:
    @in_our_words
    def read(number: int) -> None:
        raise system(number) if number else KeyError("as it is")

    with pytest.raises(InputError, match="choose a shorter name") as caught:
        read(errno.ENAMETOOLONG)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(KeyError):
        read(0)


@pytest.fixture
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("ct.png", "mri.png", "a/1.png", "b/1.png")):
        write_texture(Path(name), seed)
    Path("circle.png").symlink_to("circle.png")
    Path("circle").symlink_to("circle")


@pytest.mark.usefixtures("_in_a_folder_of_sources")
@pytest.mark.parametrize("name", [LONG, f"{LONG}.png", "circle.png", "circle/x.png", "ct.png/x.png"])
def test_names_that_no_system_takes(name: str) -> None:
    pair = ["ct.png", "mri.png"]
    commands = [
        ["fuse", name, "mri.png", "-o", "out.png"],
        ["fuse", *pair, "-o", f"{name}.png"] if "circle" not in name else ["fuse", *pair, "-o", "circle/out.png"],
        ["fuse", *pair, "-o", "out.png", "--model", f"./{name}"],
        ["fuse", *pair, "-o", "out.png", "--weights", f"./{name}"],
        ["fuse", *pair, "-o", "out.png", "--weights", f"{name}.safetensors"],
        ["fuse", "--pairs", name, "b", "-o", "out"],
        ["fuse", "--pairs", "a", "b", "-o", "ct.png" if "circle.png" in name else name],
        ["fuse", "--pairs", "a", "b", "-o", "out", "--names", name],
        ["evaluate", name, "mri.png", "--fused", "ct.png"],
        ["evaluate", *pair, "--fused", name],
        ["evaluate", *pair, "--fused", "ct.png", "--csv", f"{name}/x.csv"],
        ["evaluate", "a", "b", "--fused", "a", "--names", name],
        ["weights", "convert", name, "--model", "ehdran", "-o", "o.safetensors"],
        ["train", name, "-o", "run"],
        ["demo", "-o", "ct.png" if "circle.png" in name else name],
        ["bench", "metrics", name, name, name],
    ]
    for command in commands:
        code, out, err = run_cli(command)
        assert (code, out, err.count("\n")) == (2, "", 1), (command, err)
        assert err.startswith("fusekit: error: "), err


@pytest.mark.usefixtures("_in_a_folder_of_sources")
def test_python_raises_what_the_command_line_says() -> None:
    calls = [
        lambda: fusekit.fuse([f"{LONG}.png", "mri.png"], "pixel"),
        lambda: fusekit.load(f"./{LONG}"),
        lambda: fusekit.fuse_folders([LONG, "b"], "out", "pixel"),
        lambda: fusekit.fuse_folders(["a", "b"], LONG, "pixel"),
        lambda: fusekit.evaluate([f"{LONG}.png"], "mri.png"),
    ]
    for call in calls:
        with pytest.raises(FusekitError, match=r"(File name|name is) too long"):
            call()


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="limits are those of Linux")
@pytest.mark.parametrize(
    ("limit", "line"),
    [
        ("ulimit -v 100000", "the limit of memory (ulimit -v) leaves "),
        ("ulimit -v 500000", "the limit of memory (ulimit -v) leaves "),
        ("ulimit -n 5", "Too many open files; allow more open files (ulimit -n)"),
        ("ulimit -f 1", "cannot write out.png"),
    ],
)
@pytest.mark.usefixtures("_in_a_folder_of_sources")
def test_limits_of_the_shell(limit: str, line: str) -> None:
    write_texture(Path("ct.png"), 1, 200, 200)
    write_texture(Path("mri.png"), 2, 200, 200)
    python = f"{sys.executable} -m fusekit fuse ct.png mri.png -o out.png"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["sh", "-c", f"{limit}; exec {python}"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert line in done.stderr
    assert not Path("out.png").exists()


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted otherwise elsewhere")
@pytest.mark.usefixtures("_in_a_folder_of_sources")
def test_threads_that_cannot_be_started() -> None:
    code = (
        "import threading; from fusekit.cli.main import run\n"
        'def start(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start; run()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "fuse", "ct.png", "mri.png", "-o", "out.png"],
        env={**os.environ, "OMP_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("fusekit: error: the system starts no further thread; allow more")
    assert done.returncode != -signal.SIGABRT
    assert done.stderr.count("\n") == 1
