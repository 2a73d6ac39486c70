"""``prewitt``: the Prewitt gradient (Prewitt, Picture Processing and Psychopictorics, 1970)."""

from __future__ import annotations

from fusekit.edges.base import GradientOperator


class Prewitt(GradientOperator):
    """|∂x F| + |∂y F| with the Prewitt filter."""

    kernel = ((1.0, 0.0, -1.0), (1.0, 0.0, -1.0), (1.0, 0.0, -1.0))
