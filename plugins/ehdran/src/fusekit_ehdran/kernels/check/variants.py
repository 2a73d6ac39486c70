"""Every kernel with the types of its arguments, so that it can be compiled without a GPU; this imports triton."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fusekit_ehdran.kernels import attention, decode, edges, multiscale, softmax_statistics

#: The last arguments of a kernel that are not compiled in: sides of the images.
SIZE = {"height": "i32", "width": "i32"}


class Variant(NamedTuple):
    """A kernel with the types of its arguments.

    Attributes:
        kernel: its name in `fusekit_ehdran.kernels.settings.TABLE`, by which it finds its tile, warps and stages.
        function: what ``triton.jit`` made.
        arguments: types of the arguments that are not compiled in, by name, such as ``*fp32`` and ``i32``; ``*T`` is a
            pointer to values of the dtype that is built.
        constants: values of the arguments that are compiled in, those of the tile aside.
    """

    kernel: str
    function: Any
    arguments: Mapping[str, str]
    constants: Mapping[str, Any]

    def signature(self, dtype: str) -> dict[str, str]:
        """Return the types of all arguments in order, for values of ``dtype`` (``fp32`` or ``bf16``)."""
        types = {name: kind.replace("*T", f"*{dtype}") for name, kind in self.arguments.items()}
        return {name: types.get(name, "constexpr") for name in self.function.arg_names}

    def aligned(self) -> dict[tuple[int], list[list[Any]]]:
        """Return which arguments are pointers divisible by 16, as those of torch's tensors are."""
        names = self.function.arg_names
        pointers = [name for name, kind in self.arguments.items() if kind.startswith("*")]
        return {(names.index(name),): [["tt.divisibility", 16]] for name in pointers}


_CONVOLVE = {
    "source": "*T", "shares": "*fp32", "weight": "*T", "bias": "*fp32", "out": "*T", "slope": "fp32", "batch": "i32",
    "share_source": "i32", "share_image": "i32", "share_channel": "i32", **SIZE,
}  # fmt: skip

#: In the order in which an image passes them.
VARIANTS = (
    Variant(
        "multiscale",
        multiscale.multiscale_kernel,
        {"image": "*T", "taps": "*i32", "weight": "*T", "bias": "*fp32", "out": "*T", **SIZE},
        {"CHANNELS": 64, "TAPS": 32, "PRECISION": "ieee"},
    ),
    Variant(
        "shared",
        attention.convolve_and_add_kernel,
        {"source": "*T", "weight": "*T", "bias": "*fp32", "added": "*T", "out": "*T", "factor": "fp32", **SIZE},
        {"CHANNELS": 64, "PRECISION": "ieee"},
    ),
    Variant(
        "attend",
        attention.convolve_and_attend_kernel,
        {"source": "*T", "weight": "*T", "affine": "*fp32", "multiscale": "*T", "image": "*T", "out": "*T", **SIZE},
        {"CHANNELS": 64, "PRECISION": "ieee"},
    ),
    Variant(
        "edges",
        edges.add_edges_kernel,
        {
            "image": "*T", "first": "*T", "first_bias": "*fp32", "second_of_maps": "*T", "second": "*T",
            "second_bias": "*fp32", "along": "*T", "project": "*T", "project_gradient": "*T", "bias": "*fp32",
            "features": "*T", **SIZE,
        },
        {"CHANNELS": 64, "PRECISION": "ieee"},
    ),
    Variant(
        "blend",
        decode.convolve_kernel,
        _CONVOLVE,
        {"SOURCES": 2, "INPUTS": 64, "OUTPUTS": 64, "PRECISION": "ieee"},
    ),
    Variant(
        "convolve",
        decode.convolve_kernel,
        _CONVOLVE,
        {"SOURCES": 0, "INPUTS": 64, "OUTPUTS": 64, "PRECISION": "ieee"},
    ),
    Variant(
        "taps",
        decode.convolve_to_taps_kernel,
        {"source": "*T", "weight": "*T", "bias": "*fp32", "taps": "*T", "planes": "*fp32", "slope": "fp32", **SIZE},
        {"INPUTS": 64, "OUTPUTS": 32, "PRECISION": "ieee"},
    ),
    Variant("sum_taps", decode.sum_taps_kernel, {"planes": "*fp32", "bias": "*fp32", "out": "*T", **SIZE}, {}),
    Variant(
        "shares",
        softmax_statistics.share_statistics_kernel,
        {
            "features": "*T", "squares": "*fp32", "row_sums": "*fp32", "column_sums": "*fp32", "log_sums": "*fp32",
            "bands": "i32", "segments": "i32", "steps": "i32", **SIZE,
        },
        {"CHANNELS": 64},
    ),
)  # fmt: skip
