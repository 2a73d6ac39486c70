"""What this package adds to fusekit: the command ``bench``."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import hookimpl


@hookimpl
def register_commands(register: Callable[..., None]) -> None:
    register("bench", "fusekit_bench.cli:bench", summary="Re-run the figures of docs and model cards.")
