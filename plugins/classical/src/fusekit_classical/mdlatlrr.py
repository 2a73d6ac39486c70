"""The model ``mdlatlrr``: details by a learned projection of patches, level by level (Li, Wu and Kittler, 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import Joint, OptionError, Reach, crop_to, in_parallel
from fusekit_classical import plugin
from fusekit_classical.borders import mirrored

#: Bytes of projected patches that are held at a time.
_BYTES = 1 << 25


class MDLatLRR(Joint):
    """Details by latent low-rank representation, level by level, weighted by nuclear norms; the mean of the bases.

    At each level the detail of an image is what the projection L leaves of its patches, all that there are, averaged
    where they overlap; the base is the rest, and the next level's image. Fused, each projected patch counts by its
    nuclear norm, as a square, among those of the sources at its place.

    The detail is linear in the image; away from the border it is a convolution with (2·side − 1)² values, sums along
    L's diagonals. As the norms need the patches themselves, it is the sum of these that is taken. Computed in float32,
    or float64 where the sources are. Images smaller than a patch are mirrored.

    Args:
        levels: of detail; the paper has 1 to 4.
        side: of the patches, pixels.

    Raises:
        OptionError: there is not a level, or a side is less than 2.
    """

    spec = plugin.MDLATLRR

    def __init__(self, levels: int = 4, side: int = 16) -> None:
        super().__init__()
        if levels < 1 or side < 2:
            raise OptionError(
                f"the model {self.spec.id!r} needs 1 level or more and patches of 2 pixels a side or more, "
                f"not {levels} and {side}"
            )
        self.levels, self.side = levels, side
        size = side * side
        # Until one is learned (scripts/learn_projection.py): what a patch is but its mean. No gradient finds it.
        self.projection = nn.Parameter(torch.eye(size) - 1 / size, requires_grad=False)

    @property
    def reach(self) -> Reach:
        return Reach(self.levels * (self.side - 1), 0, working=30.0)

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        first = sources[0]
        images = torch.stack([source if source.dtype == torch.float64 else source.float() for source in sources])
        bases = images
        for axis in (-2, -1):
            bases = mirrored(bases, 0, max(0, self.side - images.shape[axis]), axis)
        fused = torch.zeros_like(bases[0])
        for _ in range(self.levels):
            details, chosen = self.detail(bases)
            bases, fused = bases - details, fused + chosen
        fused = fused + bases.mean(0)
        return crop_to(fused, first.shape[2:]).to(first.dtype)

    def detail(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the details of N images (N, B, 1, H, W), and the fused one (B, 1, H, W), of one level."""
        count, batch, _, height, width = images.shape
        side = self.side
        kernel = self.projection.to(images).view(-1, 1, side, side)
        rows = max(1, _BYTES // (images.element_size() * images[..., 0, :].numel() * len(kernel)))

        def sums(start: int) -> Tensor:
            """Return the summed patches that begin in these rows, of each image and of the fused one."""
            seen = images[..., start : min(start + rows, height - side + 1) + side - 1, :]
            patches = F.conv2d(seen.flatten(0, 1), kernel)
            patches = patches.view(count, batch, *patches.shape[1:])
            weights = shares(patches)
            patches = torch.cat([patches, (weights * patches).sum(0, keepdim=True)])
            summed = F.fold(patches.flatten(0, 1).flatten(2), seen.shape[3:], side)
            return summed.view(count + 1, batch, *summed.shape[1:])

        starts = range(0, height - side + 1, rows)
        total = images.new_zeros(count + 1, *images.shape[1:])
        for start, each in zip(starts, in_parallel(sums, starts), strict=True):
            total[..., start : start + each.shape[3], :] += each
        total /= coverage(height, side).to(images)[:, None] * coverage(width, side).to(images)
        return total[:count], total[count]


def shares(patches: Tensor) -> Tensor:
    """Return what each of N projected patches counts: its nuclear norm's share, (N, B, 1, h, w), summing to 1.

    Patches of zeros count nothing among others, and norms are computed where two or more are left.

    Args:
        patches: (N, B, side², h, w).
    """
    side = round(patches.shape[2] ** 0.5)
    matrices = patches.movedim(2, -1).reshape(len(patches), -1, side, side)
    shown = matrices.flatten(2).any(2).to(matrices)
    weights = torch.where(shown.any(0), shown, 1.0)
    several = shown.sum(0) > 1
    if several.any():
        weights[:, several] = torch.linalg.svdvals(matrices[:, several]).sum(-1)
    return (weights / weights.sum(0)).view(len(patches), patches.shape[1], 1, *patches.shape[3:])


def coverage(length: int, side: int) -> Tensor:
    """Return how many patches of ``side`` pixels, one at each place, cover each pixel of a line, (length,)."""
    places = torch.arange(length)
    return torch.minimum(places, length - 1 - places).clamp_max(min(side, length - side + 1) - 1) + 1
