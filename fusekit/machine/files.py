"""Reading and writing files so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from fusekit.errors import FusekitError, InputError, OutputError

_PARTIAL = ".fusekit-partial"
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: Seconds to wait for another process to put its files into a folder, which takes it milliseconds.
_LONGEST_WAIT = 10.0


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file's bytes.

    Raises:
        InputError: it is no regular file.
    """
    check_regular(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_all(paths: Iterable[Path]) -> str:
    """Return the SHA-256 digest of the files' digests in order, to tell whether two lists of files are the same."""
    return hashlib.sha256("".join(sha256_of(path) for path in paths).encode()).hexdigest()


def cache_folder() -> Path | None:
    """Return the user's folder for what fusekit can make again, which need not be there.

    ``FUSEKIT_CACHE`` names it; otherwise it is ``fusekit`` in ``XDG_CACHE_HOME`` or in ``~/.cache``, and ``None``
    where the user has no home.
    """
    ours, base = os.environ.get("FUSEKIT_CACHE"), Path(os.environ.get("XDG_CACHE_HOME") or "")
    if ours:
        return Path(ours)
    try:
        # By the XDG specification a relative path counts as none.
        return (base if base.is_absolute() else Path.home() / ".cache") / "fusekit"
    except RuntimeError:
        return None


def stat_of(path: Path) -> os.stat_result | None:
    """Return what is known of a file, folder or device, links followed; ``None`` where there is nothing.

    Raises:
        OSError: that cannot be told: a folder on the way may not be entered, or the name is too long.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        # A name with a zero byte, which no file system holds.
        return None


def is_folder(path: Path) -> bool:
    """Return whether there is a folder at ``path``; no, where that cannot be told."""
    return _is(path, stat.S_ISDIR)


def check_reachable(path: Path) -> None:
    """Raise `InputError` where it cannot be told what is at a path: a folder on the way may not be entered."""
    try:
        stat_of(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {why(error)}") from error


def is_file(path: Path) -> bool:
    """Return whether there is a regular file at ``path``; no, where that cannot be told."""
    return _is(path, stat.S_ISREG)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        there = stat_of(path)
    except OSError:
        return False
    return there is not None and kind(there.st_mode)


def irregular(path: Path) -> str | None:
    """Return what is at ``path``, links followed, that is no regular file; ``None`` for a file, and where nothing is.

    Nothing is opened to find out: a pipe may be waited for without end, a device may do something.
    """
    try:
        there = stat_of(path)
    except OSError:
        return None
    kind = 0 if there is None else stat.S_IFMT(there.st_mode)
    return None if kind in (0, stat.S_IFREG) else _KINDS.get(kind, "something else")


def check_regular(path: Path, error: type[FusekitError] = InputError) -> None:
    """Raise ``error`` for a pipe, a socket, a device or a folder; whoever reads a file asks this before opening it."""
    kind = irregular(path)
    if kind is not None:
        raise error(f"{path} is not a regular file but {kind}; name a file")


def same_file(first: Path, second: Path) -> bool:
    """Return whether two paths lead to one file or folder, by links, ``.`` or a second spelling."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return False


def why(error: OSError) -> str:
    """Return the reason of an error of the operating system, without number and path."""
    if error.errno == errno.ENAMETOOLONG:
        return "its name is too long for the file system; choose a shorter one"
    return error.strerror or str(error)


def check_writable(target: Path, overwrite: bool = True) -> None:
    """Raise `OutputError` unless a file can be made at ``target``; what is there stays unless it is to be replaced."""
    check_place(target, overwrite)
    refused = _creation_refused(target.parent)
    if refused is not None:
        raise OutputError(f"cannot write {target}: {refused}")


def check_place(target: Path, overwrite: bool = True) -> None:
    """Raise `OutputError` where a folder, a device or a file that is to stay is at ``target``, or its folder is not."""
    try:
        there, folder = stat_of(target), stat_of(target.parent)
        taken = there is not None or target.is_symlink()
    except OSError as error:
        raise OutputError(f"cannot write {target}: {why(error)}") from error
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise OutputError(f"cannot write {target}: it is a folder; name a file in it")
    kind = irregular(target)
    if kind is not None:
        raise OutputError(f"cannot write {target}: it is not a regular file but {kind}; name a file")
    if folder is None or not stat.S_ISDIR(folder.st_mode):
        raise OutputError(f"cannot write {target}: the folder {target.parent} does not exist; create it first")
    if taken and not overwrite:
        raise OutputError(f"cannot write {target}: it is there already; --overwrite replaces it")


def _creation_refused(folder: Path) -> str | None:
    """Return why no file can be made in ``folder``, by trying: permission bits alone do not tell."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".fusekit-"):
            return None
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return f"no permission to write in {folder}"
        return f"{why(error)} ({folder})"


def ignores_case(folder: Path) -> bool:
    """Return whether capitals make no difference to the names of files in ``folder``, by trying."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".fusekit-a-") as file:
            return stat_of(folder / Path(file.name).name.swapcase()) is not None
    except OSError:
        return False


def make_folder(folder: Path) -> None:
    """Make a folder to write in, and those above it, unless it is there.

    Raises:
        OutputError: it cannot be made, or no file in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OutputError(f"cannot make the folder {folder}: a file is there; name a folder") from None
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {why(error)}") from error
    refused = _creation_refused(folder)
    if refused is not None:
        raise OutputError(f"cannot write in the folder {folder}: {refused}")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` that takes its place if the block ends well, and vanishes otherwise.

    A process that is killed leaves the temporary file behind, hidden and without the target's extension, so that
    nobody takes it for an image; `remove_stale_partials` clears those away.

    Raises:
        OutputError: the folder is missing or not writable, or a folder or a device is at ``target``.
    """
    target = Path(target)
    check_place(target)
    with _partial_of(target) as partial:
        yield partial
        partial.replace(target)


def write_text_atomically(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target`` in one step.

    Bytes of a file's name that are no UTF-8 are written as ``\\udcff``, which in JSON says just that.
    """
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_together(contents: Mapping[Path, bytes], check: Callable[[], None]) -> None:
    """Write files of one folder so that all are there at the end, whole, or none that is new.

    They are written under hidden names first. While they get their own ones, in their order, no other process that
    writes in this way does the same in the folder, and ``check`` has the last word.

    Args:
        contents: bytes of each file; all in one folder.
        check: raises where what is there forbids it.

    Raises:
        OutputError: a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        partials = {}
        for target, data in contents.items():
            partials[target] = stack.enter_context(_partial_of(target))
            _write(partials[target], data, target)
        with _alone_in(next(iter(contents)).parent):
            check()
            _put(partials)


def _write(partial: Path, data: bytes, target: Path) -> None:
    try:
        partial.write_bytes(data)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {why(error)}") from error


def _put(partials: Mapping[Path, Path]) -> None:
    """Rename files; where one cannot be, those that are new because of us go again."""
    new: list[Path] = []
    for target, partial in partials.items():
        there = stat_of(target) is not None
        try:
            partial.replace(target)
        except OSError as error:
            for each in new:
                each.unlink(missing_ok=True)
            raise OutputError(f"cannot write {target}: {why(error)}") from error
        if not there:
            new.append(target)


@contextlib.contextmanager
def _partial_of(target: Path) -> Iterator[Path]:
    """Give the hidden name under which this thread writes ``target``; what is left there goes at the end.

    Raises:
        OutputError: in place of what the operating system raises in the block.
    """
    # The name is cut so that what stands behind it is sure to fit; its end tells an image from its record, and the
    # thread those of two threads whose names end alike.
    thread = threading.get_native_id()
    partial = target.with_name(f".{target.name[-36:]}~{thread}~{socket.gethostname()}-{os.getpid()}{_PARTIAL}")
    try:
        yield partial
    except OSError as error:
        raise OutputError(f"cannot write {target}: {why(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes and threads out of this block for one folder, where the system can.

    The lock is on the folder itself, so that nothing is left behind, and goes with the process that holds it. Where
    there are no such locks, on Windows and some network drives, and where one is held for long, the block runs without.
    """
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        deadline = time.monotonic() + _LONGEST_WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.0005)
            except OSError:
                break
        yield
    finally:
        os.close(descriptor)


def remove_stale_partials(folder: Path) -> int:
    """Delete what killed processes of this machine left in ``folder``, and nothing else; return how many files."""
    host, removed = re.escape(socket.gethostname()), 0
    ours = re.compile(rf"\..*~[0-9]+~{host}-([0-9]{{1,9}}){re.escape(_PARTIAL)}", re.DOTALL)
    try:
        left = [(path, found) for path in folder.iterdir() if (found := ours.fullmatch(path.name))]
    except OSError:
        return 0
    for path, found in left:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and not _alive(int(found[1])):
                path.unlink()
                removed += 1
    return removed


def _alive(process: int) -> bool:
    if os.name == "nt":
        # Signal 0 asks on POSIX and kills on Windows; there a leftover stays until the user removes it.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
