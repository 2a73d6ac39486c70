"""Blocks of networks and terms of objectives that plugins share, through the door that they come by."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import (
    BandedSwin,
    ComposedConvolution,
    ComposedGradient,
    Composition,
    GradientBlock,
    SwinBlock,
    TrainingError,
    WindowAttention,
    WinogradConvolution,
    normalized_ms_ssim,
    steepness,
    structural_similarity,
)
from fusekit.models.blocks import attention


def drawn(module: nn.Module) -> nn.Module:
    """Return the module with every parameter drawn anew, so that none of them does nothing."""
    torch.manual_seed(0)
    with torch.no_grad():
        for each in module.parameters():
            each.normal_(0, 0.5)
    return module


# --- attention -------------------------------------------------------------------------------------------------------


def test_windows_are_joined_again() -> None:
    x = torch.rand(2, 16, 24, 12)
    assert torch.equal(attention.joined(attention.windows(x, 8, 3), 8, 16, 24), x)


def test_the_mask_keeps_apart_what_the_shift_brought_together() -> None:
    mask = attention.shift_mask(16, 16, 8, 4, torch.device("cpu"), torch.float32)
    assert mask.shape == (4, 1, 64, 64)
    assert not mask[0].any()
    # In the last window there are four regions of a quarter each.
    assert int((mask[3] == 0).sum()) == 4 * 16 * 16


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
@torch.inference_mode()
def test_attention_against_a_loop_over_pixels(shift: int, size: tuple[int, int]) -> None:
    side, heads, width = 4, 2, 6
    module = WindowAttention(width, heads, side, shift)
    drawn(module)
    x, other = torch.randn(2, 1, *size, width)
    query, (key, value) = module.query(x)[0], (each[0] for each in module.key_value(other).chunk(2, -1))
    found = torch.empty(*size, width)

    def place(axis: int, at: int) -> tuple[int, int, int]:
        """Return the window, the part of it that the border leaves connected, and the place in the window."""
        moved = (at - shift) % size[axis]
        return moved // side, int(at < shift), moved % side

    def offsets(own: list[tuple[int, int, int]], key: list[tuple[int, int, int]]) -> list[int]:
        return [mine[2] - theirs[2] + side - 1 for mine, theirs in zip(own, key, strict=True)]

    pixels = [(row, column) for row in range(size[0]) for column in range(size[1])]
    for row, column in pixels:
        own = [place(0, row), place(1, column)]
        keys = [(r, c, [place(0, r), place(1, c)]) for r, c in pixels]
        near = [
            (r, c, offsets(own, key))
            for r, c, key in keys
            if all(a[:2] == b[:2] for a, b in zip(own, key, strict=True))
        ]
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            scores = torch.stack(
                [
                    query[row, column, part] @ key[r, c, part] / (width / heads) ** 0.5
                    + module.position_bias[down * (2 * side - 1) + right, head]
                    for r, c, (down, right) in near
                ]
            )
            found[row, column, part] = scores.softmax(0) @ torch.stack([value[r, c, part] for r, c, _ in near])
    torch.testing.assert_close(module(x, other)[0], module.output(found), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_swin_block_adds_attention_and_perceptron() -> None:
    block = SwinBlock(8, 2, 4, 2, ratio=3)
    drawn(block)
    x = torch.randn(1, 8, 8, 8)
    normed = block.norm_attention(x)
    attended = x + block.attention(normed, normed)
    hidden = F.gelu(block.perceptron[0](block.norm_perceptron(attended)))
    assert hidden.shape[-1] == 24
    torch.testing.assert_close(block(x), attended + block.perceptron[2](hidden))


@pytest.mark.parametrize("width", [8, 12])
@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(4, 4), (8, 12)])
@torch.inference_mode()
def test_a_composed_swin_block_is_the_plain_one(width: int, shift: int, size: tuple[int, int]) -> None:
    # Heads of 4 channels, and of 6, which are filled up.
    block, other = SwinBlock(width, 2, 4, shift, ratio=3), nn.LayerNorm(width)
    drawn(nn.ModuleList([block, other]))
    x, asked = torch.randn(2, 3, *size, width)
    torch.testing.assert_close(BandedSwin(block)(x), block(x), atol=1e-4, rtol=1e-4)
    attended = x + block.attention(block.norm_attention(x), other(asked))
    wanted = attended + block.perceptron(block.norm_perceptron(attended))
    torch.testing.assert_close(BandedSwin(block, other)(x, asked), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(BandedSwin(block, other)._whole(x, asked), wanted)


# --- gradients, and composed blocks ----------------------------------------------------------------------------------


@torch.inference_mode()
def test_the_gradient_path_starts_as_sobel_filters() -> None:
    block = GradientBlock(3, 5)
    with torch.no_grad():
        for name in ("first", "second", "dense", "gradient"):
            for each in getattr(block, name).parameters():
                each.zero_()
        block.gradient.weight[:, 1] = 1
    x = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(block(x), steepness(x[:, 1:2]).expand(1, 5, 9, 7))


@torch.inference_mode()
def test_composed_blocks_are_their_modules() -> None:
    x = torch.randn(2, 4, 9, 7)
    block = GradientBlock(4, 6)
    drawn(block)
    torch.testing.assert_close(ComposedGradient(block)(x), block(x), atol=1e-4, rtol=1e-4)
    for mode in ("zeros", "reflect"):
        convolution = nn.Conv2d(4, 6, 3, padding=1, padding_mode=mode)
        found = ComposedConvolution.of(convolution)(x)
        torch.testing.assert_close(found, convolution(x), atol=1e-5, rtol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("height", [1, 2, 4, 6, 9])
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_against_torch(height: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(height)
    x = torch.randn(2, 5, height + 2, 9, generator=generator)
    weight = torch.randn(3, 5, 3, 3, generator=generator)
    offset = torch.randn(3, generator=generator) if bias else None
    found = WinogradConvolution(weight, offset, torch.float32)(x)
    torch.testing.assert_close(found, F.conv2d(x, weight, offset), atol=2e-5, rtol=0)


def test_a_composition_knows_later_changes() -> None:
    network = nn.Linear(2, 2)
    composition = Composition(network)
    assert composition.is_of(network)
    with torch.no_grad():
        network.weight.mul_(2)
    assert not composition.is_of(network)
    with torch.inference_mode():
        within = nn.Linear(2, 2)
        kept = Composition(within)
        assert kept.is_of(within)
        within.bias.add_(1)
        assert not kept.is_of(within)


# --- terms of objectives ---------------------------------------------------------------------------------------------


def images(count: int, *shape: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


def test_steepness_of_a_ramp() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert (steepness(ramp)[..., 1:-1, 1:-1] == 8).all()


@pytest.mark.parametrize("size", [16, 24])
def test_similarities_are_greatest_of_an_image_to_itself(size: int) -> None:
    first, second = images(2, 1, 1, size, size)
    for padded in (False, True):
        whole, structure = structural_similarity(first, first, padded=padded)
        assert float(whole) == pytest.approx(1)
        assert float(structure) == pytest.approx(1)
        assert structural_similarity(first, second, padded=padded).whole < 0.9
    assert float(normalized_ms_ssim(first, first)) == pytest.approx(1)
    assert normalized_ms_ssim(first, second) < normalized_ms_ssim(first, first)


def test_ms_ssim_needs_five_scales() -> None:
    (image,) = images(1, 1, 1, 8, 20)
    with pytest.raises(TrainingError, match="MS-SSIM has 5 scales, and a side of 8; give --crop 16 or more"):
        normalized_ms_ssim(image, image)
