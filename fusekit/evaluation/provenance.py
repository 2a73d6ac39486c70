"""What a report says of its own making: version, command, time, and what the metrics are."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from fusekit.registry.discovery import registries
from fusekit.version import __version__, code_version


@dataclass(frozen=True)
class Made:
    """How a report was made.

    Attributes:
        command: the command line, empty where Python made it.
        time: when, in UTC, ISO 8601 to the second.
        code: the checkout's commit, or fusekit's version.
        versions: of what the values depend on.
    """

    command: str
    time: str
    code: str
    versions: dict[str, str]


def made(command: str = "") -> Made:
    """Say how a report is being made."""
    versions = {
        "fusekit": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
    time = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return Made(command, time, code_version(), versions)


def metric_facts(metric: str) -> dict[str, Any]:
    """Return what the registry says of a metric: ``direction``, ``summary``, ``citation`` and ``owner``."""
    entry = registries().metrics.entry(metric)
    return {
        "direction": entry.details["direction"],
        "summary": entry.summary,
        "citation": entry.citation,
        "owner": entry.owner,
    }
