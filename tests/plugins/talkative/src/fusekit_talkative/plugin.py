"""Prints when it is imported, and registers a rule that prints."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import hookimpl

print("the talkative plugin says hello")


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    print("the talkative plugin registers its rule")
    register("talkative", "fusekit_talkative.rule:Talkative", summary="mean of the sources, and prints")
