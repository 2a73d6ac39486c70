"""EH-DRAN's encoder in a cheaper order of operations: the same function, differentiable, for training.

The shallow features r = w·x + b are affine in the one-channel image x, and so is much of what follows. Whatever is
linear in r, or in the gated image x₆₄ = x + p·r, collapses to a convolution of a few scalar maps:

- x₆₄ = 1·x + w·(p·x) + b·p is linear in the maps [x, p·x, p]; the dilated convolutions and the 1×1 reduction behind
  them are linear too, so all of them together are one 3×3 convolution of three maps to C channels per dilation;
- r is linear in [x, 1], the ones map zero-padded with x; so are DRGO's first convolution, the half of its second one
  that reads r, and both gradient filters.

With 64 channels this is 263,000 instead of 487,000 multiply-adds a pixel for encoder and decoder. The weights are
composed anew at each call, which costs little beside one crop and lets gradients reach the layers that the plain
module trains. The plain module is the reference of the tests. `fusekit_ehdran.fast.form` composes by the same
functions, once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention, Multiscale, pooling_gate


class ComposedEdges(NamedTuple):
    """What DRGO applies to the maps [x, 1] (B, 2, H, W), all 3×3 and without bias.

    Attributes:
        first: (C, 2, 3, 3), its first convolution.
        second: (2C, 2, 3, 3), the half of its second convolution that reads the shallow features.
        along_x, along_y: (C, 2, 3, 3), its gradient filters.
    """

    first: Tensor
    second: Tensor
    along_x: Tensor
    along_y: Tensor


def shallow_basis(encoder: DilatedResidualAttention) -> Tensor:
    """Return (C, 3): what each channel of x₆₄ takes of the maps [x, p·x, p]; its last two columns give r of [x, 1]."""
    slope, offset = encoder.shallow.weight.flatten(), bias_of(encoder.shallow)
    return torch.stack([torch.ones_like(slope), slope, offset], dim=1)


def compose_multiscale(module: Multiscale, basis: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return one weight (C, 3, 3, 3) per dilation and the bias (C,) of ``module(x₆₄)`` on the maps [x, p·x, p]."""
    bias, weights = bias_of(module.reduce), []
    reductions = module.reduce.weight.flatten(1).chunk(len(module.dilated), dim=1)
    for convolution, reduction in zip(module.dilated, reductions, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        weights.append(torch.einsum("qo,ockl,cj->qjkl", reduction, convolution.weight, basis))
        bias = bias + reduction @ bias_of(convolution)
    return weights, bias


def compose_edges(module: DenseResidualGradient, basis: Tensor) -> ComposedEdges:
    """Return the weights of what ``module`` applies to r, r being ``basis`` (C, 2) applied to the maps [x, 1]."""
    dense, gradient = module.dense, module.gradient
    along_x, along_y = (each.weight * basis[:, :, None, None] for each in (gradient.along_x, gradient.along_y))
    return ComposedEdges(
        torch.einsum("ockl,cj->ojkl", dense.first.weight, basis),
        torch.einsum("ockl,cj->ojkl", dense.second.weight[:, : len(basis)], basis),
        along_x,
        along_y,
    )


def bias_of(convolution: nn.Conv2d) -> Tensor:
    """Return the bias of a convolution that has one."""
    assert convolution.bias is not None
    return convolution.bias


def encode(encoder: DilatedResidualAttention, x: Tensor) -> Tensor:
    """Do as ``encoder(x)``: (B, 1, H, W) → (B, C, H, W), equal but for rounding, in both modes and with gradients."""
    basis = shallow_basis(encoder)
    gate = pooling_gate(x)
    maps = torch.cat([x, gate * x, gate], dim=1)
    gated = F.linear(maps.movedim(1, -1), basis).movedim(-1, 1)
    multiscale = encoder.norm(_multiscale(encoder.multiscale, basis, maps))
    deep = encoder.norm(encoder.residual_attention(multiscale))
    attended = pooling_gate(gated) * deep + gated
    if isinstance(encoder.edge, DenseResidualGradient):
        edges = _dense_residual_gradient(encoder.edge, basis[:, 1:], x)
    else:
        edges = encoder.edge(encoder.shallow(x))
    return attended + encoder.edge_gain * edges


def _multiscale(module: Multiscale, basis: Tensor, maps: Tensor) -> Tensor:
    """Return ``module(x₆₄)``, x₆₄ being ``basis`` (C, 3) applied to ``maps`` (B, 3, H, W)."""
    weights, bias = compose_multiscale(module, basis)
    total = bias[:, None, None]
    for convolution, weight in zip(module.dilated, weights, strict=True):
        assert isinstance(convolution, nn.Conv2d)
        total = total + F.conv2d(maps, weight, padding=convolution.dilation, dilation=convolution.dilation)
    return total


def _dense_residual_gradient(module: DenseResidualGradient, basis: Tensor, x: Tensor) -> Tensor:
    """Return ``module(r)``, r being ``basis`` (C, 2) applied to the maps [x, 1]."""
    maps = torch.cat([x, torch.ones_like(x)], dim=1)
    dense, composed = module.dense, compose_edges(module, basis)
    first = F.leaky_relu(F.conv2d(maps, composed.first, dense.first.bias, padding=1), 0.2)
    weight = torch.cat([composed.second, dense.second.weight[:, len(basis) :]], dim=1)
    second = F.conv2d(torch.cat([maps, first], dim=1), weight, dense.second.bias, padding=1)
    second = F.leaky_relu(second, 0.2)
    along_x, along_y = (F.conv2d(maps, weight, padding=1) for weight in (composed.along_x, composed.along_y))
    return module.dropout(dense.project(dense.dropout(second)) + module.gradient.project(along_x.abs() + along_y.abs()))
