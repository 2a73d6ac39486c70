"""EH-DRAN's encoder in a cheaper order of operations: the same function, differentiable, for training.

The shallow features r = w·x + b are affine in the one-channel image x, and so is much of what follows. Whatever is
linear in r, or in the gated image x₆₄ = x + p·r, collapses to a convolution of a few scalar maps:

- x₆₄ = 1·x + w·(p·x) + b·p is linear in the maps [x, p·x, p]; the dilated convolutions and the 1×1 reduction behind
  them are linear too, so all of them together are one 3×3 convolution of three maps to C channels per dilation;
- r is linear in [x, 1], the ones map zero-padded with x; so are DRGO's first convolution, the half of its second one
  that reads r, and both gradient filters.

With 64 channels this is 263,000 instead of 487,000 multiply-adds a pixel for encoder and decoder. The weights are
composed anew at each call, which costs little beside one crop and lets gradients reach the layers that the plain
module trains. The plain module is the oracle of the tests.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit_ehdran.drgo import DenseResidualGradient
from fusekit_ehdran.encoder import DilatedResidualAttention, Multiscale, pooling_gate


def encode(encoder: DilatedResidualAttention, x: Tensor) -> Tensor:
    """Do as ``encoder(x)``: (B, 1, H, W) → (B, C, H, W), equal but for rounding, in both modes and with gradients."""
    slope, offset = encoder.shallow.weight.flatten(), encoder.shallow.bias
    assert offset is not None
    gate = pooling_gate(x)
    maps = torch.cat([x, gate * x, gate], dim=1)
    basis = torch.stack([torch.ones_like(slope), slope, offset], dim=1)
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
    bias = module.reduce.bias
    assert bias is not None
    total = None
    reductions = module.reduce.weight.flatten(1).chunk(len(module.dilated), dim=1)
    for convolution, reduction in zip(module.dilated, reductions, strict=True):
        assert isinstance(convolution, torch.nn.Conv2d)
        assert convolution.bias is not None
        weight = torch.einsum("qo,ockl,cj->qjkl", reduction, convolution.weight, basis)
        bias = bias + reduction @ convolution.bias
        response = F.conv2d(maps, weight, padding=convolution.dilation, dilation=convolution.dilation)
        total = response if total is None else total + response
    assert total is not None
    return total + bias[:, None, None]


def _dense_residual_gradient(module: DenseResidualGradient, basis: Tensor, x: Tensor) -> Tensor:
    """Return ``module(r)``, r being ``basis`` (C, 2) applied to the maps [x, 1]."""
    maps = torch.cat([x, torch.ones_like(x)], dim=1)
    dense, gradient = module.dense, module.gradient
    channels = len(basis)
    of_r, of_first = dense.second.weight[:, :channels], dense.second.weight[:, channels:]
    first = F.conv2d(maps, torch.einsum("ockl,cj->ojkl", dense.first.weight, basis), dense.first.bias, padding=1)
    first = F.leaky_relu(first, 0.2)
    weight = torch.cat([torch.einsum("ockl,cj->ojkl", of_r, basis), of_first], dim=1)
    second = F.conv2d(torch.cat([maps, first], dim=1), weight, dense.second.bias, padding=1)
    second = F.leaky_relu(second, 0.2)
    along_x, along_y = (
        F.conv2d(maps, each.weight * basis[:, :, None, None], padding=1)
        for each in (gradient.along_x, gradient.along_y)
    )
    return module.dropout(dense.project(dense.dropout(second)) + gradient.project(along_x.abs() + along_y.abs()))
