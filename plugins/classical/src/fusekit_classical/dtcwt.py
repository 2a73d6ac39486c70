"""The model ``dtcwt``: details by the dual-tree complex wavelet transform (Kingsbury, 2001), written in torch.

Two wavelet trees run side by side, their filters half a sample apart, and give the real and the imaginary parts of
complex coefficients, whose magnitudes hardly depend on shifts. In two dimensions these are six bands a level, of edges
in six directions. The samples of both trees stand interleaved in one tensor; its mirror image at the border, the
outermost samples repeated, is the other tree's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusekit.extend import Reach, crop_to
from fusekit_classical import plugin
from fusekit_classical.borders import mirrored, mirrored_places
from fusekit_classical.pyramid import Pyramid, strongest

#: Kingsbury's near-symmetric biorthogonal low passes of the first level, from the middle outwards: of the way there
#: (13 taps) and of the way back (19 taps).
_THERE = (0.55546875, 0.296875, -0.0482421875, -0.046875, 0.022265625, 0.0, -0.0017578125, 0.0, 0.0, 0.0)
_BACK = (
    *(0.5594308035714286, 0.29975760323660716, -0.05168805803571428, -0.05564313616071428, 0.023856026785714284),
    *(0.007156808035714285, -0.0018833705357142855, -0.0013419015066964285, 0.0, 7.062639508928571e-05),
)
#: Samples on each side of the middle.
_HALF = len(_BACK) - 1
#: His orthonormal low pass of all other levels (14 taps), a quarter of a sample from the middle, in the first tree; in
#: the second it is reversed.
_SHIFTED = (
    *(0.003253142763653182, -0.00388321199915849, 0.03466034684485349, -0.03887280126882779, -0.11720388769911527),
    *(0.27529538466888204, 0.7561456438925225, 0.5688104207121227, 0.011866092033797, -0.1067118046866654),
    *(0.023825384794920298, 0.01702522388155399, -0.005439475937274115, -0.004556895628475491),
)
#: How far mirrored samples are needed on each side.
_MARGIN = len(_SHIFTED) - 2


def transform(x: Tensor, levels: int) -> tuple[list[Tensor], Tensor]:
    """Return the dual-tree complex wavelet transform of real values (B, 1, H, W), sides multiples of 2ᴸ.

    Returns:
        details: of each level l, fine to coarse, six complex bands (B, 6, H/2ˡ, W/2ˡ).
        low: the low passes of the coarsest level, those of all trees interleaved, (B, 1, H/2ᴸ⁻¹, W/2ᴸ⁻¹).
    """
    details = []
    for level in range(levels):
        split = _split if level else _split_first
        low, high = split(x)
        (x, across), (along, both) = (_swapped(split(each.mT)) for each in (low, high))
        details.append(torch.cat([_complex(band) for band in (across, both, along)], dim=1))
    return details, x


def inverse(details: list[Tensor], low: Tensor) -> Tensor:
    """Undo `transform`: real values (B, 1, H, W)."""
    for level in reversed(range(len(details))):
        join = _join if level else _join_first
        across, both, along = (_real(pair).mT for pair in details[level].chunk(3, dim=1))
        low = join(join(low.mT, across).mT, join(along, both).mT)
    return low


def _swapped(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0].mT, pair[1].mT


def _complex(band: Tensor) -> Tensor:
    """Return two complex bands (B, 2, H/2, W/2) of the real one (B, 1, H, W) of four interleaved trees."""
    a, b, c, d = (band[..., row::2, column::2] for row in (0, 1) for column in (0, 1))
    return torch.cat([torch.complex(a - d, b + c), torch.complex(a + d, b - c)], dim=1) / 2**0.5


def _real(pair: Tensor) -> Tensor:
    """Undo `_complex`."""
    minus, plus = pair[:, :1], pair[:, 1:]
    quads = torch.cat([minus.real + plus.real, minus.imag + plus.imag, minus.imag - plus.imag, plus.real - minus.real])
    return F.pixel_shuffle(torch.cat(quads.chunk(4), dim=1), 2) / 2**0.5


# --- one axis, the last one ----------------------------------------------------------------------------------------


def _first_kernels(low: tuple[float, ...], other: tuple[float, ...], like: Tensor) -> Tensor:
    """Return a low pass and a high pass of the first level (2, 1, 1, 19).

    The high pass is the other way's low pass with the sign of every second sample turned.
    """
    taps = range(-_HALF, _HALF + 1)
    kernels = [[low[abs(tap)] for tap in taps], [(-1) ** tap * other[abs(tap)] for tap in taps]]
    return torch.tensor(kernels, dtype=like.dtype, device=like.device)[:, None, None]


def _split_first(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return low pass and high pass of (B, 1, H, W); of both, even samples are the first tree's, odd the second's."""
    both = F.conv2d(mirrored(x, _HALF, _HALF), _first_kernels(_THERE, _BACK, x))
    return both[:, :1], both[:, 1:]


