"""``sobel``: the Sobel gradient (Sobel and Feldman, 1968)."""

from __future__ import annotations

from fusekit.edges.base import GradientOperator


class Sobel(GradientOperator):
    """|∂x F| + |∂y F| with the Sobel filter."""

    kernel = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
