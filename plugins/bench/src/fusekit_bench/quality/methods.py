"""What a quality table compares: methods (a model, its weights, a rule) by measures; and what tells results apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from fusekit.cases.datasets import Dataset
from fusekit.errors import FusekitError, OptionError, WeightsError, one_line
from fusekit.evaluation.rate import arrow, metric_names
from fusekit.metrics.base import SourceMetric
from fusekit.metrics.sets import PAPER
from fusekit.models.base import FusionModel
from fusekit.models.load import load
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec, alternatives, as_words, fits, modality_of
from fusekit.version import code_digest
from fusekit_bench.quality.published import Published

#: What every result passes through, beside the model's, the rule's and the metrics' own code.
_PATH_OF_DATA = (
    "fusekit_bench.quality.scores",
    "fusekit.evaluation.rate",
    "fusekit.images.color",
    "fusekit.images.ranges",
    "fusekit.models.base",
    "fusekit.models.shapes",
    "fusekit.rules.base",
)


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes:
        model: registered name.
        rule: registered name; ``None`` for a model that takes none.
        weights: tag, file or address; ``None`` for a model without trained weights.
        label: what the row is called.
        published: fused images of others, which are rated in place of a model's; ``model`` is empty then.
        copies: whether these are the images of one source.
        of_all: whether it may be left out, as ``all`` names it.
    """

    model: str
    rule: str | None
    weights: str | None = None
    label: str = ""
    published: Published | None = None
    copies: bool = False
    of_all: bool = field(default=False, compare=False)

    @property
    def name(self) -> str:
        """The label, or else model and rule."""
        return self.label or (f"{self.model} · {self.rule}" if self.rule else self.model)

    def covers(self, pair: str) -> bool:
        """Return whether there is a fused image of the pair; a model makes one of any."""
        return self.published is None or pair in self.published.files


def parse_methods(texts: Sequence[str]) -> list[Method]:
    """Return the methods that ``MODEL[:RULE]`` texts name.

    ``MODEL:*`` is the model with every registered rule, ``all`` every registered model with its default rule.

    Raises:
        UnknownNameError: there is no such model or rule.
        OptionError: a rule is given to a model that takes none.
    """
    methods: list[Method] = []
    for text in texts:
        if text == "all":
            named = parse_methods(registries().models.names())
            methods += [replace(method, of_all=True) for method in named]
            continue
        model, _, rule = text.partition(":")
        spec = spec_of(model)
        if spec.rule_policy != "free":
            if rule:
                raise OptionError(f"the model {model!r} takes no rule; write {model!r} instead of {text!r}")
            methods.append(Method(model, None))
            continue
        rules = registries().fusion_rules.names() if rule == "*" else [rule or spec.default_rule]
        for each in rules:
            registries().fusion_rules.entry(each)
            methods.append(Method(model, each))
    # What is named by itself is not left out, wherever it stands.
    return list(dict.fromkeys(next((m for m in methods if m == each and not m.of_all), each) for each in methods))


def chosen(
    methods: Sequence[Method], dataset: Dataset, given: Mapping[str, str], device: str
) -> tuple[list[Method], dict[str, str]]:
    """Return the methods for a dataset with their weights, and of ``all`` the models left out, with the reason.

    The reason is empty for want of weights.

    Raises:
        FusekitError: a method that is named by itself, or whose weights are given, cannot be had.
    """
    found, left_out = [], {}
    for method in methods:
        try:
            ready = with_weights(method, dataset, given)
            if method.of_all:
                _check_sources(spec_of(method.model), len(dataset.folders))
                loaded(ready.model, ready.weights, device)
            found.append(ready)
        except FusekitError as error:
            if not method.of_all or method.model in given:
                raise
            left_out[method.model] = "" if isinstance(error, (_NoWeightsError, WeightsError)) else one_line(error)
    return found, left_out


class _NoWeightsError(OptionError):
    """A model has no weights for a dataset."""


def _check_sources(spec: ModelSpec, count: int) -> None:
    least, most = spec.n_sources
    if count < least or (most is not None and count > most) or 2 not in spec.dims:
        raise OptionError(f"it does not fuse {count} images")


def with_weights(method: Method, dataset: Dataset, given: Mapping[str, str]) -> Method:
    """Return the method with the weights for a dataset: those given for its model, or those that its model brings.

    A dataset that asks for no weights gets those of what it shows, or else a model's default ones, of other images.

    Raises:
        OptionError: the model has trained weights, but none that the dataset asks for.
    """
    spec = spec_of(method.model)
    weights = given.get(method.model)
    if weights is None and spec.weights:
        known = ", ".join(each.tag for each in spec.weights)
        weights = _tag_for(spec, dataset)
        if weights is None:
            raise _NoWeightsError(
                f"the model {method.model!r} has no weights {dataset.weights!r}, which the dataset {dataset.name!r} "
                f"asks for; name some: --weights {method.model}=FILE, or one of its own: {known}"
            )
    return replace(method, weights=weights)


