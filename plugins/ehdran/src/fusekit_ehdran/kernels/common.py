"""What the kernels share: how a program finds its pixels, block means of pooling gates, and 3×3 convolutions.

A program computes a tile of ``TILE_HEIGHT`` × ``TILE_WIDTH`` pixels, both even, of one image, all channels of them.
Its pixels are numbered block by block: the four pixels of each 2×2 block of the pooling gates come one after another,
so that a block's mean is a sum over four neighbours in the tile. Images are (B, H, W, C), channels last; offsets
within a tile fit 32 bits, and that of the tile itself is taken in 64.
"""

from __future__ import annotations

import triton
import triton.language as tl

from fusekit.extend import interprets

_INTERPRETED = tl.constexpr(interprets())


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):
    """Return total + a·b of (N, K), (K, M) and (N, M), accumulated in float32."""
    # The interpreter multiplies bfloat16 as the integers that it keeps it in. Products of such values are exact in
    # float32, as they are on a GPU.
    if _INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def tile_of_program(height, width, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr):
    """Return the program's image, and the top row and left column of its tile."""
    program = tl.program_id(0)
    across = tl.cdiv(width, TILE_WIDTH)
    down = tl.cdiv(height, TILE_HEIGHT)
    image = program // (across * down)
    tile = program % (across * down)
    return image, tile // across * TILE_HEIGHT, tile % across * TILE_WIDTH


@triton.jit
def tile_pixels(TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr):
    """Return row and column within the tile of each of its N pixels, block by block: two (N,)."""
    pixel = tl.arange(0, TILE_HEIGHT * TILE_WIDTH)
    block = pixel // 4
    rows = block // (TILE_WIDTH // 2) * 2 + pixel % 4 // 2
    columns = block % (TILE_WIDTH // 2) * 2 + pixel % 2
    return rows, columns


@triton.jit
def first_pixel(image, top, left, height, width):
    """Return the number, in 64 bits, of a tile's first pixel in a batch of images."""
    return (image.to(tl.int64) * height + top) * width + left


@triton.jit
def block_means(values, inside, N: tl.constexpr, CHANNELS: tl.constexpr):
    """Return for each pixel the mean over its block, of what is inside the image: (N, CHANNELS) → the same.

    ``values`` is zero where ``inside`` (N,) is false.
    """
    counts = tl.sum(tl.reshape(inside.to(tl.float32), (N // 4, 4)), axis=1)
    sums = tl.sum(tl.reshape(values, (N // 4, 4, CHANNELS)), axis=1)
    means = sums / tl.maximum(counts, 1.0)[:, None]
    return tl.reshape(tl.broadcast_to(means[:, None, :], (N // 4, 4, CHANNELS)), (N, CHANNELS))


@triton.jit
def convolve_3x3(
    source,
    weight,
    top,
    left,
    rows,
    columns,
    height,
    width,
    N: tl.constexpr,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Return a zero-padded 3×3 convolution at the tile's pixels as nine matrix products: (N, OUTPUTS), float32.

    ``source`` points at the tile's first pixel in (…, H, W, INPUTS), ``weight`` at (9, INPUTS, OUTPUTS).
    """
    inputs = tl.arange(0, INPUTS)
    outputs = tl.arange(0, OUTPUTS)
    total = tl.zeros((N, OUTPUTS), tl.float32)
    for tap in range(9):
        down = tap // 3 - 1
        right = tap % 3 - 1
        y = top + rows + down
        x = left + columns + right
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        offsets = ((rows + down) * width + columns + right) * INPUTS
        pixels = tl.load(source + offsets[:, None] + inputs[None, :], mask=inside[:, None], other=0.0)
        kernel = tl.load(weight + tap * INPUTS * OUTPUTS + inputs[:, None] * OUTPUTS + outputs[None, :])
        total = product(pixels, kernel, total, PRECISION)
    return total
