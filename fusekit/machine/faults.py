"""What the system refuses (files, memory, threads), as errors of ours: the file, the fact, the remedy.

Where a file is read or written, the code there says what it was for. What comes from elsewhere, a folder that may not
be looked into or one file too many that is open, is told here, in the same words for Python and the command line.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from fusekit.errors import FusekitError, InputError, MachineError, one_line, plain

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "check its permissions and those of its folder",
    errno.EPERM: "check its permissions and those of its folder",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "the links go round in a circle; name the file itself",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.ENFILE: "close other programs, which hold them",
    errno.EAGAIN: "allow more processes and threads (ulimit -u), or ask for fewer (OMP_NUM_THREADS=1, --workers 1)",
    errno.EIO: "check the disk, or the connection to it",
    errno.ESTALE: "check the connection to the disk",
}
#: Of these the name that comes with the error is that of whatever was opened last.
_NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)
_MEMORY = "allow more of it, or ask for less: smaller images, --memory, --workers 1"
#: What the loader of libraries says where there is no room for one of them.
_NO_ROOM_TO_LOAD = ("failed to map segment", "annot allocate memory", "cannot map", "cannot create shared object")


def as_ours(error: BaseException) -> FusekitError | None:
    """Return an error of ours for one that says what the system refuses; ``None`` where it says something else.

    An error of ours is returned as it is.
    """
    if isinstance(error, FusekitError):
        return error
    if _is_out_of_memory(error):
        said = f" ({one_line(error)})" if str(error) else ""
        return MachineError(f"the memory does not suffice{said}; {_MEMORY}")
    if isinstance(error, OSError) and error.errno is not None:
        return None if isinstance(error, BrokenPipeError) else _of_the_system(error)
    text = str(error) if isinstance(error, (RuntimeError, ImportError, OSError)) else ""
    if os.strerror(errno.EMFILE) in text:
        return _of_the_system(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
    no_room = [line for line in text.splitlines() if any(each in line for each in _NO_ROOM_TO_LOAD)]
    if no_room:
        return MachineError(f"there is no memory to load a library ({plain(no_room[-1].strip())}); {_MEMORY}")
    if "can't start new thread" in text:
        return MachineError(f"the system starts no further thread; {_REMEDIES[errno.EAGAIN]}, or more memory")
    if isinstance(error, RecursionError):
        return InputError(
            "something is nested too deeply to be read; look for brackets in brackets, in options and in files"
        )
    if isinstance(error, UnicodeEncodeError):
        return InputError(
            f"{plain(error.object[:200])!r} cannot be written in the encoding {error.encoding}; choose another name, "
            "or a locale of UTF-8 (PYTHONUTF8=1)"
        )
    return None


def in_our_words(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Make a function raise an error of ours for whatever the system refuses; all other errors pass as they are."""

    @functools.wraps(function)
    def told(*arguments: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        try:
            return function(*arguments, **keywords)
        except FusekitError:
            raise
        except Exception as error:
            ours = as_ours(error)
            if ours is None:
                raise
            raise ours from error

    return told


def _of_the_system(error: OSError) -> FusekitError:
    """Return what an `OSError` with a number says in our words."""
    number = error.errno or 0
    fact = error.strerror or os.strerror(number)
    remedy = _REMEDIES.get(number, "check it")
    if error.filename is None or number in _NOT_OF_THE_FILE:
        return MachineError(f"the system refuses: {fact}; {remedy}")
    name = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    kind = MachineError if number in _OF_THE_DISK else InputError
    return kind(f"cannot use {name}: {fact}; {remedy}")


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out; what torch says of it is asked only where torch is there."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if not isinstance(error, RuntimeError) or "torch" not in sys.modules:
        return False
    from fusekit.machine.memory import is_out_of_memory

    return is_out_of_memory(error)
