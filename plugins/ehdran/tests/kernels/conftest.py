"""Kernels are interpreted on the CPU here, which Triton decides once, when it is imported.

So triton and the kernels are imported now, with TRITON_INTERPRET set, before any test runs; the variable is then set
for the tests of this folder alone. Where a GPU rounds float32 to bfloat16, the interpreter cuts digits off, which would
let errors of one sign add up from kernel to kernel; here it rounds as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

INSTALLED = importlib.util.find_spec("triton") is not None

if INSTALLED:
    if "triton" in sys.modules:
        raise RuntimeError("triton was imported before it could be told to interpret; import it where it is used")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        importlib.import_module("triton")
        importlib.import_module("fusekit_ehdran.kernels.check.variants")
    interpreter = importlib.import_module("triton.runtime.interpreter")
    language = importlib.import_module("triton.language")
    cutting = interpreter._convert_float


def rounding(values: Any, before: Any, after: Any, mode: Any) -> Any:
    """Stand in for the interpreter's conversion of floats: to the nearest bfloat16, to the even one of two as near."""
    if (before, after) != (language.float32, language.bfloat16):
        return cutting(values, before, after, mode)
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).reshape(values.shape)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason="triton is not installed; it is part of the extra 'dev' on Linux")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.kernels)
            if not INSTALLED:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    if INSTALLED:
        monkeypatch.setattr(interpreter, "_convert_float", rounding)
