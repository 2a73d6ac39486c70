"""Networks whose composed form, conversion, objective or use is wrong in one way, and the good ones before them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit import ModelSpec
from fusekit.extend import ComposableEncoderDecoder, Joint
from helpers.broken.models import GoodJoint


class Good(ComposableEncoderDecoder):
    """Convolutions each way, composed as themselves, whose authors called them ``net_…``."""

    encoder: nn.Conv2d
    decoder: nn.Conv2d
    spec = ModelSpec("checked", f"{__name__}:Good", "a test", default_rule="mean")

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 3, 3, padding=1)
        self.decoder = nn.Conv2d(3, 1, 3, padding=1)

    def composed_encode(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.encoder.weight, self.encoder.bias, padding=1)

    def composed_decode(self, features: Tensor) -> Tensor:
        return F.conv2d(features, self.decoder.weight, self.decoder.bias, padding=1)

    @classmethod
    def convert_state_dict(cls, state: Any) -> dict[str, Tensor]:
        return {key.removeprefix("net_"): value for key, value in state.items()}


class OfOtherFeatures(Good):
    def composed_encode(self, x: Tensor) -> Tensor:
        return super().composed_encode(x) * 1.001


class OfOtherImages(Good):
    def composed_decode(self, features: Tensor) -> Tensor:
        return super().composed_decode(features) + 0.001


class OfRoundedFeatures(Good):
    """As near as float32 comes, which float64 shows."""

    def composed_encode(self, x: Tensor) -> Tensor:
        return super().composed_encode(x) + 1e-7


class WithoutGradients(Good):
    def runs_plain(self, *inputs: Tensor) -> bool:
        return self.form == "plain"

    def composed_encode(self, x: Tensor) -> Tensor:
        return super().composed_encode(x).detach()

    def composed_decode(self, features: Tensor) -> Tensor:
        return super().composed_decode(features).detach().requires_grad_()


class ComposedInTraining(Good):
    @property
    def form(self) -> str:
        return self.asked_form


class NeverComposed(Good):
    @property
    def form(self) -> str:
        return "plain"


class OfHalves(Good):
    def composed_decode(self, features: Tensor) -> Tensor:
        found = super().composed_decode(features)
        return found / 2 - 1 if found.dtype == torch.bfloat16 else found


class GoodPair(GoodJoint):
    forms = ("plain", "composed")

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        both = torch.stack(sources).amax(0)
        return self.network(both) if self.runs_plain(*sources) else self.composed(both)

    def composed(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.network.weight, self.network.bias, padding=1)


class PairOfOtherForm(GoodPair):
    def composed(self, x: Tensor) -> Tensor:
        return super().composed(x) + 0.001


class ConvertedTransposed(Good):
    @classmethod
    def convert_state_dict(cls, state: Any) -> dict[str, Tensor]:
        turned = {
            key: value.mT if key.startswith("net_") and value.dim() == 4 else value for key, value in state.items()
        }
        return super().convert_state_dict(turned)


class ConvertedTwice(Good):
    @classmethod
    def convert_state_dict(cls, state: Any) -> dict[str, Tensor]:
        published = all(key.startswith("net_") for key in state)
        return super().convert_state_dict(state) if published else {f"own_{key}": each for key, each in state.items()}


class NotConverted(Good):
    @classmethod
    def convert_state_dict(cls, state: Any) -> dict[str, Tensor]:
        return dict(state)


class ThatLearnsNothing(Good):
    def training_loss(self, sources: Any, objectives: Any) -> Any:
        loss, terms = super().training_loss(sources, objectives)
        return loss * 0 + 1, terms


class Ordered(Joint):
    """Takes most of the first source and little of the second, by weights that are there to be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.7))

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        return self.share * sources[0] + (1 - self.share) * sources[1]


class PairWithoutOrder(Ordered):
    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        return self.share * torch.stack(sources).amax(0)


class PairOfEightBits(Ordered):
    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        return (super().fuse_jointly(*sources) * 255).round() / 255


class PairOfAnyRule(Ordered):
    def choose_rule(self, rule: Any, options: Any = None) -> None:
        return None
