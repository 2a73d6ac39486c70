"""Executors and commands that each break their contract in one way, and the good ones that they derive from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fusekit.extend import (
    Executor,
    Outcome,
)


class GoodExecutor(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = []
        for case in work.cases:
            outcomes.append(work.fuse_case(case))
            report(case, outcomes[-1])
        return outcomes


class ExecutorWithoutReports(Executor):
    def run(self, work: Any, report: Any) -> Any:
        return [work.fuse_case(case) for case in work.cases]


class ExecutorThatKnowsBetter(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = []
        for case in work.cases:
            outcome = work.fuse_case(case)
            outcomes.append(Outcome("skipped") if outcome.kind == "failed" else outcome)
            report(case, outcomes[-1])
        return outcomes


class ExecutorThatGoesOn(GoodExecutor):
    def run(self, work: Any, report: Any) -> Any:
        def quiet(case: Any, outcome: Any) -> None:
            try:
                report(case, outcome)
            except KeyboardInterrupt:
                return

        return super().run(work, quiet)


class ExecutorOfOthers(Executor):
    def run(self, work: Any, report: Any) -> Any:
        from concurrent.futures import ThreadPoolExecutor

        def one(case: Any) -> Any:
            outcome = work.fuse_case(case)
            report(case, outcome)
            return outcome

        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(one, work.cases))


class ExecutorOfOtherFiles(Executor):
    def run(self, work: Any, report: Any) -> Any:
        outcomes = GoodExecutor().run(work, report)
        for case in work.cases:
            if Path(case.output).exists():
                Path(case.output).write_bytes(b"other")
        return outcomes


@click.command()
@click.option("--size", help="Of the image.")
def good_command(size: str) -> None:
    """Do something."""


@click.command()
@click.option("--size")
def command_without_help(size: str) -> None:
    pass


@click.command(cls=type("Broken", (click.Command,), {"get_help": lambda self, ctx: 1 / 0}))
def command_that_fails() -> None:
    """Do something."""


def no_command() -> None:
    """Be a function."""