def _tag_for(spec: ModelSpec, dataset: Dataset) -> str | None:
    """Return the tag of the weights that the dataset asks for, or of a model's only ones if they are of such images."""
    if spec.find_weights(dataset.weights) is not None:
        return dataset.weights
    shown = [modality_of(each) for each in dataset.source_names]
    if not dataset.weights:
        found = spec.weights_for(shown)
        return None if found is None else found.tag
    only = spec.weights[0] if len(spec.weights) == 1 else None
    return only.tag if only is not None and (not only.modalities or fits(only.modalities, shown)) else None


def trained_on_others(method: Method, dataset: Dataset) -> str:
    """Return what a model's own weights were trained on where a dataset shows something else, such as ``CT and MRI``.

    Empty where it shows that or asks for these weights, where nothing is known of them, and without weights.
    """
    if dataset.weights or method.published is not None or method.weights is None:
        return ""
    found = spec_of(method.model).find_weights(method.weights)
    shown = [modality_of(each) for each in dataset.source_names]
    if found is None or not found.modalities or fits(found.modalities, shown):
        return ""
    return as_words(found.modalities)


def roles_of(spec: ModelSpec, shown: Sequence[str]) -> dict[str, str | int]:
    """Return which source, counted from 1, has each role of a model that tells its sources apart.

    Sources that show a role take it, and the others the roles that are left, in their order. Where none shows one, all
    have the model's order, and nothing is returned.

    Args:
        shown: what each source shows, such as ``CT``.
    """
    places: dict[str, str | int] = {}
    for number, word in enumerate(shown, 1):
        role = spec.role_of(modality_of(word))
        if role is not None:
            places.setdefault(role, number)
    if not places or len(shown) != len(spec.roles):
        return {}
    left = iter([number for number in range(1, len(shown) + 1) if number not in places.values()])
    return {alternatives(role)[0]: places[role] if role in places else next(left) for role in spec.roles}


def spec_of(model: str) -> ModelSpec:
    """Return what is registered of a model."""
    spec: ModelSpec = registries().models.entry(model).details["spec"]
    return spec


@lru_cache(maxsize=4)
def loaded(model: str, weights: str | None, device: str) -> FusionModel:
    """Return the model of a method, in evaluation mode; the last few are kept."""
    return load(model, weights=weights, device=device)


def key_of(method: Method, device: str) -> str:
    """Return a digest of all that a method's fused images follow from, besides the sources.

    These are the model's configuration, its weights' bytes, the rule, the code of both, and the kind of device; of
    published images their own bytes.
    """
    path = [code_digest(each, alone=True) for each in _PATH_OF_DATA]
    if method.published is not None:
        return _digest({"published": method.label, "sha256": method.published.sha256, "path": path})
    network = loaded(method.model, method.weights, device)
    weights = network.provenance.weights if network.provenance else None
    parts = {type(module).__module__ for module in network.modules()}
    rule = network.choose_rule(method.rule)
    if rule is not None:
        parts.add(type(rule).__module__)
    facts: dict[str, Any] = {
        "model": method.model,
        "config": network.config,
        "policies": [network.spec.normalization, network.spec.output],
        "weights": weights.sha256 if weights else None,
        "rule": method.rule,
        "path": path,
        "code": [code_digest(each) for each in sorted(parts) if each.partition(".")[0] != "torch"],
        "device": network.device.type,
        "torch": torch.__version__,
    }
    return _digest(facts)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:20]


@dataclass(frozen=True)
class Measure:
    """A metric and the form of the images that it sees.

    Attributes:
        metric: registered name, or ``reconstruction``.
        view: ``file``, ``float`` or ``model``.
    """

    metric: str
    view: str = "file"

    @property
    def name(self) -> str:
        """The metric's name, with ``float:`` or ``model:`` before it for these views."""
        return self.metric if self.view == "file" else f"{self.view}:{self.metric}"

    @property
    def part(self) -> str:
        """What a table shows: the ``worst`` source's value of a metric that averages over sources, else its ``value``.

        An average over the sources is high for a copy of one of them. The paper's definitions stay as they are.
        """
        if self.view != "file":
            return "value"
        return "worst" if issubclass(registries().metrics.load(self.metric), SourceMetric) else "value"

    @property
    def arrow(self) -> str:
        """↑ where higher values are better, ↓ where lower ones are."""
        return "↑" if self == RECONSTRUCTION else arrow(self.metric)

    @property
    def key(self) -> str:
        """The name with a digest of the metric's code."""
        if self == RECONSTRUCTION:
            return self.name
        return f"{self.name}@{code_digest(registries().metrics.load(self.metric).__module__)}"


#: How well a model reconstructs single images; not a metric of fusion.
RECONSTRUCTION = Measure("reconstruction", "model")


def parse_measures(texts: Sequence[str]) -> list[Measure]:
    """Return the measures that names of metrics and sets stand for.

    ``float:NAME`` is a metric on float images; the set ``paper`` always is.

    Raises:
        UnknownNameError: there is no such metric.
    """
    measures = []
    for text in texts:
        view, mark, name = text.partition(":")
        if not mark or view not in ("float", "file"):
            view, name = ("float" if text == "paper" else "file"), text
        measures += [Measure(metric, view) for metric in metric_names(name)]
    return list(dict.fromkeys(measures))


def paper_measures() -> list[Measure]:
    """Return the measures of the paper's tables, in its order."""
    return [Measure(metric, "float") for metric in PAPER]
