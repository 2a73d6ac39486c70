"""Processes that begin with torch and fusekit imported: forked from one that has done so, in a tenth of the time."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")
# What asks the environment when it is imported, as the client of the hub does, is left to the processes themselves.
_CONTEXT.set_forkserver_preload(
    ["torch", "fusekit.pipeline", "fusekit.cli.main", "fusekit.cli.fuse", "fusekit_ehdran.model"]
)


def fork_what_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes that `multiprocessing` would spawn forked here too: they are as new, and share nothing."""
    asked = multiprocessing.get_context

    def context(method: str | None = None) -> Any:
        return _CONTEXT if method == "spawn" else asked(method)

    monkeypatch.setattr(multiprocessing, "get_context", context)


class Forked:
    """A process that runs a program of Python, as ``python -c code arguments``.

    What depends on how an interpreter starts (encodings, closed handles, which modules are imported) needs a real one.

    Args:
        code: the program; the module ``__main__`` is not its own.
        arguments: its ``sys.argv[1:]``.
        environment: all of it; that of this process by default.
        error: where standard error goes; into a file that `wait` returns by default.
        largest_file: limit of the size of files, bytes.
    """

    def __init__(
        self,
        code: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        error: int | None = None,
        largest_file: int | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._files = [Path(self._folder.name) / name for name in ("out", "err")]
        for file in self._files:
            file.touch()
        self._process = _CONTEXT.Process(
            target=_run,
            args=(
                code,
                arguments,
                dict(os.environ if environment is None else environment),
                str(Path.cwd()),
                str(self._files[0]),
                str(self._files[1]) if error is None else os.ttyname(error),
                largest_file,
            ),
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ended(self) -> bool:
        """Return whether it has."""
        return not self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what it left."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise subprocess.TimeoutExpired("a forked process", timeout)
        out, err = (file.read_text(encoding="utf-8") for file in self._files)
        self._folder.cleanup()
        return subprocess.CompletedProcess([], code, out, err)


def run_forked(
    code: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as `Forked` does, to its end."""
    return Forked(code, *arguments, environment=environment).wait()


def _run(
    code: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: str,
    out: str,
    err: str,
    largest_file: int | None,
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    for handle, path in ((0, os.devnull), (1, out), (2, err)):
        opened = os.open(path, os.O_RDWR | os.O_APPEND)
        os.dup2(opened, handle)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["-c", *arguments]
    try:
        exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
