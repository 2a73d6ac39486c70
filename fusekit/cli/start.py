"""What makes commands start sooner, and refuses at once where there is no room for them."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusekit.errors import MachineError, memory_text
from fusekit.machine.faults import as_ours

#: Address space that the libraries of torch take at the least, bytes.
_TORCH = 640 << 20


@contextmanager
def uncollected() -> Iterator[None]:
    """Do without the garbage collector while the block runs, for imports and short work.

    Importing torch makes hundreds of thousands of objects that stay, and the collector looks through them again and
    again: a seventh of the time. What is not part of a cycle is freed all the same.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def wait_passively() -> None:
    """Let threads of OpenMP that wait for each other sleep instead of spin, unless the user or torch has decided.

    Where other programs keep the cores busy, a thread that spins takes the time of the one that it waits for, and short
    parallel work, such as that of loading, takes ten times as long. It must be called before torch is imported.
    """
    if "torch" not in sys.modules and "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def check_room() -> None:
    """Refuse where limits of the shell leave no room for torch, whose libraries would abort or interrupt the process.

    Raises:
        MachineError: the address space or the number of threads does not suffice.
    """
    room = _address_space()
    if room is not None and room < _TORCH:
        raise MachineError(
            f"the limit of memory (ulimit -v) leaves {memory_text(room)}, and torch alone takes {memory_text(_TORCH)} "
            "or more; allow more of it"
        )
    # OpenMP and OpenBLAS start their threads at once, and do not return where they cannot.
    given = os.environ.get("OMP_NUM_THREADS", "")
    wanted = int(given) if given.isascii() and given.isdigit() else os.cpu_count() or 1
    over = threading.Event()
    threads = [threading.Thread(target=over.wait, daemon=True) for _ in range(min(wanted, 512) - 1)]
    try:
        for each in threads:
            each.start()
    except RuntimeError as error:
        raise as_ours(error) or error from error
    finally:
        over.set()
        for each in threads:
            if each.ident is not None:
                each.join()


def _address_space() -> int | None:
    """Return the bytes of address space that the process may still take, ``None`` where there is no limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return max(limit - pages * os.sysconf("SC_PAGE_SIZE"), 0)
    # Other systems have other limits.
    except (ImportError, OSError, ValueError):
        return None
