"""The checks of executors and commands: good ones pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest
import torch
from helpers.broken import metrics, models, running
from helpers.contracts import assert_said, registered, spec_of

import fusekit.testing
from fusekit.registry.discovery import registries
from fusekit.testing import (
    assert_no_findings,
    check_command,
    check_executor,
    check_metric,
    check_model,
    check_rule,
)


@pytest.mark.parametrize(
    ("executor", "fact"),
    [
        (running.ExecutorWithoutReports, "reports 0 of 6 cases; report each once"),
        (running.ExecutorThatKnowsBetter, "says 'skipped' of a case, and work.fuse_case 'failed'"),
        (running.ExecutorThatGoesOn, "goes on after an interruption"),
        (running.ExecutorOfOthers, "reports from other threads than the one that called run"),
        (running.ExecutorOfOtherFiles, "writes another file than work.fuse_case"),
        (metrics.GoodMetric, "is not a fusekit.extend.Executor"),
    ],
)
def test_broken_executors_are_caught(executor: type, fact: str) -> None:
    with registered("executors", executor) as name:
        assert_said(check_executor(name), f"the executor '{name}' of a-test", fact)


def test_a_good_executor_has_no_findings() -> None:
    with registered("executors", running.GoodExecutor) as name:
        assert check_executor(name) == []


@pytest.mark.parametrize(
    ("command", "fact"),
    [
        (running.command_without_help, "does not say what"),
        (running.command_without_help, "has the option --size without help"),
        (running.command_that_fails, "cannot show its help"),
        (running.no_command, "is no click command but of type function"),
    ],
)
def test_broken_commands_are_caught(command: click.Command, fact: str) -> None:
    with registered("commands", command, summary="a test") as name:
        assert_said(check_command(name), f"the command '{name}' of a-test", fact)


def test_a_good_command_has_no_findings() -> None:
    with registered("commands", running.good_command, summary="a test") as name:
        assert check_command(name) == []
    with registered("commands", running.good_command) as name:
        assert_said(check_command(name), name, "is registered without a summary")


def test_findings_become_one_assertion() -> None:
    assert_no_findings([])
    with pytest.raises(AssertionError, match=r"is not kept:\n- one\n- two"):
        assert_no_findings(["one", "two"])


@pytest.mark.process
def test_all_of_the_door_is_documented_and_needs_no_pytest() -> None:
    for name in fusekit.testing.__all__:
        assert getattr(fusekit.testing, name).__doc__
    code = "import fusekit.testing, sys; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checks_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    check_model(spec_of(models.GoodFree))
    check_rule("mean")
    check_metric("mse")
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("name", registries().executors.names())
def test_the_executors_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_executor(name))


@pytest.mark.parametrize("name", registries().commands.names())
def test_the_commands_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_command(name))
