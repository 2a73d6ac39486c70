"""Which errors say that memory ran out: messages as torch, CUDA and their libraries write them."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from fusekit.errors import InputError, PluginError
from fusekit.fusing.run import run
from fusekit.machine.memory import is_out_of_memory
from fusekit.models.load import load

RAN_OUT = [
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB.",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call",
    "HIP out of memory. Tried to allocate 2.00 GiB",
    "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB).",
    "Triton Error [CUDA]: out of memory",
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4503599627370496 bytes. Error code 12 (Cannot allocate memory)",
    "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 64 bytes.",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "std::bad_alloc",
]
OTHERS = [
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
    "CUDA error: misaligned address",
    "Triton Error [CUDA]: an illegal memory access was encountered",
    "unsupported memory format option ChannelsLast",
    "required rank 4 tensor to use channels_last format",
    "out of resource: shared memory, Required: 131072, Hardware limit: 101376. Reducing block sizes or `num_stages` "
    "may help.",
    "CUDA error: invalid argument: pinned memory",
    "cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned in memory",
    "could not create a memory object",
    "index 7 is out of memory bounds",
    "unable to mmap 4096 bytes from file </torch_1>: Operation not permitted (1)",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
]


@pytest.mark.parametrize("message", RAN_OUT)
def test_messages_of_memory_that_ran_out(message: str) -> None:
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


@pytest.mark.parametrize("message", OTHERS)
def test_messages_that_only_speak_of_memory(message: str) -> None:
    assert not is_out_of_memory(RuntimeError(message))


def test_types_that_say_it_by_themselves() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("no more"))
    assert is_out_of_memory(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    assert not is_out_of_memory(OSError(errno.ENOENT, "the memory stick is not there"))
    assert not is_out_of_memory(KeyError("memory"))


def test_what_this_machine_says() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(1 << 50)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(1 << 55)
    with pytest.raises(RuntimeError) as of_format:
        torch.empty(3, 3, memory_format=torch.channels_last)
    assert [is_out_of_memory(each.value) for each in (of_torch, of_numpy, of_format)] == [True, True, False]


def test_fusing_tells_only_real_ones_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("dilran", device="cpu")
    units = [np.zeros((8, 8), np.float32)] * 2

    def raising(message: str) -> None:
        def fail(*arguments: object) -> None:
            raise RuntimeError(message)

        monkeypatch.setattr(model, "encode_sources", fail)

    rule = model.choose_rule("mean")
    raising("CUDA error: an illegal memory access was encountered")
    with pytest.raises(PluginError, match="RuntimeError: CUDA error: an illegal memory access"):
        run(model, [units], rule)
    raising("CUDA out of memory. Tried to allocate 20.00 GiB")
    with pytest.raises(InputError, match="memory of cpu does not suffice for 2 sources of 8×8"):
        run(model, [units], rule)
