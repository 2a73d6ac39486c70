"""Independent pieces of one computation side by side, each on a thread of its own.

torch splits single operations over its threads, which wait for each other after every one of them. Pieces that need
nothing of each other, tiles of an image or matrices to be decomposed, keep all cores busy with one wait at the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_inside = threading.local()
_lock = threading.Lock()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def in_parallel(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Return ``[function(item) for item in items]``, computed on as many threads as torch has in the calling thread.

    Within ``function`` torch has one thread. The pieces run in the caller's inference mode or gradient mode. With one
    thread, for one item, within a piece, and where the system allows no more threads everything runs in the caller.

    Raises:
        Exception: the first error of any piece, when the others are through.
    """
    items, count = list(items), torch.get_num_threads()
    if count == 1 or len(items) < 2 or getattr(_inside, "piece", False):
        return [function(item) for item in items]
    pool = _pool(count)
    if pool is None:
        return [function(item) for item in items]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def piece(item: _Item) -> _Result:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return function(item)

    futures = [pool.submit(piece, item) for item in items]
    errors = [future.exception() for future in futures]
    for error in errors:
        if error is not None:
            raise error
    return [future.result() for future in futures]


def _pool(count: int) -> ThreadPoolExecutor | None:
    """Return the process's pool of ``count`` threads in each of which torch has one, or ``None`` if they cannot be."""
    with _lock:
        # Threads do not survive a fork.
        key = (os.getpid(), count)
        if key not in _pools:
            pool = ThreadPoolExecutor(count, "fusekit")

            def settle() -> None:
                # A thread takes over the process's number when it first asks, and only then keeps its own.
                torch.get_num_threads()
                torch.set_num_threads(1)
                _inside.piece = True

            started = start_all(pool, count, settle)
            # Each thread keeps its own number, but the last one set is also what threads yet to come begin with.
            torch.set_num_threads(count)
            if not started:
                pool.shutdown()
                return None
            _pools[key] = pool
        return _pools[key]


def start_all(pool: ThreadPoolExecutor, count: int, first: Callable[[], None] = lambda: None) -> bool:
    """Start all ``count`` threads of a new pool now, and let each call ``first``.

    Returns:
        whether that could be done; where the system allows no more threads the pool is of no use, but can be shut down.
    """
    ready = threading.Barrier(count)

    def settle() -> None:
        first()
        # A thread that waits takes no second piece of work, so that each gets one.
        ready.wait()

    futures = []
    try:
        for _ in range(count):
            futures.append(pool.submit(settle))
    except RuntimeError:
        ready.abort()
        return False
    for future in futures:
        future.result()
    return True


def startable(count: int) -> int:
    """Return how many of ``count`` more threads the system lets this process have now, by starting them."""
    done, started = threading.Event(), []
    try:
        for _ in range(count):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        done.set()
        for thread in started:
            thread.join()
    return len(started)


def fit_torch_threads() -> None:
    """Give torch no more threads in this one than the system lets it start, for want of which it ends the process.

    Once in each thread, as those that torch has started already stay.
    """
    if getattr(_inside, "fitted", None) == os.getpid():
        return
    _inside.fitted = os.getpid()
    wanted = torch.get_num_threads()
    allowed = 1 + startable(wanted - 1)
    if allowed < wanted:
        torch.set_num_threads(allowed)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` threads while the block runs, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
