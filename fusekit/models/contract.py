"""What the components of a model return is checked against their contracts here, and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from fusekit.machine.memory import is_out_of_memory
from fusekit.registry.contract import Component, calling, fault
from fusekit.rules.base import FusionRule, RuleResult, Weighing, leaf_groups

#: Values a side of a map that are compared to see whether a component changed its inputs.
_SAMPLES = 12


def apply_rule(
    rule: FusionRule | Sequence[FusionRule], features: Sequence[Any]
) -> tuple[Any, list[Tensor] | None, Any]:
    """Apply ``rule`` to each leaf of the sources' feature trees.

    Args:
        rule: acts on tensors (B, C, *S); or one rule a leaf.
        features: one tree a source (a tensor, or lists, tuples or dicts of tensors), all of one structure.

    Returns:
        the fused tree; one weights tensor a leaf, or ``None`` for a rule without weights; and what the rule reports,
        one mapping an image, with its leaves under ``leaves`` where there are several.

    Raises:
        RuleError: the trees or the shapes differ.
        PluginError: the rule fails, returns what its contract does not allow, or changes its inputs.
    """
    groups, structure = leaf_groups(features)
    rules = [rule] * len(groups) if isinstance(rule, FusionRule) else rule
    results = []
    for each, group in zip(rules, groups, strict=True):
        with unchanged(group, each.component):
            with calling(each.component, is_out_of_memory):
                result = each.apply(group)
            results.append(checked_result(result, group, each.component))
    weights = [result.weights for result in results if result.weights is not None]
    fused = pytree.tree_unflatten([result.features for result in results], structure)
    return fused, weights or None, joined_reports([result.report for result in results])


def joined_reports(reports: Sequence[Sequence[Mapping[str, Any]]]) -> Sequence[Mapping[str, Any]]:
    """Return one report an image from those of each leaf."""
    if len(reports) == 1:
        return reports[0]
    count = max(map(len, reports))
    return [{"leaves": [dict(report[i]) if report else {} for report in reports]} for i in range(count)]


def checked_result(result: Any, group: Sequence[Tensor], component: Component) -> RuleResult:
    """Return what a rule made of tensors (B, C, *S), if it is what `FusionRule.apply` promises.

    Raises:
        PluginError: it is not.
    """
    remedy = "apply(features) returns RuleResult(features[, weights, report])"
    if not isinstance(result, RuleResult):
        raise fault(component, f"returned {described(result)}", remedy)
    _check_like(result.features, group[0], component, "fused features")
    if result.weights is not None:
        _check_weights(result.weights, group, component)
    _check_report(result.report, len(group[0]), component)
    return result


def checked_weighing(weighing: Any, group: Sequence[Tensor], component: Component) -> Weighing:
    """Return the weights of a rule for tensors (B, C, *S), if they are what `WeightedRule.weigh` promises.

    Raises:
        PluginError: they are not.
    """
    if not isinstance(weighing, Weighing):
        raise fault(component, f"returned {described(weighing)}", "weigh(features) returns Weighing(weights[, report])")
    _check_weights(weighing.weights, group, component)
    shape = (len(group), *group[0].shape)
    if any(side not in (1, whole) for side, whole in zip(weighing.weights.shape, shape, strict=False)):
        raise fault(
            component,
            f"returned weights of shape {tuple(weighing.weights.shape)}",
            f"they must broadcast against features of shape {shape}",
        )
    _check_report(weighing.report, len(group[0]), component)
    return weighing


def check_image(image: Any, like: Tensor, component: Component) -> None:
    """Raise `PluginError` unless a model made an image of the sources' shape (B, 1, *S), on their device."""
    _check_like(image, like, component, "image")


