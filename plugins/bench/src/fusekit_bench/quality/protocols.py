"""The protocols of a quality table: which pairs are tested with which weights, and the trainings that this needs.

``series``    the weights that the models bring, on test pairs of patients that they were not trained on.
``paper``     random draws of test pairs; the model is trained afresh for each draw on what is left, patients mixed as
              in the paper, the checkpoint chosen on pairs that are neither trained on nor tested on.
``ablation``  base, base + L_grad, base + L_grad + DRGO, trained equally with each of several seeds on the training
              series, and tested as in ``series``.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from fusekit.cases.case import Case
from fusekit.cases.datasets import Dataset
from fusekit.errors import FusekitWarning, OptionError, TrainingError
from fusekit.machine.files import write_text_atomically
from fusekit.registry.discovery import registries
from fusekit.train.recipe import PERCEPTUAL_WEIGHT, Recipe
from fusekit_bench.quality.methods import Method, chosen, parse_methods, spec_of, trained_on_others
from fusekit_bench.quality.published import check_names, published
from fusekit_bench.requests import Quality

#: Pairs to choose a checkpoint on; more cost time and tell little else.
_VALIDATION = 8
_SHARE = 0.1

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Variant:
    """A model as it is trained.

    Attributes:
        model: registered name.
        label: what its rows are called; empty for the model's name.
        edge: edge operator in place of the model's own.
        gradient_weight: λ₁ in place of the recipe's.
    """

    model: str
    label: str = ""
    edge: str | None = None
    gradient_weight: float | None = None

    def recipe(self, recipe: Recipe, seed: int) -> Recipe:
        """Return the recipe for this variant and seed; where nothing is said, the perceptual term is in it."""
        gradient = recipe.gradient_weight if self.gradient_weight is None else self.gradient_weight
        perceptual = PERCEPTUAL_WEIGHT if recipe.perceptual_weight is None else recipe.perceptual_weight
        return replace(recipe, seed=seed, gradient_weight=gradient, perceptual_weight=perceptual)


#: The rows of the paper's ablation, each of which adds one thing.
ABLATION = (
    Variant("ehdran", "base", edge="none", gradient_weight=0.0),
    Variant("ehdran", "base + L_grad", edge="none"),
    Variant("ehdran", "base + L_grad + DRGO"),
)


@dataclass(frozen=True)
class Replicate:
    """A test set with the methods to rate on it; a table averages over the replicates of a dataset.

    Attributes:
        dataset: what the pairs belong to.
        label: such as ``draw 1`` or ``seed 3407``; empty where there is only one.
        names: where the list of test pairs comes from; empty for all of the test folders.
        cases: to test on.
        methods: with their weights.
        facts: of the trainings, by method's name: recipe, numbers of pairs; empty where nothing was trained.
    """

    dataset: Dataset
    label: str
    names: str
    cases: list[Case]
    methods: list[Method]
    facts: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Split:
    """Names of pairs; no name is in two of the lists."""

    train: list[str]
    validation: list[str]
    test: list[str]


@dataclass(frozen=True)
class Trainings:
    """The trainings that a request asks for.

    Attributes:
        request: with their recipe, perceptual weights, device, and the folder under which each has its own.
        report: given a title, returns what is called after every step.
    """

    request: Quality
    report: Callable[[str], Report]

    def train(
        self, dataset: Dataset, run: str, variant: Variant, seed: int, split: Split
    ) -> tuple[str, dict[str, Any]]:
        """Train, or go on with a training that was begun; return the weights' path and the facts for the table."""
        from fusekit.train.options import Parts, TrainingData, TrainingRun
        from fusekit.train.session import start_training

        perceptual = self.request.perceptual
        name = (variant.label or variant.model).replace(" ", "")
        folder = self.request.output / "runs" / dataset.name / run / name
        folder.mkdir(parents=True, exist_ok=True)
        lists = {"train": split.train, "validation": split.validation}
        for each, names in lists.items():
            write_text_atomically(folder / f"{each}.txt", "\n".join(names) + "\n")
        recipe = variant.recipe(self.request.recipe, seed)
        data = TrainingData(
            folders=dataset.training_folders(),
            names=(folder / "train.txt",),
            validation_names=folder / "validation.txt",
            series_pattern=dataset.series or "(.+)",
        )
        # The ablation weighs the perceptual term at 0 in some of its trainings.
        network = perceptual if recipe.perceptual_weight else None
        parts = Parts(model=variant.model, edge=variant.edge, perceptual=network)
        where = TrainingRun(output=folder, device=self.request.device, save_every=max(1, recipe.steps // 12))
        trainer = start_training(data, parts, recipe, where)
        weights = trainer.run(report=self.report(f"{dataset.name}, {run}, {name}"))
        facts = {
            "recipe": asdict(recipe),
            "perceptual": perceptual.name if network is not None and perceptual else None,
            "edge": variant.edge,
            "pairs": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        }
        return str(weights), facts


def series_split(dataset: Dataset, test: Sequence[str]) -> Split:
    """Split the training list into what to train on and a series to validate on."""
    return _hold_out(dataset, dataset.training_names(), test, random.Random(0))


def draw_split(dataset: Dataset, seed: int) -> Split:
    """Draw test pairs of all the dataset's at random, and from what is left hold out some to validate on.

    Raises:
        OptionError: the dataset states no draw, or has too few pairs for it.
    """
    names = sorted(case.name for case in dataset.all_cases())
    if not dataset.draw:
        raise OptionError(f"the dataset {dataset.name!r} states no 'draw', the number of test pairs of a random draw")
    if len(names) < dataset.draw + 2:
        raise OptionError(f"the dataset {dataset.name!r} has {len(names)} pairs, too few to draw {dataset.draw}")
    chance = random.Random(seed)
    test = set(chance.sample(names, dataset.draw))
    return _hold_out(dataset, [name for name in names if name not in test], sorted(test), chance)


def _hold_out(dataset: Dataset, names: Sequence[str], test: Sequence[str], chance: random.Random) -> Split:
    """Hold out the smallest series of the names, or a tenth of the names where series are unknown or there is one."""
    by_series: dict[str, list[str]] = {}
    for name in names:
        by_series.setdefault(dataset.series_of(name) if dataset.series else "", []).append(name)
    if len(names) < 2:
        raise TrainingError(f"the dataset {dataset.name!r} leaves {len(names)} pairs to train on and to validate on")
    if len(by_series) > 1:
        held_out = min(by_series.values(), key=lambda series: (len(series), series))
    else:
        held_out = sorted(chance.sample(list(names), max(1, int(len(names) * _SHARE))))
    train = [name for name in names if name not in set(held_out)]
    return Split(train, spread(held_out), list(test))


def spread(names: Sequence[str], count: int = _VALIDATION) -> list[str]:
    """Return up to ``count`` of the names, evenly spread."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def replicates(request: Quality, datasets: Sequence[Dataset], report: Callable[[str], Report]) -> Iterator[Replicate]:
    """Return the replicates of the protocol that is asked for; what cannot be is found out before any training.

    Raises:
        FusekitError: a method, its weights or a test set is not there, or a training cannot start.
    """
    trainings = Trainings(request, report)
    if request.ablation:
        return _ablation(datasets, request.rules, trainings, request.seeds)
    methods = parse_methods(request.methods)
    if request.protocol == "paper":
        return _paper(datasets, methods, trainings, request.seeds)
    return iter(_series(datasets, methods, request))


def _series(datasets: Sequence[Dataset], methods: Sequence[Method], request: Quality) -> list[Replicate]:
    """Return the only replicate of each dataset: the models with their own weights or those given, published images."""
    check_names(list(request.fused), [method.name for method in methods])
    found, left_out = [], {}
    for dataset in datasets:
        ready, left_out[dataset.name] = chosen(methods, dataset, request.weights, request.device)
        found.append(Replicate(dataset, "", dataset.test, dataset.test_cases(), ready, {}))
    _say_left_out(left_out)
    _say_of_others(found)
    tests = [(each.dataset, each.cases) for each in found]
    for name, folder in request.fused.items():
        rows = published(name, folder, tests)
        for each in found:
            if each.dataset.name in rows:
                each.methods.append(Method("", None, label=name, published=rows[each.dataset.name]))
    return found


def _say_of_others(replicates: Sequence[Replicate]) -> None:
    """Say in one line of each dataset which models have weights of other images than it shows."""
    for each in replicates:
        models = [method.model for method in each.methods if trained_on_others(method, each.dataset)]
        if models:
            warnings.warn(
                f"{each.dataset.title}: {', '.join(dict.fromkeys(models))} have weights of other images; --weights "
                "MODEL=FILE gives others",
                FusekitWarning,
                stacklevel=2,
            )


def _say_left_out(left_out: Mapping[str, Mapping[str, str]]) -> None:
    """Say in one line which models ``all`` leaves out of which datasets, and why."""
    where: dict[tuple[str, str], list[str]] = {}
    for dataset, reasons in left_out.items():
        for model, reason in reasons.items():
            where.setdefault((model, reason), []).append(dataset)
    named = {
        (model, reason): model if len(datasets) == len(left_out) else f"{model} ({', '.join(datasets)})"
        for (model, reason), datasets in where.items()
    }
    without = [text for (_, reason), text in named.items() if not reason]
    parts = [f"{text}: {reason}" for (_, reason), text in named.items() if reason]
    if without:
        parts.insert(
            0,
            f"{', '.join(without)}: no weights; train some (fusekit train FOLDERS --model MODEL -o RUN) or convert "
            "published ones (fusekit weights convert CHECKPOINT --model MODEL -o FILE.safetensors), and give --weights "
            "MODEL=RUN or FILE.safetensors",
        )
    if parts:
        warnings.warn(f"--methods all leaves out {'; '.join(parts)}", FusekitWarning, stacklevel=2)


def _paper(
    datasets: Sequence[Dataset], methods: Sequence[Method], trainings: Trainings, seeds: Sequence[int]
) -> Iterator[Replicate]:
    """Train every model with parameters afresh for each draw, and yield a replicate a dataset and draw."""
    splits = {(dataset.name, seed): draw_split(dataset, seed) for dataset in datasets for seed in seeds}
    for dataset in datasets:
        for number, seed in enumerate(seeds, 1):
            split, label = splits[dataset.name, seed], f"draw {number}"
            weights, facts = {}, {}
            for model in dict.fromkeys(method.model for method in methods):
                if _is_trained(model):
                    weights[model], facts[model] = trainings.train(
                        dataset, label.replace(" ", "-"), Variant(model), seed, split
                    )
            chosen = [replace(method, weights=weights.get(method.model)) for method in methods]
            cases = [case for case in dataset.all_cases() if case.name in set(split.test)]
            trained = {each.name: facts[each.model] for each in chosen if each.model in facts}
            yield Replicate(dataset, label, f"drawn with seed {seed}", cases, chosen, trained)


def _ablation(
    datasets: Sequence[Dataset], rules: Sequence[str], trainings: Trainings, seeds: Sequence[int]
) -> Iterator[Replicate]:
    """Train the rows of the ablation with each seed, and yield a replicate a dataset and seed."""
    for rule in rules:
        registries().fusion_rules.entry(rule)
    tests = {dataset.name: dataset.test_cases() for dataset in datasets}
    for dataset in datasets:
        split = series_split(dataset, [case.name for case in tests[dataset.name]])
        for seed in seeds:
            methods, facts = [], {}
            for variant in ABLATION:
                path, trained = trainings.train(dataset, f"seed-{seed}", variant, seed, split)
                for rule in rules:
                    methods.append(Method(variant.model, rule, path, f"{variant.label} · {rule}"))
                    facts[methods[-1].name] = trained
            yield Replicate(dataset, f"seed {seed}", dataset.test, tests[dataset.name], methods, facts)


def _is_trained(model: str) -> bool:
    """Return whether a model has weights to train: those that bring weights do, and those without need none."""
    return bool(spec_of(model).weights)
