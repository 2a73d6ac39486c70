"""Reading and writing files so that nothing is ever half there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusekit.errors import OutputError

_PARTIAL = ".fusekit-partial"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file's bytes."""
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


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside ``target`` that takes its place if the block ends well, and vanishes otherwise.

    A process that is killed leaves the temporary file behind, hidden and without the target's extension, so that
    nobody takes it for an image; `remove_stale_partials` clears those away.

    Raises:
        OutputError: the folder is missing or not writable.
    """
    target = Path(target)
    check_writable(target)
    # The name is cut so that what stands behind it is sure to fit; its end tells an image from its record, and the
    # thread those of two threads whose names end alike.
    thread = threading.get_native_id()
    partial = target.with_name(f".{target.name[-36:]}~{thread}~{socket.gethostname()}-{os.getpid()}{_PARTIAL}")
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomically(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target`` in one step.

    Bytes of names that are no text, which Python holds as lone surrogates, become ``\\udcff``, as JSON writes them.
    """
    with atomic_path(target) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_writable(target: Path) -> None:
    """Raise `OutputError` unless a file can be made at ``target``."""
    folder = target.parent
    try:
        is_folder = target.is_dir()
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
    if is_folder:
        raise OutputError(f"cannot write {target}: it is a folder; name a file in it")
    if not folder.is_dir():
        raise OutputError(f"cannot write {target}: the folder {folder} does not exist; create it first")
    if not can_create_in(folder):
        raise OutputError(f"cannot write {target}: no permission to write in {folder}")


def can_create_in(folder: Path) -> bool:
    """Return whether a file can be made in ``folder``, by making one: permission bits alone do not tell."""
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".fusekit-"):
            return True
    except OSError:
        return False


def remove_stale_partials(folder: Path) -> int:
    """Delete what killed processes of this machine left in ``folder``; return how many files."""
    host, removed = socket.gethostname(), 0
    for path in folder.glob(f".*~*{_PARTIAL}"):
        owner = path.name.removesuffix(_PARTIAL).rpartition("~")[2]
        name, _, process = owner.rpartition("-")
        if name == host and process.isascii() and process.isdigit() and not _alive(int(process)):
            path.unlink(missing_ok=True)
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
