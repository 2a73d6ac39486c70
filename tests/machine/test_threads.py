"""Pieces side by side, and the allocator."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fusekit.machine import allocator as allocation
from fusekit.machine.allocator import empty_maps
from fusekit.machine.threads import fit_torch_threads, in_parallel, start_all, startable

of_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "malloc_info"),
    reason="these are settings of glibc's allocator",
)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_of_one_torch_thread(threads: int) -> None:
    seen = in_parallel(lambda item: (item, torch.get_num_threads(), threading.get_ident()), range(7))
    assert [item for item, _, _ in seen] == list(range(7))
    assert {count for _, count, _ in seen} == {1}
    assert (threading.get_ident() in {thread for _, _, thread in seen}) == (threads == 1)
    assert torch.get_num_threads() == threads


def test_pieces_of_pieces_and_modes(threads: int) -> None:
    def outer(item: int) -> list[bool]:
        return in_parallel(lambda _: torch.is_inference_mode_enabled(), range(item))

    with torch.inference_mode():
        assert in_parallel(outer, [2, 3]) == [[True] * 2, [True] * 3]
    assert in_parallel(outer, [2, 3]) == [[False] * 2, [False] * 3]
    with torch.no_grad():
        assert in_parallel(lambda _: torch.is_grad_enabled(), range(3)) == [False] * 3


def test_an_error_comes_after_all_pieces(threads: int) -> None:
    done = []

    def piece(item: int) -> None:
        if item == 1:
            raise ValueError("one")
        done.append(item)

    with pytest.raises(ValueError, match="one"):
        in_parallel(piece, range(4))
    assert threads == 1 or sorted(done) == [0, 2, 3]


def kept(**environment: str) -> str:
    code = "from fusekit.machine.allocator import keep_freed_memory; print(keep_freed_memory())"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.process
@of_glibc
def test_what_is_kept_can_be_released() -> None:
    code = """
from fusekit.machine.allocator import keep_freed_memory, release_freed_memory
from fusekit.machine.memory import resident_bytes
release_freed_memory()
keep_freed_memory()
blocks = [bytearray(1 << 20) for _ in range(100)]
keeper = blocks[-1]
before = resident_bytes()
blocks.clear()
kept = before - resident_bytes()
release_freed_memory()
print(kept >> 20, before - resident_bytes() >> 20)
"""
    told = subprocess.run([sys.executable, "-c", code], env={}, check=True, capture_output=True, text=True).stdout
    kept, released = map(int, told.split())
    assert kept < 10
    # All that is free goes, some of the interpreter's own memory too.
    assert 80 < released < 110


@pytest.mark.process
@of_glibc
def test_what_the_user_set_of_the_allocator_stays() -> None:
    assert kept(MALLOC_TRIM_THRESHOLD_="100000") == "False"
    assert kept(MALLOC_ARENA_MAX="4") == "False"
    assert kept() == "True"


def test_large_maps_are_given_back_and_taken_again() -> None:
    cpu, shape = torch.device("cpu"), (2, 64, 200, 180)
    first = empty_maps(shape, torch.float32, cpu)
    assert first.shape == shape
    assert first.is_contiguous(memory_format=torch.channels_last)
    other = empty_maps(shape, torch.float32, cpu)
    place, part = first.data_ptr(), first[1, :, 3:5]
    first.fill_(1)
    other.fill_(2)
    assert (first == 1).all()
    del first
    assert empty_maps(shape, torch.float32, cpu).data_ptr() not in (place, other.data_ptr()), "a part is still in use"
    assert (part == 1).all()
    del part
    smaller = empty_maps((2, 64, 180, 200), torch.bfloat16, cpu).fill_(3)
    assert smaller.dtype == torch.bfloat16
    assert (smaller == 3).all()
    again = {empty_maps(shape, torch.float32, cpu).data_ptr() for _ in range(4)}
    assert len(again) == 1
    assert (other == 2).all()


def test_unused_maps_are_kept_up_to_a_limit() -> None:
    blocks = allocation._Blocks()
    small, large = 100 << 20, allocation._KEPT + 1
    held = [blocks.take(small) for _ in range(4)]
    for block in held:
        blocks.give_back(block)
    blocks.give_back(blocks.take(large))
    taken = [blocks.take(small) for _ in range(3)]
    assert taken[:2] == held[:1:-1], "the two that were used last"
    assert taken[2] not in held
    assert blocks.take(small // 2) not in held, "a block is at most twice as large as what is asked for"


def test_threads_that_the_system_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    start, allowed, before = threading.Thread.start, [2], torch.get_num_threads()

    def start_if_allowed(self: threading.Thread) -> None:
        if not allowed[0]:
            raise RuntimeError("can't start new thread")
        allowed[0] -= 1
        start(self)

    monkeypatch.setattr(threading.Thread, "start", start_if_allowed)
    assert startable(5) == 2
    allowed[0] = 2
    pool = ThreadPoolExecutor(3)
    assert not start_all(pool, 3)
    pool.shutdown()
    # So many are in no other test's pool.
    allowed[0] = 2
    torch.set_num_threads(5)
    assert in_parallel(lambda item: (item, threading.get_ident()), range(3)) == [
        (item, threading.get_ident()) for item in range(3)
    ]
    assert torch.get_num_threads() == 5
    allowed[0] = 2
    found = []

    def fit() -> None:
        torch.set_num_threads(4)
        fit_torch_threads()
        found.append(torch.get_num_threads())

    allowed[0] = 3
    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert found == [3]
    torch.set_num_threads(before)
