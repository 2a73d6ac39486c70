"""Building a metric by its registered name."""

from __future__ import annotations

from fusekit.metrics.base import Metric
from fusekit.registry.contract import calling, fault, registered
from fusekit.registry.discovery import registries


def build_metric(name: str) -> Metric:
    """Return the metric registered under ``name``, which knows its name, its direction and its paper.

    Raises:
        UnknownNameError: there is no such metric.
        PluginError: its class cannot be imported or built, or is not a metric.
        WeightsError: it needs weights that are not there.
    """
    registry = registries().metrics
    component, entry = registered(registry, name), registry.entry(name)
    metric_class = registry.load(name)
    with calling(component):
        metric = metric_class()
    if not isinstance(metric, Metric):
        raise fault(component, "is not a fusekit.extend.Metric", "derive it from one")
    metric.name, metric.direction, metric.citation = name, entry.details["direction"], entry.citation
    return metric
