"""Pipes, sockets, devices and folders where a file is wanted: refused by name without being opened, in every option."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.cli import run_cli, texture, write_texture
from helpers.pictures import pillow_bytes

import fusekit
from fusekit.cases.datasets import read_datasets
from fusekit.cases.names import read_names
from fusekit.errors import FusekitError, InputError, OutputError
from fusekit.images.files import read_image
from fusekit.machine.files import check_regular, check_writable, irregular, sha256_of
from fusekit.record import read_record
from fusekit.train.log import CsvLog
from fusekit.weights.checkpoints import read_checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="these are files of POSIX")
KINDS = {
    "pipe": "a pipe (FIFO)",
    "linked-pipe": "a pipe (FIFO)",
    "socket": "a socket",
    "device": "a device",
    "linked-device": "a device",
    "folder": "a folder",
}


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """Let a test fail that waits for a pipe."""

    def give_up(*_: object) -> None:
        raise TimeoutError("it waits for a file that never ends")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(path: Path, kind: str) -> Path:
    """Make a file of a kind, or return the device that is there."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "linked-pipe":
        os.mkfifo(path.with_name(f"{path.name}-itself"))
        path.symlink_to(path.with_name(f"{path.name}-itself"))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            before = Path.cwd()
            os.chdir(path.parent)
            server.bind(path.name)
            os.chdir(before)
    elif kind == "linked-device":
        path.symlink_to("/dev/zero")
    else:
        return Path("/dev/zero")
    return path


OPENERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "image": ("x.png", read_image),
    "source": ("x.tif", lambda path: fusekit.fuse([path, texture(1)], "pixel")),
    "fused image": ("x.png", lambda path: fusekit.evaluate([texture(1)], path, "mse")),
    "digest": ("x.png", sha256_of),
    "list of names": ("names.txt", read_names),
    "list in JSON": ("names.json", lambda path: read_names(f"{path}#/test")),
    "datasets": ("sets.json", lambda path: read_datasets(path.parent, path)),
    "weights": ("w.safetensors", lambda path: fusekit.load("ehdran", weights=path)),
    "model": ("w.safetensors", lambda path: fusekit.load(path)),
    "checkpoint": ("w.pth", read_checkpoint),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("opener", OPENERS)
def test_whatever_reads_a_file_names_what_is_none(tmp_path: Path, opener: str, kind: str) -> None:
    name, read = OPENERS[opener]
    if kind == "folder" and opener in ("weights", "model"):
        pytest.skip("a folder may hold weights")
    path = special(tmp_path / name, kind)
    with pytest.raises(FusekitError, match=r"not a regular file but") as caught:
        read(path)
    assert f"not a regular file but {KINDS[kind]}" in str(caught.value)
    assert str(path) in str(caught.value)


def test_files_links_to_files_and_nothing_are_not_special(tmp_path: Path) -> None:
    path = write_texture(tmp_path / "a.png", 1)
    (tmp_path / "link.png").symlink_to(path)
    (tmp_path / "broken.png").symlink_to(tmp_path / "absent")
    for name in ("a.png", "link.png", "broken.png", "absent.png", "x" * 300):
        assert irregular(tmp_path / name) is None
        check_regular(tmp_path / name)
    assert read_image(tmp_path / "link.png").size == (24, 20)
    with pytest.raises(InputError, match="there is no file"):
        read_image(tmp_path / "broken.png")


@pytest.mark.parametrize("kind", ["pipe", "socket", "linked-device"])
def test_nothing_is_written_onto_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = special(tmp_path / "out.png", kind)
    with pytest.raises(OutputError, match=r"out\.png: it is not a regular file but"):
        check_writable(path)
    sources = [write_texture(tmp_path / f"{seed}.png", seed) for seed in (1, 2)]
    code, printed, err = run_cli(["fuse", *sources, "-o", path, "--overwrite", "--model", "pixel"])
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "not a regular file but" in err
    assert irregular(path) is not None
    csv = special(tmp_path / "ratings.csv", kind)
    command = ["evaluate", *sources, "--fused", sources[0], "--metrics", "mse", "--csv", csv]
    assert "not a regular file but" in run_cli(command).err


def test_a_record_or_a_log_that_is_a_pipe(tmp_path: Path) -> None:
    special(tmp_path / "a.png.json", "pipe")
    assert read_record(tmp_path / "a.png") is None
    log = CsvLog(special(tmp_path / "log.csv", "pipe"))
    for use in (lambda: log.trim(3), lambda: log.write({"step": 1})):
        with pytest.raises(FusekitError, match=r"log\.csv is not a regular file but a pipe"):
            use()


def test_pairs_go_on_past_what_is_no_file(tmp_path: Path) -> None:
    for folder, seed in (("ct", 1), ("mri", 2)):
        write_texture(tmp_path / folder / "good.png", seed)
        special(tmp_path / folder / "folder.png", "folder")
        special(tmp_path / folder / "pipe.png", "pipe")
        special(tmp_path / folder / "zero.png", "linked-device")
        (tmp_path / folder / "half.png").write_bytes(pillow_bytes(texture(seed), "PNG"))
    (tmp_path / "mri" / "half.png").unlink()
    special(tmp_path / "mri" / "half.png", "linked-pipe")
    out = tmp_path / "out"
    command = ["fuse", "--pairs", tmp_path / "ct", tmp_path / "mri", "-o", out, "--model", "pixel", "--rule", "mean"]
    code, _, err = run_cli(command)
    assert code == 1
    assert sorted(path.name for path in out.iterdir()) == ["good.png", "good.png.json"]
    for name, kind in (("pipe", "pipe"), ("zero", "linked-device"), ("folder", "folder"), ("half", "pipe")):
        lines = [line for line in err.splitlines() if f"{name}.png is not a regular file but" in line]
        assert len(lines) == 1, err
        assert f"is not a regular file but {KINDS[kind]}; name" in lines[0]


def test_training_refuses_what_is_no_file(tmp_path: Path) -> None:
    write_texture(tmp_path / "ct" / "1001.png", 1, 80, 80)
    special(tmp_path / "ct" / "1002.png", "pipe")
    code, _, err = run_cli(["train", tmp_path / "ct", "-o", tmp_path / "run", "--steps", "1"])
    assert code == 2
    assert "1002.png is not a regular file but a pipe (FIFO); name a file" in err
