"""The group of commands, and plugins' among them."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from helpers.cli import run_cli

from fusekit.registry.discovery import registries


@click.command()
@click.option("--how", default="key")
def strange(how: str) -> None:
    """End in another way."""
    if how == "key":
        raise KeyError("nothing of this name")
    if how == "usage":
        raise click.UsageError("not like this")
    raise SystemExit(int(how))


@pytest.fixture
def commands() -> Iterator[None]:
    registry = registries().commands
    before = registry.snapshot()
    register = registry.registrar("a-test")
    register("strange", f"{__name__}:strange", summary="Ends in another way.")
    register("absent", "no_such_module:command")
    register("number", "math:pi", summary="Is no command.")
    yield
    registry.restore(before)


@pytest.mark.usefixtures("commands")
def test_the_help_lists_what_cannot_be_imported() -> None:
    code, out, err = run_cli(["--help"])
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["strange", "Ends", "in", "another", "way."] in lines
    assert ["absent", "(of", "a-test)"] in lines


@pytest.mark.usefixtures("commands")
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["absent"], 2, "the command 'absent' of a-test cannot be imported from 'no_such_module:command'"),
        (["number"], 2, "the command 'number' of a-test is an object of type float; register a click.Command"),
        (["strange"], 2, "the command 'strange' of a-test failed: KeyError: 'nothing of this name'"),
        (["strange", "--how", "usage"], 2, "not like this (see "),
    ],
)
def test_what_is_wrong_with_a_command_is_one_line(arguments: list[str], code: int, line: str) -> None:
    found = run_cli(arguments)
    assert (found.code, found.out) == (code, "")
    (said,) = found.err.splitlines()
    assert said.startswith(f"fusekit: error: {line}")


@pytest.mark.usefixtures("commands")
def test_a_command_may_end_with_a_code_of_its_own() -> None:
    assert run_cli(["strange", "--how", "7"]) == (7, "", "")
