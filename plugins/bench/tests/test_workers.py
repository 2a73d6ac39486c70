"""Entrants of ``fusekit bench speed`` in processes of their own: what they share with no one, errors, and their end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.forked import fork_what_is_spawned
from helpers.speed import ADAPTER

from fusekit.errors import InputError, OptionError, UnknownNameError
from fusekit.machine.allocator import keep_freed_memory
from fusekit_bench.requests import Speed
from fusekit_bench.speed.cases import Case, Entrant
from fusekit_bench.speed.runner import measure
from fusekit_bench.speed.workers import Introduction, Job, LocalWorker, ProcessWorker, _nearest, memory_of, peak_bytes

pytestmark = pytest.mark.process
SMALL = Case("ehdran", "max", "cpu", (16, 16))

# It is ended by force while a process of its own waits for it.
ORPHAN = """
import os, signal
from fusekit_bench.speed.cases import Case, Entrant
from fusekit_bench.speed.workers import Job, ProcessWorker

if __name__ == "__main__":
    worker = ProcessWorker(Job(Case("ehdran", device="cpu", size=(16, 16)), Entrant("reference"), 1))
    worker.wait_for_start()
    print(worker._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "odd_fuser.py").write_text(ADAPTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    # The orphan's is spawned.
    fork_what_is_spawned(monkeypatch)
    yield tmp_path
    assert multiprocessing.active_children() == []


def job(attribute: str) -> Job:
    return Job(SMALL, Entrant("against", target=f"odd_fuser:{attribute}"), 1)


def pages_of_new_blocks() -> int:
    """Return how many pages this process is given for blocks of 40 MiB that it had before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.zeros(10 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_what_one_sets_for_its_process_serves_no_other(folder: Path) -> None:
    common: dict[str, Any] = {"devices": ["cpu"], "tuned": False, "warm_up": 1, "memory": False}
    request = Speed(rules=["sfnn"], sizes=[(16, 20)], against="odd_fuser:faults", rounds=2, **common)
    found = measure(request)
    rows = {each["who"]: each for each in found["races"][0]["rows"]}
    assert list(rows) == ["reference", "composed float32", "odd_fuser:faults"]
    ours, reference = rows["composed float32"], rows["reference"]
    assert (reference["deviation"], len(reference["rounds"])) == (0, 2)
    assert ours["deviation"] < 1e-4
    assert list(ours["stages"]) == ["encode", "rule", "decode", "rest"]
    assert ours["stages"]["encode"]["median"] > 0
    assert (ours["form"], ours["backend"], reference["backend"]) == ("composed", "torch", "torch")
    assert ours["operations"]["executed"] < ours["operations"]["plain"] < reference["operations"]["executed"]
    assert len(ours["rule_report"]["decomposed_channels"]) == 2
    process, pages = map(int, Path("pages.txt").read_text().split())
    assert process != os.getpid()
    if not keep_freed_memory():
        pytest.skip("the allocator is not glibc's, or set already")
    pages_of_new_blocks()
    # Here the inference form was composed and freed blocks are kept. There each comes anew, in pages of 2 MiB at most.
    assert pages_of_new_blocks() < 4 * 40 // 2 <= pages


def test_errors_come_back_and_leave_the_process_until_it_vanishes() -> None:
    worker, here = ProcessWorker(job("tires")._replace(threads=3)), LocalWorker(job("fails"))
    with contextlib.closing(worker):
        worker.wait_for_start()
        assert worker.introduce().policy is None
        with pytest.raises(OptionError, match=r"^odd_fuser:tires fails for 'ehdran': .*no more of 3 threads$") as tired:
            worker.warm_up(1)
        assert "in tires" in str(tired.value.__cause__)
        with pytest.raises(OptionError) as there:
            worker.introduce()
        with pytest.raises(OptionError) as expected:
            here.introduce()
        message = str(expected.value).replace("odd_fuser:fails", "odd_fuser:tires")
        assert str(there.value) == message.replace("ValueError: no such thing", "RuntimeError: no more of 3 threads")
        with pytest.raises(OptionError, match=r"process of odd_fuser:tires has ended with code 3, .* --sizes"):
            worker.introduce()


def test_errors_come_back_as_what_can_travel() -> None:
    class SomewhereError(InputError):
        pass

    assert _nearest(InputError) is InputError
    assert _nearest(SomewhereError) is InputError
    assert _nearest(UnknownNameError) is OptionError
    assert _nearest(ValueError) is OptionError


def test_memory_is_that_of_a_process() -> None:
    memory = memory_of(Job(Case("ehdran", size=(32, 32)), Entrant("reference"), 1))
    assert memory is not None
    assert 50 * 2**20 < memory["before"] <= memory["peak"] < 2 * 2**30
    assert memory_of(job("fails")) is None


def test_memory_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise FileNotFoundError

    assert 50 * 2**20 < peak_bytes() < 2**40
    monkeypatch.setattr(Path, "read_text", refuse)
    assert 50 * 2**20 < peak_bytes() < 2**40


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Where the tests run in the background, Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_process_at_work() -> None:
    request = Speed(sizes=[(16, 16)], devices=["cpu"], against="odd_fuser:thinks", reference=False, memory=False)
    timer = threading.Timer(0, lambda: None)

    class Interrupted(ProcessWorker):
        def introduce(self) -> Introduction:
            nonlocal timer
            if self.name == "odd_fuser:thinks":
                timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
                timer.start()
            return super().introduce()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measure(request, recruit=Interrupted)
    timer.join()
    assert time.monotonic() - began < 60
    # That all have ended is looked at after each test.


def test_processes_end_with_the_one_that_started_them(folder: Path) -> None:
    (folder / "orphan.py").write_text(ORPHAN)
    done = subprocess.run([sys.executable, "orphan.py"], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""
    child = int(done.stdout)
    for _ in range(100):
        if not runs(child):
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the process outlives the one that started it")


def runs(process: int) -> bool:
    """Return whether a process runs; one that has ended and that no one has asked after does not."""
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_a_process_that_takes_too_long_is_given_up() -> None:
    start = time.monotonic()
    with contextlib.closing(ProcessWorker(job("thinks")._replace(patience=60))) as worker:
        worker.wait_for_start()
        worker._patience = 0.2
        with pytest.raises(OptionError, match=r"it takes longer than 0\.2 seconds; --patience waits longer"):
            worker.introduce()
    assert time.monotonic() - start < 60
