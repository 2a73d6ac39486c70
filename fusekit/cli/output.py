"""What commands show: results on standard output and nothing else, all other words on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

from fusekit.cli.asked import asked, prints_json
from fusekit.cli.progress import activity, is_terminal, settle
from fusekit.cli.signs import in_signs_of, write_any_text
from fusekit.cli.start import check_room
from fusekit.errors import OutputError, plain


@dataclass
class _Output:
    """Where results go while the rest of standard output is sent to standard error, and whether there were any."""

    results: TextIO | None = None
    printed: bool = False


_output = _Output()


def begin() -> None:
    """Forget what was printed before, and let both streams take any sign."""
    _output.printed = False
    _open_standard_handles()
    for stream in (sys.stdout, sys.stderr):
        write_any_text(stream)


def _open_standard_handles() -> None:
    """Open what the shell closed (``>&-``), or the next file to be opened would be written to as standard output."""
    for handle in range(3):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


# --- commands ----------------------------------------------------------------------------------------------------


class _ShowsHelp(click.Command):
    """A command or group whose help any output can show."""

    def __init__(self, name: str | None = None, *, context_settings: dict[str, Any] | None = None, **more: Any) -> None:
        # Also where it is called without the group that it is of: click keeps the option that it made first.
        settings = {"help_option_names": ["-h", "--help"], **(context_settings or {})}
        super().__init__(name, context_settings=settings, **more)

    def get_help(self, ctx: click.Context) -> str:
        # Click takes an output of ASCII for one of UTF-8.
        return in_signs_of(getattr(sys.stdout, "encoding", None), super().get_help(ctx))


class Command(_ShowsHelp):
    """A command whose standard output belongs to its results.

    What else is printed while it runs, by Python, by C or by a process that it starts, goes to standard error. Where
    its option ``--json`` is given, an error is printed as JSON too.
    """

    #: Whether it imports torch.
    computes = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asked.json = prints_json(self, args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        started = time.perf_counter()
        if asked.quiet or not is_terminal():
            # It is imported later, and shows bars of its own in files too.
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        if self.computes:
            check_room()
        with results_only(), _tracebacks_of("fusekit"), activity(ctx.info_name or "working"):
            found = super().invoke(ctx)
        detail(f"{ctx.command_path}: {time.perf_counter() - started:.2f} s")
        return found


class Group(_ShowsHelp, click.Group):
    """A group of such commands."""

    command_class = Command


# --- standard output ---------------------------------------------------------------------------------------------


@contextmanager
def results_only() -> Iterator[None]:
    """Let `results` alone write to standard output: what a plugin prints would spoil JSON."""
    if _output.results is not None:
        yield
        return
    output = sys.stdout
    own = _handle_of_its_own(output)
    _output.results = own or output
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout, _output.results = output, None
        if own is not None:
            _give_back(own)


def _handle_of_its_own(output: TextIO) -> TextIO | None:
    """Return standard output under another handle, and point its own at standard error; ``None`` where it is no file.

    What C code and other processes print goes to the handle 1, whatever ``sys.stdout`` is.
    """
    if not _is_handle_one(output):
        return None
    output.flush()
    handle = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(handle, "w", encoding=output.encoding, errors=output.errors)


def _is_handle_one(output: TextIO) -> bool:
    try:
        return os.name == "posix" and output.fileno() == 1 and sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        return False


def _give_back(own: TextIO) -> None:
    try:
        with _writing():
            own.flush()
    finally:
        _flush_c()
        os.dup2(own.fileno(), 1)
        with contextlib.suppress(OSError):
            own.close()


def _flush_c() -> None:
    """Let C's own buffer of standard output run out, which may hold what is no result."""
    if "ctypes" in sys.modules:
        import ctypes

        ctypes.CDLL(None).fflush(None)


def end() -> None:
    """Close standard output to whatever is printed while the process ends.

    Raises:
        OutputError: the last results cannot be written.
    """
    with _writing():
        if sys.stdout is not None:
            sys.stdout.flush()
    if _output.printed and _is_handle_one(sys.stdout):
        os.dup2(2, 1)
        sys.stdout = sys.stderr


def give_up(handle: int = 1) -> None:
    """Write no more to standard output, which takes nothing; the end of the process would try again."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, handle)
        os.close(nowhere)


def results() -> TextIO:
    """Return the stream of results, to write one to."""
    _output.printed = True
    settle()
    return _output.results or sys.stdout


def result(text: object) -> None:
    """Write a result and a line's end to standard output."""
    with _writing():
        click.echo(text, file=results())


def result_json(data: Any) -> None:
    """Write a result as JSON; what the encoding of standard output lacks is escaped, as JSON does it.

    Args:
        data: what JSON can hold; a text is taken to be JSON already.
    """
    text = data if isinstance(data, str) else json.dumps(data, indent=2, ensure_ascii=False)
    stream = results()
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        # Beyond ASCII there are only strings in JSON.
        text = re.sub("[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)
    with _writing():
        click.echo(text, file=stream)


def printed() -> bool:
    """Return whether a result was printed."""
    return _output.printed


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if _is_handle_one(sys.stdout):
            give_up()
        raise OutputError(
            f"cannot write to standard output: {error.strerror or error}; make room on the disk, or send it elsewhere"
        ) from error


# --- standard error ----------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Say one line on standard error."""
    write_error(f"fusekit: {plain(text)}\n")


def note(text: str) -> None:
    """Say what one may want to know."""
    if not asked.quiet:
        say(text)


def warn(text: str) -> None:
    """Say what works otherwise than one may expect."""
    note(f"warning: {text}")


def detail(text: str) -> None:
    """Say what only who asked for more wants to know."""
    if asked.verbose:
        say(text)


class _Tracebacks(logging.Handler):
    """Shows where failures of single images came from, of which the summary has one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            show_traceback(record.exc_info[1])


@contextmanager
def _tracebacks_of(name: str) -> Iterator[None]:
    """Show, where the user wants tracebacks, those that a logger has."""
    logger, handler = logging.getLogger(name), _Tracebacks()
    before = logger.level
    if asked.traceback:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)


def show_traceback(error: BaseException) -> None:
    """Show where an error came from."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    write_error("".join(f"{plain(line)}\n" for line in lines))


def write_error(text: str) -> None:
    """Write to standard error; nobody can be told where that is closed."""
    if sys.stderr is not None:
        # By click's own choice, an encoding of ASCII would be taken for UTF-8.
        with contextlib.suppress(OSError, ValueError):
            click.echo(text, file=sys.stderr, nl=False)
