"""Gradients by 3×3 filters: ``sobel``, ``scharr``, ``prewitt``."""

from __future__ import annotations

from fusekit.edges.base import GradientOperator


class Sobel(GradientOperator):
    """|∂x F| + |∂y F| with the Sobel filter."""

    kernel = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


class Scharr(GradientOperator):
    """|∂x F| + |∂y F| with the Scharr filter."""

    kernel = ((3.0, 0.0, -3.0), (10.0, 0.0, -10.0), (3.0, 0.0, -3.0))


class Prewitt(GradientOperator):
    """|∂x F| + |∂y F| with the Prewitt filter."""

    kernel = ((1.0, 0.0, -1.0), (1.0, 0.0, -1.0), (1.0, 0.0, -1.0))
