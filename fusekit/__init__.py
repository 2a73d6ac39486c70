"""fusekit: multimodal medical image fusion from plugins.

Importing this package is cheap; torch and the plugins' code are imported when something is first computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.machine.lazy import hand_on
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

# A checker of types takes a name that is handed on by nobody for a mistake.
if not TYPE_CHECKING:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "batch.run": "fuse_folders",
            "errors": "FusekitError",
            "evaluation.rate": "evaluate",
            "listing": (
                "list_aligners list_commands list_decoders list_edges list_encoders list_executors list_formats "
                "list_metrics list_models list_plugins list_rules list_tasks list_weights"
            ),
            "models.load": "load",
            "options": "FuseOptions LoadOptions RunOptions",
            "pipeline": "Fused fuse",
        },
    )
