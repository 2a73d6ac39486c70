"""CUDA graphs: the launches of a function, recorded once for each size that comes again, and replayed as one.

Launching a dozen kernels takes the CPU about as long as a GPU needs to run them on one small image. A graph keeps the
memory that its launches use, so large batches, for which launching costs nothing, are not recorded, and the graphs
used least recently give way to new ones.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from fusekit.extend import FusekitWarning, one_line

#: Pixels of all inputs whose graphs are kept; one of more is never recorded. 32 images of 256 × 256 are half of it.
MOST_PIXELS = 1 << 22


class Recording(NamedTuple):
    """A recorded graph: copy to ``source``, call ``replay``, and ``result`` holds the answer until the next replay."""

    source: Tensor
    result: Tensor
    replay: Callable[[], None]


def record(function: Callable[[Tensor], Tensor], x: Tensor) -> Recording:
    """Record the launches of ``function`` on a tensor like ``x``, which is on a CUDA device.

    Raises:
        RuntimeError: something in ``function`` cannot be recorded.
    """
    source = x.clone()
    aside = torch.cuda.Stream(x.device)
    aside.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.stream(aside):
        # What is compiled or allocated at a first run must not be recorded.
        function(source)
    torch.cuda.current_stream(x.device).wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on using the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function(source)
    return Recording(source, result, graph.replay)


class Graphs:
    """A function of one tensor whose launches are replayed where an input's shape, dtype and stream come again.

    The first input of a kind runs as it is; the second is recorded; what follows is replayed. A function that cannot
    be recorded goes on running as it is, with one warning.

    Args:
        function: launches kernels on its argument's device, and looks at no value there.
        recorder: makes a recording.

    Attributes:
        enabled: whether anything is recorded or replayed.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        recorder: Callable[[Callable[[Tensor], Tensor], Tensor], Recording] = record,
    ) -> None:
        self.function, self.recorder, self.enabled = function, recorder, True
        self._recordings: OrderedDict[Hashable, Recording | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, x: Tensor) -> Tensor:
        if not self.enabled or not 0 < _pixels(x) <= MOST_PIXELS or not _on_gpu(x):
            return self.function(x)
        with self._lock:
            recording = self._recording(x)
            if recording is not None:
                with torch.inference_mode():
                    recording.source.copy_(x)
                    recording.replay()
                # The next replay writes over it.
                return recording.result.clone()
        return self.function(x)

    def _recording(self, x: Tensor) -> Recording | None:
        """Return the recording for ``x``, made now where a tensor like it was here before."""
        key = (x.shape, x.stride(), x.dtype, x.device, _stream(x))
        known = key in self._recordings
        recording = self._recordings.pop(key, None)
        if known and recording is None:
            recording = self._record(x)
            if recording is None:
                return None
        self._recordings[key] = recording
        self._make_room()
        return recording

    def _record(self, x: Tensor) -> Recording | None:
        try:
            with torch.inference_mode():
                return self.recorder(self.function, x)
        except RuntimeError as error:
            self.enabled = False
            self._recordings.clear()
            warnings.warn(
                f"CUDA graphs are off, and kernels are launched one by one: {one_line(error)}",
                FusekitWarning,
                stacklevel=5,
            )
            return None

    def _make_room(self) -> None:
        """Forget what was used least recently until what is kept is within bounds."""
        while sum(_pixels(each.source) for each in self._recordings.values() if each) > MOST_PIXELS:
            self._recordings.popitem(last=False)
        while len(self._recordings) > 64:
            self._recordings.popitem(last=False)


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def _on_gpu(x: Tensor) -> bool:
    return x.device.type == "cuda"


def _stream(x: Tensor) -> int:
    return torch.cuda.current_stream(x.device).cuda_stream
