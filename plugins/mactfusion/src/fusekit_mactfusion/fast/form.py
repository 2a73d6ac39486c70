"""The inference form of MACTFusion: the same function as the plain modules in evaluation mode, composed once.

- Attention and perceptron are computed for eight rows at a time (`fusekit_mactfusion.fast.attention`).
- BatchNorms behind a convolution are folded into it; the 1×1 convolutions and gradient filters of a gradient block
  become one convolution each, as do those of γ and β.
- Memory is laid out channels last, so that pixels are tokens without a copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import ComposedConvolution, ComposedGradient, Composition, GradientBlock
from fusekit_mactfusion.fast.attention import BandedAttention
from fusekit_mactfusion.features import LargeKernel
from fusekit_mactfusion.fourier import fourier_convolution
from fusekit_mactfusion.network import Branch, Decoder
from fusekit_mactfusion.transformer import Adaptation, Convolutions, CrossBlock, Norm, SelfBlock, simam


class InferenceForm(Composition):
    """The network composed: two sources (B, 1, H, W), sides multiples of 8 → (B, 1, H, W).

    Args:
        network: that the parts belong to.
        mri, ct: the branches.
        decoder: of both.
    """

    @torch.no_grad()
    def __init__(self, network: nn.Module, mri: Branch, ct: Branch, decoder: Decoder) -> None:
        super().__init__(network)
        self.mri, self.ct = _Branch(mri), _Branch(ct)
        self.cross_mri, self.cross_ct = _Cross(mri.cross), _Cross(ct.cross)
        self.decoder = [ComposedConvolution.of(each) for each in decoder.layers]

    def __call__(self, *sources: Tensor) -> Tensor:
        mri, ct = self.mri(sources[0]), self.ct(sources[1])
        x = torch.cat([self.cross_mri(mri, ct), self.cross_ct(ct, mri)], dim=1)
        for layer in self.decoder:
            x = F.leaky_relu_(layer(x), 0.1)
        return x.contiguous()


class _Branch:
    """A `Branch` without its cross block composed: (B, 1, H, W) → (B, 48, H, W)."""

    def __init__(self, branch: Branch) -> None:
        self.large = _Large(branch.large)
        self.gradients = [ComposedGradient(each) for each in branch.gradients if isinstance(each, GradientBlock)]
        self.attention = _Self(branch.attention)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.large(x)
        for block in self.gradients:
            x = block(x)
        return self.attention(x)


class _Large:
    """A `LargeKernel` composed."""

    def __init__(self, module: LargeKernel) -> None:
        self.first = ComposedConvolution.of(module.first)
        self.first_norm, self.large_norm = module.first_norm, module.large_norm
        self.chain = [ComposedConvolution.of(each) for each in module.chain]
        self.back = [ComposedConvolution.of(each) for each in module.back]
        self.large, self.groups = module.large.weight.detach(), module.large.groups

    def __call__(self, x: Tensor) -> Tensor:
        chain = [_channels_last(self.first_norm(self.first(x).contiguous()))]
        for convolution in self.chain:
            chain.append(convolution(chain[-1]))
        together = torch.cat(chain, dim=1)
        back = [_channels_last(self.large_norm(self._large(together)))]
        for convolution, member in zip(self.back, reversed(chain), strict=False):
            back.append(convolution(back[-1] + member))
        return together.add_(torch.cat(back, dim=1))

    def _large(self, x: Tensor) -> Tensor:
        return fourier_convolution(x.contiguous(), self.large, self.groups)


class _Convolutions:
    """A `Convolutions` composed: x (B, 48, H, W) → tokens (B, H, W, 48)."""

    def __init__(self, module: Convolutions) -> None:
        scale, shift = _affine(module.norm)
        self.scale, self.shift = scale[:, None, None], shift[:, None, None]
        self.depthwise = _folded(module.depthwise, module.depthwise_norm)
        self.pointwise = _folded(module.pointwise, module.pointwise_norm)
        self.project = ComposedConvolution.of(module.project)

    def __call__(self, x: Tensor) -> Tensor:
        normed = torch.addcmul(self.shift, x, self.scale)
        separable = self.pointwise(F.gelu(self.depthwise(normed))).add_(normed)
        return self.project(simam(separable)).add_(x).permute(0, 2, 3, 1)


class _Self:
    """A `SelfBlock` composed."""

    def __init__(self, block: SelfBlock) -> None:
        self.convolutions = _Convolutions(block.convolutions)
        self.window, self.grid = BandedAttention(block.window), BandedAttention(block.grid)

    def __call__(self, x: Tensor) -> Tensor:
        return self.grid(self.window(self.convolutions(x))).permute(0, 3, 1, 2)


class _Cross:
    """A `CrossBlock` composed."""

    def __init__(self, block: CrossBlock) -> None:
        self.adaptation = _Adaptation(block.adaptation)
        self.own, self.other = _Convolutions(block.own_convolutions), _Convolutions(block.other_convolutions)
        self.window, self.grid = BandedAttention(block.window), BandedAttention(block.grid)
        self.select = ComposedConvolution.of(block.select)

    def __call__(self, own: Tensor, other: Tensor) -> Tensor:
        adapted = self.other(self.adaptation(own, other))
        crossed = self.grid(self.window(self.own(own), adapted), adapted).permute(0, 3, 1, 2)
        return torch.addcmul(own, crossed.add_(own), torch.sigmoid_(self.select(other)))


class _Adaptation:
    """An `Adaptation` composed."""

    def __init__(self, module: Adaptation) -> None:
        self.shared = ComposedConvolution.of(module.shared)
        assert module.gamma.bias is not None
        assert module.beta.bias is not None
        self.both = ComposedConvolution(
            torch.cat([module.gamma.weight, module.beta.weight]), torch.cat([module.gamma.bias, module.beta.bias])
        )

    def __call__(self, own: Tensor, other: Tensor) -> Tensor:
        gamma, beta = self.both(F.gelu(self.shared(torch.cat([own, other], dim=1)))).chunk(2, dim=1)
        variance, mean = torch.var_mean(own, (2, 3), keepdim=True)
        others_variance, others_mean = torch.var_mean(other, (2, 3), correction=0, keepdim=True)
        normed = (other - others_mean).mul_(torch.rsqrt(others_variance + 1e-5))
        gain = gamma + (variance + 1e-5).sqrt()
        return normed.mul_(gain).add_(beta).add_(mean)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _affine(norm: Norm) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,) of a BatchNorm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    shift = norm.bias.double() - norm.running_mean.double() * scale
    return scale.to(norm.weight.dtype), shift.to(norm.weight.dtype)


def _folded(convolution: nn.Conv2d, norm: Norm) -> ComposedConvolution:
    """Return a convolution with the BatchNorm behind it in its weights."""
    scale, shift = _affine(norm)
    return ComposedConvolution(convolution.weight * scale[:, None, None, None], shift, convolution.groups)
