"""SwinFusion (Ma et al., 2022): shallow convolutions, attention within and across the sources, reconstruction."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import Joint, Objectives, SwinBlock
from fusekit_swinfusion import plugin
from fusekit_swinfusion.cross import CrossBlock
from fusekit_swinfusion.form import InferenceForm
from fusekit_swinfusion.losses import training_terms

WIDTH, HEADS, WINDOW = 60, 6, 8


def swin(depth: int) -> nn.Sequential:
    """Return blocks of which every second one is shifted by half a window."""
    return nn.Sequential(*(SwinBlock(WIDTH, HEADS, WINDOW, index % 2 * (WINDOW // 2)) for index in range(depth)))


def convolutions(*widths: int) -> nn.ModuleList:
    """Return 3×3 convolutions from each number of channels to the next."""
    return nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in itertools.pairwise(widths))


class Fusing(nn.Module):
    """One layer of fusion: two blocks within each source, then two across."""

    def __init__(self) -> None:
        super().__init__()
        self.within_a, self.within_b = swin(2), swin(2)
        self.across = nn.ModuleList(CrossBlock(WIDTH, HEADS, WINDOW, shift) for shift in (0, WINDOW // 2))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.within_a(a), self.within_b(b)
        for block in self.across:
            a, b = block(a, b)
        return a, b


class SwinFusion(Joint):
    """SwinFusion as its published training options build it: 973,681 parameters there, 965,251 of them used.

    Sources are two (B, 1, H, W) in [0, 1], the MRI first. Sides that are no multiple of 8 are mirrored on; the authors'
    test script mirrors 8 pixels more on, onto sides that are one already, which moves windows at the border.
    """

    spec = plugin.SWINFUSION
    forms = ("plain", "composed")

    def __init__(self) -> None:
        super().__init__()
        self.shallow = convolutions(1, WIDTH // 2, WIDTH)
        # One norm for all five maps that it is before.
        self.norm = nn.LayerNorm(WIDTH)
        self.extract_a, self.extract_b = swin(4), swin(4)
        self.norm_extract_a, self.norm_extract_b = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.fusing = nn.ModuleList([Fusing(), Fusing()])
        self.norm_fused_a, self.norm_fused_b = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.merge = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)
        self.reconstruct = swin(4)
        self.norm_reconstruct = nn.LayerNorm(WIDTH)
        self.last = convolutions(WIDTH, WIDTH // 2, WIDTH // 4, 1)
        self._inference: InferenceForm | None = None

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        form = self._inference_form(*sources)
        if form is not None:
            return form(*sources)
        # Both sources go through the same shallow convolutions and the same norm: as one batch.
        x = torch.cat(sources)
        for convolution in self.shallow:
            x = F.leaky_relu(convolution(x), 0.2)
        a, b = self.norm(_last(x)).chunk(2)
        a, b = self.norm_extract_a(self.extract_a(a)), self.norm_extract_b(self.extract_b(b))
        a, b = self.norm(a), self.norm(b)
        for layer in self.fusing:
            a, b = layer(a, b)
        both = torch.cat([self.norm_fused_a(a), self.norm_fused_b(b)], -1)
        x = self.norm(_last(F.leaky_relu(self.merge(_first(both)), 0.2)))
        x = _first(self.norm_reconstruct(self.reconstruct(x)))
        for convolution in self.last[:-1]:
            x = F.leaky_relu(convolution(x), 0.2)
        fused: Tensor = self.last[-1](x)
        return fused

    def _inference_form(self, *inputs: Tensor) -> InferenceForm | None:
        """Return the inference form of the weights as they are now, or ``None`` where the plain modules must run."""
        if self.runs_plain(*inputs):
            return None
        form = self._inference
        if form is None or not form.is_of(self):
            form = self._inference = InferenceForm(self)
        return form

    def __getstate__(self) -> dict[str, Any]:
        # Copies and worker processes compose their own.
        return {**self.__dict__, "_inference": None}

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the published objective, 100 · gradient + 20 · intensity + 50 · (1 − SSIM)."""
        return training_terms(sources[0], sources[1], self.fuse_jointly(*sources))

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return dict(_converted(state))


def _last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


#: The authors' names, as patterns, and ours. What stands in none of them is computed or never used.
_NAMES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"conv_first([12])_A\.", lambda found: f"shallow.{int(found[1]) - 1}."),
    (r"patch_embed\.norm\.", lambda _: "norm."),
    (r"norm_Ex_([AB])\.", lambda found: f"norm_extract_{found[1].lower()}."),
    (r"norm_Fusion_([AB])\.", lambda found: f"norm_fused_{found[1].lower()}."),
    (r"norm_Re\.", lambda _: "norm_reconstruct."),
    (r"conv_after_body_Fusion\.", lambda _: "merge."),
    (r"conv_last([123])\.", lambda found: f"last.{int(found[1]) - 1}."),
    (r"layers_Ex_([AB])\.0\.residual_group\.blocks\.", lambda found: f"extract_{found[1].lower()}."),
    (r"layers_Re\.0\.residual_group\.blocks\.", lambda _: "reconstruct."),
    (
        r"layers_Fusion\.(\d)\.residual_group_([AB])\.blocks\.",
        lambda at: f"fusing.{at[1]}.within_{at[2].lower()}.",
    ),
    (r"layers_Fusion\.(\d)\.residual_group\.blocks\.", lambda found: f"fusing.{found[1]}.across."),
)
#: Within a block. A cross block's parts carry the letter of their source behind their name.
_PARTS = (
    ("norm1", "norm_attention"),
    ("norm2", "norm_perceptron"),
    ("attn.relative_position_bias_table", "attention.position_bias"),
    ("attn.q", "attention.query"),
    ("attn.kv", "attention.key_value"),
    ("attn.proj", "attention.output"),
    ("mlp.fc1", "perceptron.0"),
    ("mlp.fc2", "perceptron.2"),
)


def _converted(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield our names and tensors of the authors' ones; what we know already stays as it is."""
    for key, tensor in state.items():
        name = _renamed(key)
        if name is None:
            continue
        if name.endswith(("attn.qkv.weight", "attn.qkv.bias")):
            stem, _, kind = name.rpartition("attn.qkv.")
            yield f"{stem}attention.query.{kind}", tensor[:WIDTH]
            yield f"{stem}attention.key_value.{kind}", tensor[WIDTH:]
        else:
            yield name, tensor


def _renamed(key: str) -> str | None:
    """Return our name of one of the authors' keys, ``None`` for what is computed or never called."""
    if key.endswith(("attn_mask", "relative_position_index")) or re.match(r"conv_first[12]_B\.", key):
        return None
    for pattern, ours in _NAMES:
        found = re.match(pattern, key)
        if found is not None:
            return ours(found) + _part(key[found.end() :])
    return key


def _part(rest: str) -> str:
    """Return our name of what stands behind a block's number, such as ``0.attn_A.q.weight``."""
    crossed = re.fullmatch(r"(\d+)\.(norm1|norm2|attn|mlp)_([AB])\.(.*)", rest)
    if crossed is not None:
        rest = f"{crossed[1]}.{crossed[3].lower()}.{crossed[2]}.{crossed[4]}"
    head, _, tail = rest.partition(".")
    prefix, inner = ("", rest) if not head.isdigit() else (f"{head}.", tail)
    if crossed is not None:
        source, _, inner = inner.partition(".")
        prefix += f"{source}."
    for theirs, ours in _PARTS:
        if inner == theirs or inner.startswith(f"{theirs}."):
            return prefix + ours + inner[len(theirs) :]
    return prefix + inner
