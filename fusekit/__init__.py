"""fusekit: multimodal medical image fusion from plugins.

Importing this package is cheap; torch and the plugins' code are imported when something is first computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusekit.registry.hooks import hookimpl
from fusekit.registry.specs import ModelSpec, WeightsSpec
from fusekit.version import __version__

if TYPE_CHECKING:
    from fusekit.batch.run import fuse_folders
    from fusekit.errors import FusekitError
    from fusekit.evaluation.rate import evaluate
    from fusekit.listing import (
        list_aligners,
        list_commands,
        list_decoders,
        list_edges,
        list_encoders,
        list_executors,
        list_formats,
        list_metrics,
        list_models,
        list_plugins,
        list_rules,
        list_tasks,
        list_weights,
    )
    from fusekit.models.load import load
    from fusekit.options import FuseOptions, LoadOptions, RunOptions
    from fusekit.pipeline import Fused, fuse


_LAZY = {
    "FuseOptions": "fusekit.options",
    "FusekitError": "fusekit.errors",
    "Fused": "fusekit.pipeline",
    "LoadOptions": "fusekit.options",
    "RunOptions": "fusekit.options",
    "evaluate": "fusekit.evaluation.rate",
    "fuse": "fusekit.pipeline",
    "fuse_folders": "fusekit.batch.run",
    "list_aligners": "fusekit.listing",
    "list_commands": "fusekit.listing",
    "list_decoders": "fusekit.listing",
    "list_edges": "fusekit.listing",
    "list_encoders": "fusekit.listing",
    "list_executors": "fusekit.listing",
    "list_formats": "fusekit.listing",
    "list_metrics": "fusekit.listing",
    "list_models": "fusekit.listing",
    "list_plugins": "fusekit.listing",
    "list_rules": "fusekit.listing",
    "list_tasks": "fusekit.listing",
    "list_weights": "fusekit.listing",
    "load": "fusekit.models.load",
}

__all__ = [
    "FuseOptions",
    "Fused",
    "FusekitError",
    "LoadOptions",
    "ModelSpec",
    "RunOptions",
    "WeightsSpec",
    "__version__",
    "evaluate",
    "fuse",
    "fuse_folders",
    "hookimpl",
    "list_aligners",
    "list_commands",
    "list_decoders",
    "list_edges",
    "list_encoders",
    "list_executors",
    "list_formats",
    "list_metrics",
    "list_models",
    "list_plugins",
    "list_rules",
    "list_tasks",
    "list_weights",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fusekit' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
