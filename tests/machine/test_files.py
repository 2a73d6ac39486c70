"""Files that are never half there, and the clearing away of what killed processes leave."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusekit.errors import OutputError
from fusekit.machine import files
from fusekit.machine.files import (
    atomic_path,
    check_writable,
    ignores_case,
    remove_stale_partials,
    same_file,
    sha256_of,
    stat_of,
    write_together,
)
from fusekit.machine.files import write_text_atomically as write


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.png"
    with atomic_path(target) as partial:
        partial.write_bytes(b"new")
        assert partial.parent == tmp_path
        assert partial.name.startswith(".")
        assert partial.suffix != ".png"
        assert not target.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_file_stays_when_the_block_raises(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(target) as partial:
            partial.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes() == b"old"


def test_an_os_error_names_the_target(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "out.txt"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match=r"cannot write .*out\.txt: No space left on device"):
        fail()
    assert not list(tmp_path.iterdir())


def test_long_names(tmp_path: Path) -> None:
    fits = tmp_path / ("ä" * 120 + ".txt")
    write(fits, "text")
    assert fits.read_text(encoding="utf-8") == "text"
    with (
        atomic_path(tmp_path / ("b" * 200 + ".png")) as image,
        atomic_path(tmp_path / ("b" * 200 + ".png.json")) as text,
    ):
        assert image != text
        image.write_text("")
        text.write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write(tmp_path / ("a" * 300 + ".txt"), "text")


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.png")
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match="it is a folder; name a file in it"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match=r"the folder .* does not exist; create it first"):
        check_writable(tmp_path / "absent" / "new.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="does not exist"):
        check_writable(tmp_path / "file" / "new.png")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            check_writable(tmp_path / "new.png")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX")
def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to(os.devnull)
    (tmp_path / "round").symlink_to("round")
    for name, message in (
        ("pipe", "it is not a regular file but a pipe .FIFO.; name a file"),
        ("device", "it is not a regular file but a device; name a file"),
        ("round", "Too many levels of symbolic links"),
        ("n" * 300, "its name is too long for the file system; choose a shorter one"),
    ):
        with pytest.raises(OutputError, match=message):
            check_writable(tmp_path / name)
        with pytest.raises(OutputError, match=message):
            write(tmp_path / name, "text")
    assert (tmp_path / "device").is_symlink()


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    check_writable(target, overwrite=False)
    target.write_text("")
    check_writable(target)
    with pytest.raises(OutputError, match=r"out\.txt: it is there already; --overwrite replaces it"):
        check_writable(target, overwrite=False)


def test_names_that_are_no_utf_8_are_written_as_json_says_them(tmp_path: Path) -> None:
    write(tmp_path / "a.json", '{"path": "a\udcff.png"}')
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": "a\udcff.png"}


# --- several files together --------------------------------------------------------------------------------------


def test_files_are_written_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a.json", tmp_path / "a.png"
    write_together({first: b"1", second: b"1"}, lambda: None)
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"1")

    def refuse() -> None:
        raise OutputError("no")

    with pytest.raises(OutputError, match="no"):
        write_together({first: b"2", second: b"2"}, refuse)
    new = tmp_path / "b.json"
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target == second:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match=r"cannot write .*a\.png: No space left on device"):
        write_together({new: b"2", second: b"2"}, lambda: None)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.json": b"1", "a.png": b"1"}


def test_pairs_of_files_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    pair = [tmp_path / "a.json", tmp_path / "a.png"]
    seen = []

    def write_own(number: int) -> None:
        for _ in range(30):
            write_together(dict.fromkeys(pair, b"%d" % number), lambda: seen.append({p.read_bytes() for p in pair}))

    write_together(dict.fromkeys(pair, b"0"), lambda: None)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_own, range(4)))
    assert len(seen) == 120
    # Whoever has the folder for itself sees two files of one writer.
    assert all(len(contents) == 1 for contents in seen)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "a.png"}


def test_without_locks_files_are_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LONGEST_WAIT", 0.05)
    fcntl = pytest.importorskip("fcntl")
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    write_together({tmp_path / "a": b"1"}, lambda: None)
    os.close(held)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write_together({tmp_path / "b": b"1"}, lambda: None)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


# --- what is there -----------------------------------------------------------------------------------------------


def test_paths_that_lead_to_one_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    assert same_file(tmp_path / "a", tmp_path / "link")
    assert not same_file(tmp_path / "a", tmp_path)
    assert not same_file(tmp_path / "a", tmp_path / ("n" * 300))
    assert stat_of(tmp_path / "a" / "b") is None
    assert stat_of(Path("a\0b")) is None
    assert not ignores_case(tmp_path / "absent")


# --- what killed processes leave ---------------------------------------------------------------------------------


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def partial_of(folder: Path, process: int, host: str) -> Path:
    """Leave what a process of that number and host would leave if it were killed while writing."""
    with atomic_path(folder / "out.png") as partial:
        name = partial.name.replace(f"{socket.gethostname()}-{os.getpid()}", f"{host}-{process}")
        partial.write_bytes(b"")
    (folder / "out.png").unlink()
    left = folder / name
    left.write_bytes(b"half")
    return left


@pytest.mark.process
def test_only_dead_processes_of_this_host_are_cleared_away(tmp_path: Path) -> None:
    here = socket.gethostname()
    stale = partial_of(tmp_path, dead_process(), here)
    of_others = partial_of(tmp_path, dead_process(), "another-host")
    alive = partial_of(tmp_path, os.getppid(), here)
    dead = stale.name.removesuffix(".fusekit-partial").rpartition("-")[2]
    assert dead.isdigit()
    foreign = (
        ".fusekit-partial",
        f".x~1~{here}-nonsense.fusekit-partial",
        f"x~1~{here}-{dead}.fusekit-partial",
        f".x~{here}-{dead}.fusekit-partial",
        f".x~1~{here}-{dead}.fusekit-partial.txt",
        f".x~1~{here}-{'9' * 40}.fusekit-partial",
        "image.png",
        ".hidden.png",
    )
    for name in foreign:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / f".folder~1~{here}-{dead}.fusekit-partial").mkdir()
    (tmp_path / f".link~1~{here}-{dead}.fusekit-partial").symlink_to("image.png")
    before = set(tmp_path.iterdir())
    assert remove_stale_partials(tmp_path) == 1
    assert before - set(tmp_path.iterdir()) == {stale}
    assert of_others.exists()
    assert alive.exists()


def test_sha256(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "data").write_bytes(data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()
