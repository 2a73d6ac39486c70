"""Registers a rule with a keyword that does not exist."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import hookimpl


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    register("sound", "fusekit_misspelt.rule:Sound", summary="taken along")
    register("misspelt", "fusekit_misspelt.rule:Sound", summery="mean of the sources")
