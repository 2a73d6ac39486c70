"""What executors of a batch tell of its cases."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        kind: ``done``, ``skipped`` or ``failed``.
        reason: why it failed.
        other_settings: whether what was there already was made with other settings.
    """

    kind: str
    reason: str = ""
    other_settings: bool = False
