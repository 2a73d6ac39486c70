"""Edge operators in the inference form: what each adds to the features of a tile."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import EdgeOperator, WinogradConvolution, accumulate, convolve
from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.fast.algebra import bias_of, compose_edges
from fusekit_ehdran.fast.tiles import Tile


class InferenceEdges:
    """Adds nothing; the base of those that do.

    Attributes:
        reach: how far an edge sees, ``None`` where nobody knows.
        bias: (C,), a part of the edges that is the same everywhere and that `add` leaves to the caller, or ``None``.
    """

    bias: Tensor | None = None
    reach: int | None = 0

    def maps(self, x: Tensor) -> Tensor:
        """Return what the operator needs of a whole image x (B, 1, H, W); here nothing."""
        return x

    def add(self, out: Tensor, edges: Tensor, tile: Tile) -> None:
        """Add the edges of a tile, times the edge gain, to ``out`` (B, C, h, w), the features of the tile.

        Args:
            out: features of the tile, channels last and dense.
            edges: of the whole image, from `maps`.
            tile: the tile.
        """


class DenseEdges(InferenceEdges):
    """DRGO: its layers that read the shallow features are convolutions of the maps [x, 1].

    |Gx∗r| and |Gy∗r| share the rows of their 1×1 convolution, so that one of both halves' channels serves them.
    """

    reach = 2

    def __init__(self, module: DenseResidualGradient, basis: Tensor, gain: float, dtype: torch.dtype) -> None:
        dense, gradient, composed = module.dense, module.gradient.project, compose_edges(module, basis)

        def placed(weight: Tensor) -> Tensor:
            return weight.to(dtype, memory_format=torch.channels_last)

        self.dtype = dtype
        self.first, self.first_bias = placed(composed.first), bias_of(dense.first).to(dtype)
        self.second_of_maps, self.second_bias = placed(composed.second), bias_of(dense.second).to(dtype)
        self.second_of_first = WinogradConvolution(dense.second.weight[:, len(basis) :], None, dtype)
        self.gradients = placed(torch.cat([composed.along_x, composed.along_y]))
        self.project = placed(gain * dense.project.weight)
        self.project_gradients = placed(gain * torch.cat([gradient.weight] * 2, dim=1))
        self.bias = (gain * (bias_of(dense.project) + bias_of(gradient))).to(dtype)

    def maps(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        maps = torch.cat([x, torch.ones_like(x)], dim=1).contiguous(memory_format=torch.channels_last)
        return F.pad(maps, (2,) * 4)

    def add(self, out: Tensor, edges: Tensor, tile: Tile) -> None:
        wider = tile.window(edges, 2, 2).contiguous(memory_format=torch.channels_last)
        near = tile.window(edges, 2, 1).contiguous(memory_format=torch.channels_last)
        first = F.leaky_relu_(convolve(wider, self.first, self.first_bias), 0.2)
        second = convolve(near, self.second_of_maps, self.second_bias)
        self.second_of_first.accumulate(second, tile.blank_outside(first, 1))
        accumulate(out, F.leaky_relu_(second, 0.2), self.project)
        accumulate(out, convolve(near, self.gradients).abs_(), self.project_gradients)


class DerivativeEdges(InferenceEdges):
    """A fixed derivative filter: blind to what is constant, so its answer to w·x + b is |w| times that to x."""

    def __init__(self, operator: EdgeOperator, slope: Tensor, gain: float, dtype: torch.dtype) -> None:
        self.operator, self.dtype, self.reach = operator, dtype, operator.reach
        self.slope = (gain * slope.abs())[:, None, None].to(dtype)

    def maps(self, x: Tensor) -> Tensor:
        return self.operator(x.to(self.dtype))

    def add(self, out: Tensor, edges: Tensor, tile: Tile) -> None:
        out.addcmul_(tile.cut(edges), self.slope)


class OtherEdges(InferenceEdges):
    """Any other operator: run as it is on the shallow features of the whole image."""

    reach = None

    def __init__(self, encoder: DilatedResidualAttention) -> None:
        self.encoder = encoder

    def maps(self, x: Tensor) -> Tensor:
        edges: Tensor = self.encoder.edge_gain * self.encoder.edge(self.encoder.shallow(x))
        return edges

    def add(self, out: Tensor, edges: Tensor, tile: Tile) -> None:
        out += tile.cut(edges)


def edges_of(
    plain: DilatedResidualAttention, exact: DilatedResidualAttention, basis: Tensor, dtype: torch.dtype
) -> InferenceEdges:
    """Return the inference form of an encoder's edge operator.

    Args:
        plain: the encoder as it is.
        exact: a copy of it in float64.
        basis: (C, 2) in float64; the shallow features of the maps [x, 1].
        dtype: to compute in.
    """
    operator, gain = exact.edge, exact.edge_gain
    # What is blind to constants and sees one pixel only sees nothing.
    if gain == 0 or (operator.ignores_constants and operator.reach == 0):
        return InferenceEdges()
    if type(operator) is DenseResidualGradient:
        return DenseEdges(operator, basis, gain, dtype)
    if operator.ignores_constants:
        return DerivativeEdges(plain.edge, basis[:, 0], gain, dtype)
    return OtherEdges(plain)
