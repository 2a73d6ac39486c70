"""``scharr``: the Scharr gradient (Scharr, dissertation, Heidelberg 2000)."""

from __future__ import annotations

from fusekit.edges.base import GradientOperator


class Scharr(GradientOperator):
    """|∂x F| + |∂y F| with the Scharr filter."""

    kernel = ((3.0, 0.0, -3.0), (10.0, 0.0, -10.0), (3.0, 0.0, -3.0))
