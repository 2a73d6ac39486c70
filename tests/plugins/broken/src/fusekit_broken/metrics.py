"""Metrics, each broken in one way."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fusekit.extend import FusedMetric, Metric, SourceMetric


class WrongShape(FusedMetric):
    """Gives a value a row."""

    def measure(self, fused: Tensor) -> Tensor:
        return fused.mean((1, 3))


class ATuple(FusedMetric):
    """Gives a tuple of values."""

    def measure(self, fused: Tensor) -> Any:
        return fused.mean(), fused.std()


class NoneAtAll(Metric):
    """Forgets to return."""

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> Any:
        fused.mean((1, 2, 3))


class WrongDtype(FusedMetric):
    """Counts in integers."""

    def measure(self, fused: Tensor) -> Tensor:
        return (fused > 0).sum((1, 2, 3))


class Mutates(SourceMetric):
    """Subtracts in its input."""

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return source.sub_(fused).abs().mean((1, 2, 3))


class NotANumber(SourceMetric):
    """Divides zero by zero."""

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        nothing = (source - source).sum((1, 2, 3))
        return nothing / nothing


class Exits(FusedMetric):
    """Ends the process as if all were well."""

    def measure(self, fused: Tensor) -> Tensor:
        sys.exit(0)


class FailsInTheDark(FusedMetric):
    """Fails for dark images alone."""

    def measure(self, fused: Tensor) -> Tensor:
        value = fused.mean((1, 2, 3))
        if float(value) < 0.05:
            raise ValueError("the image is dark")
        return value
