"""What a loaded model was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
        loaded_by: the arguments of `fusekit.load` that load it again, but for the rule.
    """

    config: dict[str, Any]
    weights: ResolvedWeights | None
    notes: tuple[str, ...] = ()
    dtype_reason: str | None = None
    loaded_by: dict[str, Any] | None = None
