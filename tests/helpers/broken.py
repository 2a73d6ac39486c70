"""Components that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusekit.extend import (
    AllSourcesMetric,
    Decoder,
    EdgeOperator,
    Encoder,
    EncoderDecoder,
    Executor,
    FixedWeights,
    FusedMetric,
    FusionRule,
    Joint,
    Metric,
    Outcome,
    Reach,
    RuleError,
    RuleResult,
    SourceMetric,
    Survey,
    Weighing,
    WeightedRule,
    build_part,
    normalized,
)
from fusekit.registry.discovery import registries


@contextmanager
def registered(kind: str, component: Any, **facts: Any) -> Iterator[str]:
    """Register a component of this module for a while; ``kind`` is the registry's name; yield the component's name."""
    registry = getattr(registries(), kind)
    before = registry.snapshot()
    called = getattr(component, "__name__", None) or component.callback.__name__
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", called).lower()
    registry.registrar("a-test")(name, f"{__name__}:{called}", **facts)
    try:
        yield name
    finally:
        registry.restore(before)


# --- metrics ----------------------------------------------------------------------------------------------------------


class GoodMetric(SourceMetric):
    range: ClassVar[Any] = (0.0, 1.0)
    data_range = "[0, 1]"
    look_alikes = "none"

    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return (source - fused).abs().double().mean((1, 2, 3))


class MetricInPlace(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return source.sub_(fused).abs().mean((1, 2, 3))


class MetricOfBatch(GoodMetric):
    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        value, each = super().rate(sources, fused)
        return value.mean(), each


class MetricAcrossBatch(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return super().compare(source, fused) / (1 + fused.mean())


class MetricOfNaN(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        found = super().compare(source, fused)
        return found / found * 0.5


class MetricOutOfRange(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return 10 * super().compare(source, fused)


class MetricOfSum(GoodMetric):
    combine = "sum"
    range = (0.0, 1.0)

    def combined(self, values: Tensor) -> Tensor:
        return values.mean(0)


class MetricWithoutRange(GoodMetric):
    range = None


class MetricOfMedian(GoodMetric):
    combine = "median"


class MetricWithoutTwins(GoodMetric):
    look_alikes = ""


class MetricOfSingles(GoodMetric):
    def compare(self, source: Tensor, fused: Tensor) -> Tensor:
        return super().compare(source, fused) * (0.9 if source.dtype == torch.float32 else 1)


class MetricOfAnything(GoodMetric):
    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        values = torch.stack([(source.mean(1) - fused.mean(1)).abs().mean((1, 2)) for source in sources])
        return values.mean(0), values


class MetricOfTwo(GoodMetric):
    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        if len(sources) == 3:
            raise ZeroDivisionError("three")
        return super().per_source(sources, fused)


class MetricOfOrder(GoodMetric):
    def combined(self, values: Tensor) -> Tensor:
        return values.mean(0) if len(values) < 3 else (values[0] + values[1]) / 2


class MetricOfShares(GoodMetric):
    def per_source(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return super().per_source(sources, fused) / len(sources)


class MetricOfNoKind(Metric):
    range = (0.0, 1.0)
    data_range = look_alikes = combine = "none"


class MetricOfFusedAndSources(FusedMetric):
    range = (0.0, 1.0)
    data_range = look_alikes = "none"

    def rate(self, sources: Sequence[Tensor], fused: Tensor) -> tuple[Tensor, Tensor | None]:
        value = fused.mean((1, 2, 3))
        return value, torch.stack([value] * len(sources))


class MetricOfMany(AllSourcesMetric):
    range = (0.0, 1.0)
    data_range = look_alikes = "none"
    max_sources = 2

    def check(self, sources: Sequence[Tensor], fused: Tensor) -> None:
        Metric.check(self, sources, fused)

    def measure(self, sources: Sequence[Tensor], fused: Tensor) -> Tensor:
        return torch.stack([(each - fused).abs().mean((1, 2, 3)) for each in sources]).amax(0)


# --- rules ------------------------------------------------------------------------------------------------------------


class GoodRule(FusionRule):
    reach = 0

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(torch.stack(list(features)).mean(0))


class GoodWeights(WeightedRule):
    """A weight a source: its greatest feature; tiled by a survey."""

    def weights(self, features: Sequence[Tensor]) -> Tensor:
        return normalized(torch.stack([each.abs().amax((1, 2, 3), keepdim=True) for each in features]))

    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Greatest()


class Greatest(Survey):
    found: Tensor | None = None

    def add(self, features: Sequence[Tensor], tile: Any) -> None:
        here = torch.stack([tile.inner(each).abs().amax((1, 2, 3), keepdim=True) for each in features])
        self.found = here if self.found is None else torch.maximum(self.found, here)

    def rule(self) -> FusionRule:
        assert self.found is not None
        return FixedWeights(normalized(self.found))


class RuleInPlace(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0].add_(features[1]))


class RuleOfOtherShape(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0][..., 1:])


class RuleOfTensor(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> Any:
        return features[0]


class RuleOfNothing(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(sum(each.square() for each in features) / sum(each.abs() for each in features))


class RuleAcrossBatch(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0] - features[0].mean())


class RuleOfSingles(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(torch.stack(list(features)).float().mean(0))


class RuleOfMoreReach(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(F.avg_pool2d(features[0], 3, 1, 1))


class RuleOfWrongSurvey(GoodWeights):
    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Last()


class Last(Greatest):
    def add(self, features: Sequence[Tensor], tile: Any) -> None:
        self.found = None
        super().add(features, tile)


class RuleOfFarSurvey(GoodWeights):
    def survey(self, count: int, shape: Sequence[int], memory: int) -> Survey | None:
        return Far()


class Far(Greatest):
    def rule(self) -> FusionRule:
        rule = super().rule()
        rule.reach = 5
        return rule


class RuleOfOtherWeights(GoodWeights):
    def weigh(self, features: Sequence[Tensor]) -> Weighing:
        return Weighing(self.weights(features) * 2)

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        weights = self.weights(features)
        return RuleResult(sum(w * f for w, f in zip(weights, features, strict=True)), weights)


class RuleOfWeightsAside(GoodWeights):
    only_weighs = True

    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0], self.weights(features))


RuleOfWeightsAside.only_weighs = True


class RuleWithMemory(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        self.last = features
        time.sleep(0.02)
        return RuleResult(torch.stack(list(self.last)).mean(0))


class RuleOfReports(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        return RuleResult(features[0], None, [{"tensor": features[0]}] * len(features[0]))


class RuleOfTwo(GoodRule):
    def apply(self, features: Sequence[Tensor]) -> RuleResult:
        first, second = features
        return RuleResult(first + second)


# --- parts ------------------------------------------------------------------------------------------------------------


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


# --- models -----------------------------------------------------------------------------------------------------------


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


# --- executors and commands -------------------------------------------------------------------------------------------


class GoodExecutor(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = []
        for case in work.cases:
            outcomes.append(work.fuse_case(case))
            report(case, outcomes[-1])
        return outcomes


class ExecutorWithoutReports(Executor):
    def run(self, work: Any, report: Any) -> Any:
        return [work.fuse_case(case) for case in work.cases]


class ExecutorThatKnowsBetter(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = []
        for case in work.cases:
            outcome = work.fuse_case(case)
            outcomes.append(Outcome("skipped") if outcome.kind == "failed" else outcome)
            report(case, outcomes[-1])
        return outcomes


class ExecutorThatGoesOn(GoodExecutor):
    def run(self, work: Any, report: Any) -> Any:
        def quiet(case: Any, outcome: Any) -> None:
            try:
                report(case, outcome)
            except KeyboardInterrupt:
                return

        return super().run(work, quiet)


class ExecutorOfOthers(Executor):
    def run(self, work: Any, report: Any) -> Any:
        from concurrent.futures import ThreadPoolExecutor

        def one(case: Any) -> Any:
            outcome = work.fuse_case(case)
            report(case, outcome)
            return outcome

        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(one, work.cases))


class ExecutorOfOtherFiles(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = GoodExecutor().run(work, report)
        for case in work.cases:
            if Path(case.output).exists():
                Path(case.output).write_bytes(b"other")
        return outcomes


@click.command()
@click.option("--size", help="Of the image.")
def good_command(size: str) -> None:
    """Do something."""


@click.command()
@click.option("--size")
def command_without_help(size: str) -> None:
    pass


@click.command(cls=type("Broken", (click.Command,), {"get_help": lambda self, ctx: 1 / 0}))
def command_that_fails() -> None:
    """Do something."""


def no_command() -> None:
    """Be a function."""
