"""When launches are recorded, replayed and forgotten; the recorder is a stand-in, as there is no GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fusekit.extend import FusekitWarning
from fusekit_ehdran.kernels import cuda_graphs
from fusekit_ehdran.kernels.cuda_graphs import Graphs, Recording


class Recorder:
    """Records like a GPU would: a replay reads ``source`` and writes ``result``, and runs no Python of the function."""

    def __init__(self, failing: bool = False) -> None:
        self.failing, self.recorded, self.replays = failing, 0, 0

    def __call__(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Recording:
        if self.failing:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        self.recorded += 1
        source, result = x.clone(), function(x).clone()

        def replay() -> None:
            self.replays += 1
            result.copy_(source + 1)

        return Recording(source, result, replay)


@pytest.fixture(autouse=True)
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "_on_gpu", lambda x: True)
    monkeypatch.setattr(cuda_graphs, "_stream", lambda x: 0)


def image(value: float, side: int = 4, batch: int = 1) -> Tensor:
    return torch.full((batch, 1, side, side), value)


def test_the_second_of_a_size_is_recorded_and_the_results_are_ones_own() -> None:
    calls: list[float] = []
    recorder = Recorder()

    def function(x: Tensor) -> Tensor:
        calls.append(x.max().item())
        return x + 1

    replayed = Graphs(function, recorder)
    results = [replayed(image(float(value))) for value in range(4)]
    assert [each.unique().item() for each in results] == [1, 2, 3, 4]
    assert (calls, recorder.recorded, recorder.replays) == ([0, 1], 1, 3)
    assert replayed(image(7.0, side=6)).unique().item() == 8
    assert replayed(image(7.0).bfloat16()).dtype == torch.bfloat16
    assert recorder.recorded == 1


def test_it_can_be_switched_off_and_leaves_large_inputs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    replayed = Graphs(lambda x: x + 1, recorder)
    replayed.enabled = False
    for _ in range(3):
        replayed(image(1.0))
    replayed.enabled = True
    monkeypatch.setattr(cuda_graphs, "MOST_PIXELS", 15)
    for _ in range(3):
        replayed(image(1.0))
    assert recorder.recorded == 0


def test_what_was_used_least_recently_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST_PIXELS", 40)
    recorder = Recorder()
    replayed = Graphs(lambda x: x + 1, recorder)
    for side in (4, 4, 2, 2, 4, 5, 5):
        replayed(image(1.0, side))
    # 16 + 4 + 25 pixels are too many: that of side 2 was used least recently.
    assert recorder.recorded == 3
    replayed(image(1.0, 4))
    assert recorder.recorded == 3
    replayed(image(1.0, 2))
    replayed(image(1.0, 2))
    assert recorder.recorded == 4


def test_what_cannot_be_recorded_is_launched_as_it_is_with_one_warning() -> None:
    replayed = Graphs(lambda x: x + 1, Recorder(failing=True))
    replayed(image(1.0))
    with pytest.warns(FusekitWarning, match="launched one by one: RuntimeError: operation not permitted when"):
        assert replayed(image(2.0)).unique().item() == 3
    assert replayed(image(3.0)).unique().item() == 4
    assert not replayed.enabled


def test_nothing_is_recorded_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    recorder = Recorder()
    replayed = Graphs(lambda x: x + 1, recorder)
    for _ in range(3):
        replayed(image(1.0))
    assert recorder.recorded == 0
