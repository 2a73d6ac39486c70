"""Files that are never half there, and the clearing away of what killed processes leave."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fusekit.errors import OutputError
from fusekit.machine.files import atomic_path, check_writable, remove_stale_partials, sha256_of
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
    for name in (".fusekit-partial", f".x~{here}-nonsense.fusekit-partial", "image.png", ".hidden.png"):
        (tmp_path / name).write_bytes(b"")
    before = set(tmp_path.iterdir())
    assert remove_stale_partials(tmp_path) == 1
    assert before - set(tmp_path.iterdir()) == {stale}
    assert of_others.exists()
    assert alive.exists()


def test_sha256(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    (tmp_path / "data").write_bytes(data)
    assert sha256_of(tmp_path / "data") == hashlib.sha256(data).hexdigest()
