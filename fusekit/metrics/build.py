"""Building a metric by its registered name."""

from __future__ import annotations

from fusekit.errors import FusekitError, PluginError, one_line
from fusekit.metrics.base import Metric
from fusekit.registry.discovery import registries


def build_metric(name: str) -> Metric:
    """Return the metric registered under ``name``, which knows its name, its direction and its paper.

    Raises:
        UnknownNameError: there is no such metric.
        PluginError: its class cannot be imported or built, or is not a metric.
        WeightsError: it needs weights that are not there.
    """
    registry = registries().metrics
    entry = registry.entry(name)
    factory = registry.load(name)
    try:
        metric = factory()
    except FusekitError:
        raise
    except Exception as error:
        raise PluginError(f"the metric {name!r} of {entry.owner} cannot be built: {one_line(error)}") from error
    if not isinstance(metric, Metric):
        raise PluginError(f"the metric {name!r} of {entry.owner} is not a fusekit.extend.Metric; derive it from one")
    metric.name, metric.direction, metric.citation = name, entry.details["direction"], entry.citation
    return metric