def _join_first(low: Tensor, high: Tensor) -> Tensor:
    """Undo `_split_first`."""
    both = mirrored(torch.cat([low, high], dim=1), _HALF, _HALF)
    return F.conv2d(both, _first_kernels(_BACK, _THERE, low).movedim(0, 1))


def _kernels(like: Tensor) -> Tensor:
    """Return the filters of both trees on interleaved samples (4, 1, 1, 28): low, low, high, high.

    The high passes are the other tree's low passes with the sign of every second sample turned, and exchange places, as
    there each tree's delay is the other one's.
    """
    first = torch.tensor(_SHIFTED, dtype=like.dtype, device=like.device)
    second = first.flip(0)
    signs = torch.tensor([1, -1], dtype=like.dtype, device=like.device).repeat(len(_SHIFTED) // 2)
    found = like.new_zeros(4, 1, 1, 2 * len(_SHIFTED))
    found[0, ..., ::2], found[1, ..., 1::2] = first, second
    found[2, ..., 1::2], found[3, ..., ::2] = -signs * first, signs * second
    return found


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return low pass and high pass (B, 1, H, W/2) of (B, 1, H, W), interleaved as they are: an orthonormal map."""
    found = F.conv2d(mirrored(x, _MARGIN, _MARGIN), _kernels(x), stride=(1, 4))
    # The trees' channels become every second column.
    low, high = (pair.movedim(1, -1).flatten(-2)[:, None] for pair in found.chunk(2, dim=1))
    return low, high


def _join(low: Tensor, high: Tensor) -> Tensor:
    """Undo `_split`, by its transpose."""
    found = torch.cat([band[..., tree::2] for band in (low, high) for tree in (0, 1)], dim=1)
    spread = F.conv_transpose2d(found, _kernels(low), stride=(1, 4))
    side = spread.shape[-1] - 2 * _MARGIN
    joined = spread.new_zeros(*spread.shape[:-1], side)
    return joined.index_add_(-1, mirrored_places(side, _MARGIN, _MARGIN, low.device), spread)


class DTCWT(Pyramid):
    """In each band and at each place the complex coefficient of greatest magnitude; the mean of the low passes.

    The border is mirrored. Computed in float32, or float64 where the sources are.

    Args:
        levels: of detail; fewer where the image is too small for them.
    """

    spec = plugin.DTCWT

    def __init__(self, levels: int = 4) -> None:
        super().__init__(levels)

    @property
    def reach(self) -> Reach:
        # Each way the first level sees 9 pixels and level l 14 samples, 2ˡ⁻² pixels apart; and 2×2 of them are chosen.
        scale = 1 << self.levels
        seen = _HALF + len(_SHIFTED) * (scale // 2 - 1) + scale // 2
        return Reach(2 * seen, 0, scale, working=40.0)

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        first, levels = sources[0], self.levels_for(sources[0].shape[2:])
        images = [source if source.dtype == torch.float64 else source.float() for source in sources]
        found = [transform(_extended(_extended(image, levels).mT, levels).mT, levels) for image in images]
        details = [strongest(torch.stack(bands)) for bands in zip(*(bands for bands, _ in found), strict=True)]
        fused = inverse(details, torch.stack([low for _, low in found]).mean(0))
        return crop_to(fused, first.shape[2:]).to(first.dtype)


def _extended(x: Tensor, levels: int) -> Tensor:
    """Mirror the end of the last axis until its length is a multiple of 2ᴸ."""
    return mirrored(x, 0, -x.shape[-1] % (1 << levels))
