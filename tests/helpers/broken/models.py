"""Models that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import (
    EncoderDecoder,
    Joint,
    Reach,
    RuleError,
)


class GoodFree(EncoderDecoder):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, width, 3, padding=1)
        self.decoder = nn.Conv2d(width, 1, 3, padding=1)

    @property
    def reach(self) -> Reach | None:
        return Reach(1, 1)


class GoodJoint(Joint):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(1, 1, 3, padding=1)

    def training_loss(self, sources: Any, objectives: Any) -> Any:
        loss = sum(F.mse_loss(self.fuse_jointly(*sources), each) for each in sources)
        return loss, {"near": loss.detach()}

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        return self.network(torch.stack(sources).amax(0))


class ModelOfEvenSides(GoodFree):
    def encode(self, x: Tensor) -> Tensor:
        assert not any(side % 2 for side in x.shape[2:]), "even sides only"
        return self.encoder(x)


class ModelInPlace(GoodFree):
    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.mul_(0.5))


class ModelOfOtherSize(GoodFree):
    def decode(self, features: Any, sources: Any = None) -> Tensor:
        return self.decoder(features)[..., 1:]


class ModelOfAnyCount(GoodJoint):
    def fuse(self, sources: Any, rule: Any = None) -> Tensor:
        self.choose_rule(rule)
        return self.fuse_jointly(*sources)


class ModelOfAnyRule(GoodJoint):
    def choose_rule(self, rule: Any, options: Any = None) -> None:
        return None


class ModelOfOneRule(GoodFree):
    def choose_rule(self, rule: Any, options: Any = None) -> Any:
        if rule not in (None, "mean"):
            raise RuleError("only the mean")
        return super().choose_rule("mean")


class ModelAcrossBatch(GoodFree):
    reach = None

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x - x.mean())


class ModelOfMoreReach(GoodFree):
    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(F.avg_pool2d(x, 3, 1, 1))


class ModelOfBlocks(GoodFree):
    """Pools over blocks of two pixels, which tiles must begin at, and does not say so: its reach holds all the same."""

    @property
    def reach(self) -> Reach | None:
        return Reach(2, 1)

    def encode(self, x: Tensor) -> Tensor:
        pooled = F.interpolate(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False), scale_factor=2.0)
        return self.encoder(x + pooled[..., : x.shape[2], : x.shape[3]])


class ModelOfAnotherForm(GoodFree):
    forms = ("plain", "fast")

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x) * (1.1 if self.asked_form == "fast" else 1)


class ModelWithIdleParameter(GoodFree):
    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))


class ModelOfNumbers(GoodJoint):
    def training_loss(self, sources: Any, objectives: Any) -> Any:
        return 1.0, {}


class ModelOfLiveTerms(GoodJoint):
    def training_loss(self, sources: Any, objectives: Any) -> Any:
        loss, _ = super().training_loss(sources, objectives)
        return loss, {"near": loss}


class ModelOfTwoReconstructions(GoodFree):
    def training_forward(self, x: Tensor) -> Tensor:
        return self.reconstruct(x) + 0.1


class ModelWithHiddenState(GoodFree):
    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(()))

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x) * self.factor


class ModelWithMemory(GoodFree):
    def encode(self, x: Tensor) -> Tensor:
        self.last = x
        # It takes long where others may come in between.
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.02)
        return self.encoder(self.last)


class ModelOfSingles(GoodFree):
    def encode(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for BFloat16")
        return self.encoder(x)


class ModelThatCannotBeBuilt(GoodFree):
    def __init__(self) -> None:
        raise ValueError("no luck")
