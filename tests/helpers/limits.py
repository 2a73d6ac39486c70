"""What a machine may lack: room on a disk, permission to write, a file system that can be written to."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Let ``folder`` be a file system of that size, as ``200k``; skips where it cannot be mounted."""
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, option: str) -> None:
    """Change a mounted file system, as to ``ro`` or ``size=1m``."""
    _mount("-o", f"remount,{option}", folder)


def _mount(*arguments: object) -> None:
    try:
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"needs mount: {error}")
    if done.returncode:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Let the process be that of a user whom permissions bind; what it imports must be imported before."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs POSIX permissions")
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def public_folder() -> Iterator[Path]:
    """Give a folder that any user may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="fusekit-test-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)
