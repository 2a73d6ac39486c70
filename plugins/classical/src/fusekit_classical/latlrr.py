"""Latent low-rank representation (Liu and Yan, ICCV 2011), and the projection that ``mdlatlrr`` learns by it.

Patches X, one a column, are written as X = XZ + LX + E: what they share, salient features of each, and sparse noise.
Solved for min ‖Z‖_* + ‖L‖_* + λ‖E‖₁ it gives the projection L, which extracts salient features of any patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import InputError, TrainingError

#: The root of a patch's summed squared deviations from its mean above which it counts as detail, for values in [0, 1].
DETAIL = 0.5


class Solution(NamedTuple):
    """What came of solving.

    Attributes:
        projection: L (D, D), float64.
        steps: of the solver.
        residual: greatest magnitude of what the constraints are off by.
    """

    projection: Tensor
    steps: int
    residual: float


def latent_low_rank(x: Tensor, sparsity: float = 0.4, tolerance: float = 1e-6, most_steps: int = 1000) -> Solution:
    """Solve for L by the inexact augmented Lagrange multiplier method, in float64.

    Z stays within the row space of X = USVᵀ, as every step of the method does; it is solved for as W = VᵀZ, with US in
    place of X before it, which are as many rows as X has, not as it has columns.

    Args:
        x: (D, N), a patch a column.
        sparsity: λ, what noise costs.
        tolerance: of the constraints' greatest residual.
        most_steps: after which solving is given up.

    Raises:
        TrainingError: the constraints are not met after so many steps.
    """
    x = x.double()
    u, s, _ = torch.linalg.svd(x, full_matrices=False)
    basis = u * s
    size, own = x.shape[0], basis.shape[1]
    of_columns = torch.linalg.inv(basis.mT @ basis + torch.eye(own).to(x))
    of_rows = torch.linalg.inv(x @ x.mT + torch.eye(size).to(x))
    noise, z, salient = torch.zeros_like(x), x.new_zeros(own, x.shape[1]), x.new_zeros(size, size)
    y_data, y_z, y_salient = (torch.zeros_like(each) for each in (noise, z, salient))
    penalty = 1e-6
    for step in range(1, most_steps + 1):
        j = _shrunk(z + y_z / penalty, 1 / penalty)
        k = _shrunk(salient + y_salient / penalty, 1 / penalty)
        z = of_columns @ (basis.mT @ (x - salient @ x - noise + y_data / penalty) + j - y_z / penalty)
        salient = ((x - basis @ z - noise + y_data / penalty) @ x.mT + k - y_salient / penalty) @ of_rows
        rest = x - basis @ z - salient @ x
        noise = F.softshrink(rest + y_data / penalty, sparsity / penalty)
        off = (rest - noise, z - j, salient - k)
        residual = max(float(each.abs().max()) for each in off)
        if residual < tolerance:
            return Solution(salient, step, residual)
        y_data, y_z, y_salient = (y + penalty * each for y, each in zip((y_data, y_z, y_salient), off, strict=True))
        penalty = min(1e6, 1.1 * penalty)
    raise TrainingError(f"no projection after {most_steps} steps: the constraints are off by {residual:.1e} still")


def _shrunk(matrix: Tensor, by: float) -> Tensor:
    """Return a matrix with its singular values less ``by``, at least 0."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    return (u * (s - by).clamp_min(0)) @ vh


def training_patches(images: Sequence[Tensor], side: int = 16, count: int = 2000, seed: int = 0) -> Tensor:
    """Return patches to learn from, half of them with much detail and half smooth, drawn at random, (side², count).

    Args:
        images: (H, W) each, in [0, 1]; they are cut into patches side by side.
        side: of a patch.
        count: of patches.
        seed: of what is drawn.

    Raises:
        InputError: the images have too few patches of either kind; black ones do not count.
    """
    tiles = torch.cat([F.unfold(image[None, None].double(), side, stride=side)[0] for image in images], dim=1)
    detailed = (tiles - tiles.mean(0)).norm(dim=0) > DETAIL
    generator, chosen = torch.Generator().manual_seed(seed), []
    for kind, places in (("detailed", detailed), ("smooth", ~detailed & tiles.any(0))):
        found = places.nonzero()[:, 0]
        if len(found) < count // 2:
            raise InputError(
                f"the images have {len(found)} {kind} patches of {side}×{side}, and {count // 2} are needed"
            )
        chosen.append(tiles[:, found[torch.randperm(len(found), generator=generator)[: count // 2]]])
    return torch.cat(chosen, dim=1)
