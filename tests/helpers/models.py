"""Tiny models of the three families, for several test files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit import ModelSpec
from fusekit.models.base import BoundRule, EncoderDecoder, Joint
from fusekit.registry.discovery import registries
from fusekit.registry.registry import entry_of


class TinyFree(EncoderDecoder):
    """Features are a dict of a tensor and a list of tensors at two resolutions."""

    spec = ModelSpec("tiny-free", f"{__name__}:TinyFree", "a test", {"width": 3}, "mean", multiple=8)

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, width, 3, padding=1)
        self.coarse = nn.Conv2d(width, 2, 3, stride=8, padding=1)
        self.last = nn.Conv2d(width + 2, 1, 1)
        self.dropout = nn.Dropout(0.5)

    def encode(self, x: Tensor) -> dict[str, Any]:
        assert not any(side % 8 for side in x.shape[2:])
        fine = self.fine(x)
        return {"fine": fine, "pyramid": [self.coarse(fine), x]}

    def decode(self, features, sources=None) -> Tensor:
        coarse, x = features["pyramid"]
        both = torch.cat([features["fine"], F.interpolate(coarse, features["fine"].shape[2:])], dim=1)
        return self.dropout(self.last(both)) + x


class TinyBound(BoundRule):
    spec = ModelSpec("tiny-bound", f"{__name__}:TinyBound", "a test", rule_policy="bound", default_rule="its-own")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 2, 3, padding=1)
        self.fusion = nn.Conv2d(2, 2, 1)
        self.decoder = nn.Conv2d(2, 1, 1)

    def training_loss(self, sources, objectives):
        """Reconstruct every source, and make the fused image like the brighter of them."""
        fused = self.fuse(sources)
        like, terms = objectives.reconstruction(torch.stack(list(sources)).amax(0), fused)
        rebuilt = torch.stack([F.mse_loss(self.reconstruct(source), source) for source in sources]).mean()
        return like + rebuilt, {**terms, "rebuilt": rebuilt.detach()}

    def fuse_bound(self, features) -> Tensor:
        return self.fusion(torch.stack(list(features)).amax(0))


class TinyJoint(Joint):
    spec = ModelSpec(
        "tiny-joint", f"{__name__}:TinyJoint", "a test", rule_policy="joint", n_sources=(2, 2), multiple=8, min_size=4
    )

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(2, 1, 3, padding=1)

    def training_loss(self, sources, objectives):
        """Keep near both sources."""
        fused = self.fuse_jointly(*sources)
        loss = torch.stack([F.mse_loss(fused, source) for source in sources]).sum()
        return loss, {"near": loss.detach()}

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        assert not any(side % 8 for side in sources[0].shape[2:])
        return self.network(torch.cat(sources, dim=1))


FAMILIES = (TinyFree, TinyBound, TinyJoint)


@contextmanager
def registered_families() -> Iterator[None]:
    """Register the tiny models for a while."""
    models = registries().models
    before = models.snapshot()
    for each in FAMILIES:
        models.add(entry_of(each.spec, "a-test"))
    yield
    models.restore(before)
