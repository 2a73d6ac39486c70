"""The inference form of EH-DRAN and DILRAN: the same function as the plain modules, composed once and cheap to run.

- Weights are composed as in `fusekit_ehdran.fast.algebra`, and the BatchNorm is folded into them, in float64.
- c(t) + c(c(t)) + c(c(c(t))) with one shared convolution c = k∗· + b needs three convolutions instead of six: with
  y = k∗t + b, z = k∗(t + y) + 2b it is k∗(t + z) + 3b, and t + y = (k + 1)∗t + b with the unit kernel 1.
- A decoder without activations is one 7×7 convolution C → 1, except for the two outermost pixels of the image, where
  the zero padding between its layers shows; there the three layers run.
- Images are computed tile by tile, channels last, so that what one step writes the next one finds in the cache and no
  memory is asked of the system anew; tiles carry exact margins (`fusekit_ehdran.fast.tiles`).
- Background is not computed pixel by pixel (`fusekit_ehdran.fast.background`).
- 3×3 convolutions of many channels run as `fusekit.extend.WinogradConvolution`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import (
    WinogradConvolution,
    accumulate,
    convolve,
    empty_maps,
    in_parallel,
    keep_freed_memory,
    weighted_sum,
)
from fusekit_ehdran.decoder import Decoder
from fusekit_ehdran.encoder import DilatedResidualAttention, pooling_gate
from fusekit_ehdran.fast.algebra import bias_of, compose_multiscale, shallow_basis
from fusekit_ehdran.fast.background import fill_constant, split_background, template_side
from fusekit_ehdran.fast.edges import edges_of
from fusekit_ehdran.fast.tiles import Tile, border, chunks, inner, tile_pixels

#: Images of a batch, a tile of each, and the features to be copied there if they are known.
_Piece: TypeAlias = tuple[slice, Tile, Tensor | None]
#: Address, version, dtype and device of a tensor.
_Stamp = tuple[int, int, torch.dtype, torch.device]


class InferenceForm:
    """Encoder and decoder composed of plain modules, with what tells whether these have changed since.

    Args:
        encoder: a `DilatedResidualAttention`.
        decoder: a `Decoder`.

    Attributes:
        encoder: (B, 1, H, W) → (B, C, H, W).
        decoder: (B, C, H, W) → (B, 1, H, W).
        decode_sum: weights (N, B, 1 or C, 1, 1) and features of N sources (B, C, H, W) → (B, 1, H, W).
    """

    encoder: Callable[[Tensor], Tensor]
    decoder: Callable[[Tensor], Tensor]
    decode_sum: Callable[[Tensor, Sequence[Tensor]], Tensor]

    @torch.no_grad()
    def __init__(self, encoder: DilatedResidualAttention, decoder: Decoder) -> None:
        if encoder.shallow.weight.device.type == "cpu":
            keep_freed_memory()
        self.made_of = _stamps(encoder, decoder)
        # While an alias lives, no other tensor comes to lie at the same address. Tensors made in inference mode count
        # no versions; of those the values are kept.
        self._kept = [each.clone() if each.is_inference() else each.detach() for each in _tensors(encoder, decoder)]
        self.compose(encoder, decoder)

    def compose(self, encoder: DilatedResidualAttention, decoder: Decoder) -> None:
        """Set `encoder`, `decoder` and `decode_sum`."""
        dtype = encoder.shallow.weight.dtype
        self.encoder = InferenceEncoder(encoder, dtype)
        self.decoder = composed = InferenceDecoder(decoder, dtype)
        self.decode_sum = composed.decode_sum

    def is_of(self, encoder: nn.Module, decoder: nn.Module) -> bool:
        """Return whether the form was composed of these modules as they are now."""
        if self.made_of != _stamps(encoder, decoder):
            return False
        pairs = zip(_tensors(encoder, decoder), self._kept, strict=True)
        return all(torch.equal(each, kept) for each, kept in pairs if each.is_inference())


def _tensors(*modules: nn.Module) -> list[Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]


def _stamps(encoder: nn.Module, decoder: nn.Module) -> tuple[list[_Stamp], list[object]]:
    """Return what changes when weights, buffers or the options that modules hold as attributes change."""
    stamps = [
        (each.data_ptr(), -1 if each.is_inference() else each._version, each.dtype, each.device)
        for each in _tensors(encoder, decoder)
    ]
    options: list[object] = [getattr(encoder, "edge_gain", None), getattr(decoder, "negative_slope", None)]
    options += [each.dilation for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    return stamps, [*options, getattr(encoder, "edge", None)]


class InferenceEncoder:
    """`DilatedResidualAttention` in evaluation mode: (B, 1, H, W) → (B, C, H, W), channels last.

    Args:
        encoder: the plain module; what it holds is composed and copied.
        dtype: to compute in.

    Attributes:
        reach: how far, in pixels, a feature sees, the blocks of the pooling gates aside.
        sight: how far with the blocks, and with an edge operator that sees no further.
    """

    def __init__(self, encoder: DilatedResidualAttention, dtype: torch.dtype) -> None:
        exact = copy.deepcopy(encoder).double()
        basis = shallow_basis(exact)
        self.dtype, self.channels = dtype, len(basis)
        scale, shift = normalization(exact.norm)
        weights, bias = compose_multiscale(exact.multiscale, basis)
        self.multiscale = [
            (weight * scale[:, None, None, None]).to(dtype, memory_format=torch.channels_last) for weight in weights
        ]
        self.multiscale_bias = (bias * scale + shift).to(dtype)
        self.dilations = [int(each.dilation[0]) for each in exact.multiscale.dilated if isinstance(each, nn.Conv2d)]
        self.reach = 3 + max(self.dilations)
        self.sight = self.reach + 1
        self._constant: dict[tuple[float, ...], Tensor] = {}
        shared = exact.residual_attention.shared
        kernel, bias = shared.weight, bias_of(shared)
        # The middle tap of the first one also carries t itself, so that it makes t + y.
        unit = torch.zeros_like(kernel)
        unit[..., 1, 1].fill_diagonal_(1)
        self.once = WinogradConvolution(kernel + unit, bias, dtype)
        self.twice = WinogradConvolution(kernel, 2 * bias, dtype)
        self.thrice = WinogradConvolution(kernel * scale[:, None, None, None], 3 * bias * scale, dtype)
        self.scale, self.shift = scale[:, None, None].to(dtype), shift[:, None, None].to(dtype)
        self.basis = basis[:, :, None, None].to(dtype)
        self.edges = edges_of(encoder, exact, basis[:, 1:], dtype)

    def __call__(self, x: Tensor) -> Tensor:
        maps, edges = self.maps(x), self.edges.maps(x)
        features = empty_maps((len(x), self.channels, *x.shape[2:]), self.dtype, x.device)

        def encode(piece: _Piece) -> None:
            images, tile, template = piece
            if template is None:
                self.encode_tile(maps[images], edges[images], tile, tile.cut(features[images]))
            else:
                fill_constant(features[images], template, tile, self.sight)

        in_parallel(encode, self._pieces(x))
        return features

    def _pieces(self, x: Tensor) -> list[_Piece]:
        """Cut a batch (B, 1, H, W) into tiles to be encoded, and tiles of background with the features to be copied."""
        pixels = tile_pixels(x.device, self.dtype)
        if not self.sees_background(x[0]):
            return [(images, tile, None) for images, tile in chunks(x, pixels)]
        pieces: list[_Piece] = []
        for index, image in enumerate(x[:, 0]):
            here, split = slice(index, index + 1), split_background(image, self.sight, pixels)
            if split is None:
                pieces += [(here, tile, None) for _, tile in chunks(x[here], pixels)]
                continue
            template = self.of_constant(image[0, 0], image.shape, self.sight)
            pieces += [(here, tile, None) for tile in split.computed]
            pieces += [(here, tile, template) for tile in split.constant]
        return pieces

    def sees_background(self, image: Tensor) -> bool:
        """Return whether it pays to look for background in images like this one (…, H, W), and is possible."""
        large = image.shape[-2] * image.shape[-1] > tile_pixels(image.device, self.dtype)
        return image.device.type == "cpu" and self.edges.reach is not None and large

    def of_constant(self, level: Tensor, size: Sequence[int], reach: int) -> Tensor:
        """Return the features (1, C, h, w) of a constant image with the sides of `template_side` for this size."""
        sides = [template_side(side, reach) for side in size]
        key = (float(level), *sides)
        found = self._constant.get(key)
        if found is None:
            if len(self._constant) >= 16:
                self._constant.clear()
            found = self._constant[key] = self(level.expand(1, 1, *sides))
        return found

    def maps(self, x: Tensor) -> Tensor:
        """Return the maps [x, p·x, p] of x (B, 1, H, W), zero-padded by `reach`."""
        x = x.to(self.dtype)
        gate = pooling_gate(x)
        maps = torch.cat([x, gate * x, gate], dim=1)
        return F.pad(maps.contiguous(memory_format=torch.channels_last), (self.reach,) * 4)

    def encode_tile(self, maps: Tensor, edges: Tensor, tile: Tile, out: Tensor) -> None:
        """Write the features of a tile to ``out`` (B, C, h, w).

        Args:
            maps: of the whole image, from `maps`.
            edges: of the whole image, from the edge operator's ``maps``.
            tile: its top and left are even, as the blocks of the pooling gates are.
            out: a view of the features.
        """
        multiscale = tile.blank_outside(self._multiscale(maps, tile), 3)
        once = tile.blank_outside(self.once(multiscale), 2)
        twice = tile.blank_outside(self.twice(once), 1)
        deep = self.thrice(twice.add_(inner(multiscale, 2)))
        multiscale = inner(multiscale, 3)
        deep.mul_(pooling_gate(multiscale)).addcmul_(multiscale, self.scale).add_(self.shift)
        core = tile.window(maps, self.reach, 0).contiguous(memory_format=torch.channels_last)
        gated = convolve(core, self.basis, self.edges.bias)
        # Averaging over blocks and combining maps commute, and there are fewer maps than channels.
        pooled = F.avg_pool2d(core, 2, ceil_mode=True, count_include_pad=False)
        gate = F.interpolate(F.relu_(convolve(pooled, self.basis)), scale_factor=2.0, mode="nearest")
        gated.addcmul_(gate[:, :, : deep.shape[2], : deep.shape[3]], deep)
        self.edges.add(gated, edges, tile)
        out.copy_(gated)

    def _multiscale(self, maps: Tensor, tile: Tile) -> Tensor:
        """Return the normalised multiscale features of the tile and 3 pixels around it."""
        total: Tensor | None = None
        for dilation, weight in zip(self.dilations, self.multiscale, strict=True):
            window = tile.window(maps, self.reach, 3 + dilation).contiguous(memory_format=torch.channels_last)
            if total is None:
                total = convolve(window, weight, self.multiscale_bias, dilation=dilation)
            else:
                accumulate(total, window, weight, dilation)
        assert total is not None
        return total


class InferenceDecoder:
    """The decoder C → C → 32 → 1 in evaluation mode: (B, C, H, W) → (B, 1, H, W) in the dtype of the form.

    Args:
        decoder: the plain module; what it holds is copied.
        dtype: to compute in; the last layer computes in float32 at least.
    """

    #: How far a pixel of the output sees.
    reach = 3

    def __init__(self, decoder: Decoder, dtype: torch.dtype) -> None:
        first, second, last = (_exact(each) for each in decoder.convolutions)
        self.dtype, self.last_dtype = dtype, torch.promote_types(dtype, torch.float32)
        self.negative_slope = decoder.negative_slope
        self.first = WinogradConvolution(first.weight, bias_of(first), dtype)
        self.second = WinogradConvolution(second.weight, bias_of(second), dtype)
        # A tap of the last kernel a channel: shifting nine results costs less than shifting 32 inputs nine times.
        self.taps = last.weight[0].flatten(1).T[:, :, None, None].to(self.last_dtype)
        self.bias = float(bias_of(last))
        self.collapsed = _collapsed(first, second, last, self.last_dtype) if self.negative_slope == 1 else None

    def __call__(self, features: Tensor) -> Tensor:
        return self._decode(None, [features])

    def decode_sum(self, weights: Tensor, features: Sequence[Tensor]) -> Tensor:
        """Decode Σᵢ wᵢ·Fᵢ, which is never written out whole.

        Args:
            weights: (N, B, 1 or C, 1, 1).
            features: of N sources (B, C, H, W).
        """
        return self._decode(weights, features)

    def _decode(self, weights: Tensor | None, features: Sequence[Tensor]) -> Tensor:
        features = [each.to(self.dtype, memory_format=torch.channels_last) for each in features]
        image = features[0].new_empty((len(features[0]), 1, *features[0].shape[2:]))

        def decode(piece: tuple[slice, Tile]) -> None:
            images, tile = piece
            seen = [tile.seen(each[images], self.reach) for each in features]
            total = seen[0] if weights is None else weighted_sum(weights[:, images], seen)
            tile.cut(image[images]).copy_(self.decode_tile(tile.padded(total, self.reach), tile))

        in_parallel(decode, chunks(features[0], tile_pixels(image.device, self.dtype)))
        return image

    def decode_tile(self, features: Tensor, tile: Tile) -> Tensor:
        """Return the image (B, 1, h, w) of a tile from ``features`` of it and 3 pixels around, zero outside."""
        if self.collapsed is None:
            return self._decode_layers(features, tile)
        taps, bias = self.collapsed
        image = _gather(convolve(features.to(self.last_dtype), taps), 7) + bias
        for edge, rows, columns in border(tile, 2):
            around = features[:, :, rows.start : rows.stop + 6, columns.start : columns.stop + 6]
            image[:, :, rows, columns] = self._decode_layers(around, edge)
        return image

    def _decode_layers(self, features: Tensor, tile: Tile) -> Tensor:
        hidden = tile.blank_outside(self._activate(self.first(features)), 2)
        hidden = tile.blank_outside(self._activate(self.second(hidden)), 1)
        return _gather(convolve(hidden.to(self.last_dtype), self.taps), 3) + self.bias

    def _activate(self, x: Tensor) -> Tensor:
        return x if self.negative_slope == 1 else F.leaky_relu_(x, self.negative_slope)


def _exact(convolution: nn.Module) -> nn.Conv2d:
    assert isinstance(convolution, nn.Conv2d)
    return copy.deepcopy(convolution).double()


def normalization(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return scale and shift (C,) of a BatchNorm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _gather(taps: Tensor, side: int) -> Tensor:
    """Sum the taps (B, side², H + side − 1, W + side − 1) of a kernel, each shifted to its place: (B, 1, H, W)."""
    height, width = taps.shape[2] - side + 1, taps.shape[3] - side + 1
    total = taps.new_zeros((len(taps), 1, height, width))
    for index in range(side * side):
        row, column = divmod(index, side)
        total += taps[:, index : index + 1, row : row + height, column : column + width]
    return total


def _collapsed(first: nn.Conv2d, second: nn.Conv2d, last: nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, float]:
    """Return taps (49, C, 1, 1) and bias of the one 7×7 convolution that three linear layers are inside the image."""
    # Backwards through the layers, from one output pixel to all the inputs that it depends on.
    kernel = F.conv_transpose2d(F.conv_transpose2d(last.weight, second.weight), first.weight)
    of_second = (last.weight.sum((2, 3)) @ bias_of(second)).item()
    of_first = (last.weight.sum((2, 3)) @ second.weight.sum((2, 3)) @ bias_of(first)).item()
    taps = kernel[0].flatten(1).T[:, :, None, None].to(dtype)
    return taps, float(bias_of(last)) + of_second + of_first


def stacked(features: Sequence[Tensor]) -> Tensor:
    """Return N tensors (B, C, H, W) as one (N·B, C, H, W): without a copy where they are parts of one already."""
    first = features[0]
    step = first.stride(0) * len(first) * first.element_size()
    places = [first.data_ptr() + index * step for index in range(len(features))]
    whole = first.untyped_storage().nbytes() - (first.data_ptr() - first.untyped_storage().data_ptr())
    if [each.data_ptr() for each in features] != places or whole < step * len(features):
        return torch.cat(list(features))
    if any((each.shape, each.stride()) != (first.shape, first.stride()) for each in features):
        return torch.cat(list(features))
    return first.as_strided((len(features) * len(first), *first.shape[1:]), first.stride())
