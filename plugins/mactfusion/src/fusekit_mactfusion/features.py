"""The convolutional features of MACTFusion: of one source, from the image to 48 channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusekit_mactfusion.fourier import fourier_convolution

#: Channels of a member of the chain of `LargeKernel`, and side of its large kernel.
WIDTH, SIDE = 4, 31


class LargeKernel(nn.Module):
    """A chain of 3×3 convolutions, seen through a 31×31 kernel: (B, 1, H, W) → (B, 16, H, W), without activations.

    With the chain c₁ … c₄ of four channels each, u = norm(k∗[c₁ … c₄]), v = c(u + c₄), w = c'(v + c₃), z = c''(w + c₂);
    the result is [u, v, w, z] + [c₁ … c₄]. Both norms take each channel of each image alone.
    """

    def __init__(self) -> None:
        super().__init__()

        def convolution(before: int) -> nn.Conv2d:
            return nn.Conv2d(before, WIDTH, 3, padding=1, bias=False)

        self.first = convolution(1)
        self.first_norm = nn.GroupNorm(WIDTH, WIDTH)
        self.chain = nn.ModuleList(convolution(WIDTH) for _ in range(3))
        self.large = nn.Conv2d(4 * WIDTH, WIDTH, SIDE, padding=SIDE // 2, groups=WIDTH, bias=False)
        self.large_norm = nn.GroupNorm(WIDTH, WIDTH)
        self.back = nn.ModuleList(convolution(WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chain = [self.first_norm(self.first(x))]
        for convolution in self.chain:
            chain.append(convolution(chain[-1]))
        together = torch.cat(chain, dim=1)
        back = [self.large_norm(fourier_convolution(together, self.large.weight, self.large.groups))]
        for convolution, member in zip(self.back, reversed(chain), strict=False):
            back.append(convolution(back[-1] + member))
        return torch.cat(back, dim=1) + together
