"""What a loaded model was made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fusekit.options import LoadOptions
from fusekit.weights.resolve import (
    ResolvedWeights,
)


@dataclass(frozen=True)
class Provenance:
    """What a loaded model was made of, for the record.

    Attributes:
        config: the factory's keyword arguments.
        weights: the file, or ``None`` for a model without trained weights.
        notes: such as an edge operator that the weights were not trained with.
        dtype_reason: why the dtype ``auto`` took what it took; ``None`` where the dtype was asked for.
        name: that the model was loaded by; ``None`` where none was named.
        options: as they were asked for.
    """

    config: dict[str, Any]
    weights: ResolvedWeights | None
    notes: tuple[str, ...] = ()
    dtype_reason: str | None = None
    name: str | None = None
    options: LoadOptions = field(default_factory=LoadOptions)
