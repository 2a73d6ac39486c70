"""Encoders, decoders and edge operators that each break their contract in one way, and good ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import (
    Decoder,
    EdgeOperator,
    Encoder,
    build_part,
)


class GoodEncoder(Encoder):
    reach: int | None = 1

    def __init__(self, edge: str = "none", channels: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(1, channels, 3, padding=1)
        self.edge = build_part("edge operator", edge, {"channels": channels})

    def forward(self, x: Tensor) -> Any:
        features = self.convolution(x)
        return features + self.edge(features) if self.edge.reach == 0 else features


class LevelsEncoder(GoodEncoder):
    """Two levels of which the second has half the sides; sides are made even first."""

    reach: int | None = None

    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        self.channels: Any = (4, 8)
        self.second = nn.Conv2d(4, 8, 2, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        first = super().forward(x)
        return [first, self.second(F.pad(first, (0, x.shape[3] % 2, 0, x.shape[2] % 2)))]


class LevelsDecoder(Decoder):
    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(each, 1, 3, padding=1) for each in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        fine, coarse = features
        return self.first(fine) + F.interpolate(self.second(coarse), fine.shape[2:])


class EncoderOfReach(LevelsEncoder):
    reach = 1


class EncoderOfLevels(LevelsEncoder):
    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        self.channels = (4, 4)


class EncoderWithoutChannels(GoodEncoder):
    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        del self.channels


class EncoderWithoutEdge(GoodEncoder):
    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        del self.edge

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x)


class EncoderOfOtherChannels(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, 1:]


class EncoderInPlace(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(2))


class EncoderAcrossBatch(GoodEncoder):
    reach = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean())


class EncoderOfMoreReach(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 3, 1, 1))


class EncoderOfSingles(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float() if x.dtype == torch.bfloat16 else super().forward(x)


class EncoderWithIdleParameter(GoodEncoder):
    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        self.idle = nn.Parameter(torch.ones(3))


class EncoderWithHiddenState(GoodEncoder):
    def __init__(self, edge: str = "none") -> None:
        super().__init__(edge)
        self.factor = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.factor


class EncoderOfEvenSides(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        assert not any(side % 2 for side in x.shape[2:]), "even sides only"
        return super().forward(x)


class EncoderOfOneEdge(GoodEncoder):
    def __init__(self) -> None:
        super().__init__()


class DecoderOfEight(Decoder):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(8, 1, 3)

    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(F.pad(features, (1, 1, 1, 1)))


class DecoderOfMorePixels(DecoderOfEight):
    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(F.pad(features, (2, 2, 2, 2)))


class EdgeOfConstants(EdgeOperator):
    reach = 0
    ignores_constants = True

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


class EdgeOfOtherShape(EdgeOperator):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., :-1]
