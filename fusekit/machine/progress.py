"""How far long work is, for whoever watches: tiles of an image, passes over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

_Item = TypeVar("_Item")
#: Is told what is done, how many times, and how many times it will be.
Watcher = Callable[[str, int, int], None]

# Of one thread: several images that are fused at once have no common count.
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` how far the work of the block is."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def counted(what: str, items: Sequence[_Item]) -> Iterator[_Item]:
    """Give the items one by one, and tell whoever watches how many are done."""
    watcher = _watcher.get()
    for done, item in enumerate(items):
        if watcher is not None:
            watcher(what, done, len(items))
        yield item
    if watcher is not None:
        watcher(what, len(items), len(items))
