"""Edge operators in the inference form: what each adds to the features of a tile."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.edges.base import EdgeOperator
from fusekit.edges.laplacian import Laplacian
from fusekit.edges.none import NoEdge
from fusekit.edges.prewitt import Prewitt
from fusekit.edges.scharr import Scharr
from fusekit.edges.sobel import Sobel
from fusekit_ehdran.composed import bias_of, compose_edges
from fusekit_ehdran.convolution import Convolution
from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention
from fusekit_ehdran.tiles import Tile

#: Fixed filters of one channel each whose kernels sum to zero.
_DERIVATIVES = (Laplacian, Prewitt, Scharr, Sobel)


class InferenceEdges:
    """Adds nothing; the base of those that do."""

    def maps(self, x: Tensor) -> Tensor:
        """Return what the operator computes on a whole image x (B, 1, H, W), unpadded; here nothing."""
        return x

    def add(self, out: Tensor, maps: Tensor, margin: int, edges: Tensor, tile: Tile) -> None:
        """Add the edges of a tile, times the edge gain, to ``out`` (B, C, h, w).

        Args:
            out: features of the tile.
            maps: [x, p·x, p, 1] of the whole image (B, 4, …), zero-padded by ``margin``.
            margin: at least 2.
            edges: from `maps`.
            tile: the tile.
        """


class DenseEdges(InferenceEdges):
    """DRGO: its layers that read the shallow features are convolutions of the maps [x, 1]."""

    def __init__(self, module: DenseResidualGradient, basis: Tensor, gain: float, dtype: torch.dtype) -> None:
        dense, composed = module.dense, compose_edges(module, basis)
        self.first, self.second, self.along_x, self.along_y = (
            each.to(dtype, memory_format=torch.channels_last) for each in composed
        )
        self.first_bias = bias_of(dense.first).to(dtype)
        self.second_of_first = Convolution(dense.second.weight[:, len(basis) :], bias_of(dense.second), dtype)
        self.project = (gain * dense.project.weight).to(dtype)
        self.project_gradient = (gain * module.gradient.project.weight).to(dtype)
        self.bias = (gain * (bias_of(dense.project) + bias_of(module.gradient.project))).to(dtype)

    def add(self, out: Tensor, maps: Tensor, margin: int, edges: Tensor, tile: Tile) -> None:
        x_and_one = maps[:, ::3]
        near, wider = tile.window(x_and_one, margin, 1), tile.window(x_and_one, margin, 2)
        first = F.leaky_relu_(F.conv2d(wider, self.first, self.first_bias), 0.2)
        tile.blank_outside(first, 1)
        second = F.leaky_relu_(self.second_of_first(first).add_(F.conv2d(near, self.second)), 0.2)
        out += F.conv2d(second, self.project, self.bias)
        gradient = F.conv2d(near, self.along_x).abs_().add_(F.conv2d(near, self.along_y).abs_())
        out += F.conv2d(gradient, self.project_gradient)


class DerivativeEdges(InferenceEdges):
    """A fixed derivative filter: blind to what is constant, so its answer to w·x + b is |w| times that to x."""

    def __init__(self, operator: EdgeOperator, slope: Tensor, gain: float, dtype: torch.dtype) -> None:
        self.operator, self.dtype = operator, dtype
        self.slope = (gain * slope.abs())[:, None, None].to(dtype)

    def maps(self, x: Tensor) -> Tensor:
        return self.operator(x.to(self.dtype))

    def add(self, out: Tensor, maps: Tensor, margin: int, edges: Tensor, tile: Tile) -> None:
        out.addcmul_(tile.cut(edges), self.slope)


class OtherEdges(InferenceEdges):
    """Any other operator: run as it is on the shallow features of the whole image."""

    def __init__(self, encoder: DilatedResidualAttention) -> None:
        self.encoder = encoder

    def maps(self, x: Tensor) -> Tensor:
        edges: Tensor = self.encoder.edge_gain * self.encoder.edge(self.encoder.shallow(x))
        return edges

    def add(self, out: Tensor, maps: Tensor, margin: int, edges: Tensor, tile: Tile) -> None:
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
    if isinstance(operator, NoEdge) or gain == 0:
        return InferenceEdges()
    if type(operator) is DenseResidualGradient:
        return DenseEdges(operator, basis, gain, dtype)
    if type(operator) in _DERIVATIVES:
        return DerivativeEdges(plain.edge, basis[:, 0], gain, dtype)
    return OtherEdges(plain)
