"""What a module of kernels says of each, so that it can be compiled without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

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