def check_features(features: Any, sources: Sequence[Tensor], component: Component) -> None:
    """Raise `PluginError` unless there is a tree of float tensors with one entry an image for each source."""
    if not isinstance(features, (list, tuple)) or len(features) != len(sources):
        count = len(features) if isinstance(features, (list, tuple)) else described(features)
        raise fault(component, f"encoded {len(sources)} sources as {count}", "return one tree of features a source")
    for leaf in pytree.tree_leaves(features[0]):
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or leaf.shape[:1] != sources[0].shape[:1]:
            raise fault(
                component,
                f"returned features that hold {described(leaf)}",
                f"they are float tensors (B, C, *S) with B = {len(sources[0])}",
            )


def check_part(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
    """Check what a registered part returns: a forward hook that `fusekit.models.parts.build_part` sets.

    Raises:
        PluginError: it is not what the contract of its kind allows.
    """
    component: object = part.component
    x = inputs[0] if inputs else None
    if not isinstance(component, Component) or not isinstance(x, Tensor):
        return
    if component.kind == "edge operator":
        _check_like(output, x, component, "edges")
        return
    if component.kind == "encoder":
        check_features([output], [x], component)
        channels = getattr(part, "channels", None)
        if isinstance(output, Tensor) and isinstance(channels, int) and output.shape[1] != channels:
            raise fault(component, f"returned {output.shape[1]} channels", f"it says channels = {channels}")
        return
    like = x[:, :1]
    _check_like(output, like, component, "image")


@contextmanager
def unchanged(tensors: Sequence[Tensor], component: Component) -> Iterator[None]:
    """Raise `PluginError` if the component changes in the block what it was given; some values of each are compared."""
    before = [_sample(each) for each in tensors]
    yield
    if not all(torch.equal(sample, _view(each)) for sample, each in zip(before, tensors, strict=True)):
        raise fault(component, "changed its inputs", "work on copies, since others read them too")


def _view(tensor: Tensor) -> Tensor:
    steps = [slice(None, None, max(side // _SAMPLES, 1)) for side in tensor.shape[2:]]
    index = (slice(None), slice(None), *steps)
    return torch.nan_to_num(tensor.detach()[index])


def _sample(tensor: Tensor) -> Tensor:
    return _view(tensor).clone()


def _check_like(found: Any, wanted: Tensor, component: Component, what: str) -> None:
    if not isinstance(found, Tensor):
        raise fault(component, f"returned {described(found)} for its {what}", "return a tensor")
    if found.shape != wanted.shape:
        raise fault(component, f"returned {what} of shape {tuple(found.shape)}", f"{tuple(wanted.shape)} is wanted")
    if found.device != wanted.device:
        raise fault(component, f"returned {what} on {found.device}", f"they belong on {wanted.device}")
    if not found.is_floating_point() or (what != "image" and found.dtype != wanted.dtype):
        raise fault(component, f"returned {what} of {_type(found)}", f"{_type(wanted)} is wanted")


def _check_weights(weights: Any, group: Sequence[Tensor], component: Component) -> None:
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        raise fault(component, f"returned weights that are {described(weights)}", "return a float tensor (N, B, …)")
    if weights.shape[:2] != (len(group), len(group[0])):
        raise fault(
            component,
            f"returned weights of shape {tuple(weights.shape)}",
            f"the first two axes are the sources and the batch, {len(group)} and {len(group[0])}",
        )


def _check_report(report: Any, batch: int, component: Component) -> None:
    if isinstance(report, (str, Mapping)) or not isinstance(report, Sequence) or len(report) not in (0, batch):
        raise fault(
            component,
            f"reports {described(report)}",
            f"a report is a list of mappings, one for each of {batch} images",
        )
    if not all(isinstance(each, Mapping) for each in report):
        raise fault(component, "reports something else than mappings", "a report is one mapping an image")
    try:
        json.dumps([dict(each) for each in report], allow_nan=False)
    except (TypeError, ValueError) as error:
        remedy = "a report holds plain finite numbers, texts, lists and mappings"
        raise fault(component, f"has a report that JSON cannot hold: {error}", remedy) from error


def described(value: Any) -> str:
    """Return what messages call something that a component returned."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {_type(value)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
