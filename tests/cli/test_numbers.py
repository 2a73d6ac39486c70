"""Every option that takes a number or a text refuses in one line what is none, however it is spelt."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest
from helpers.cli import run_cli, write_texture

from fusekit.cli.main import main
from fusekit.cli.options import FiniteNumber, WholeNumber
from fusekit.errors import OptionError
from fusekit.options import FuseOptions, RunOptions, parse_memory, parse_tile, whole_number

#: What Python's int() or isdigit() take for numbers, and other programs do not; and numbers that no counter holds.
NO_NUMBERS = ("²", "٢", "४", "1_0", "Ⅷ", "9" * 400, "9" * 5000, "-", "1e999", "nan", "inf", "", "0x10")


@pytest.fixture(autouse=True)
def _in_a_folder_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("ct.png", "mri.png", "a/1.png", "b/1.png")):
        write_texture(Path(name), seed)


@pytest.mark.parametrize("given", NO_NUMBERS, ids=lambda text: text[:6])
@pytest.mark.parametrize(
    "option",
    [
        "--color from:{}",
        "--memory {}GiB",
        "--memory {}",
        "--tile {}",
        "--device cuda:{}",
        "--bit-depth {}",
        "--color {}",
    ],
)
def test_options_of_fusing(option: str, given: str) -> None:
    flag, _, value = option.partition(" ")
    code, out, err = run_cli(["fuse", "ct.png", "mri.png", "-o", "out.png", flag, value.format(given)])
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("fusekit: error: ")
    assert not Path("out.png").exists()


def numbers_of(command: click.Command, path: str = "") -> dict[str, click.ParamType]:
    """Return the type of each option that takes a number, by command and flag."""
    found = {
        f"{path} {each.opts[-1]}": each.type
        for each in command.params
        if isinstance(each, click.Option) and each.type.name.startswith(("integer", "float"))
    }
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= numbers_of(command.get_command(context, name), f"{path} {name}")
    return found


def test_every_number_of_a_command_is_of_a_kind_that_refuses_the_rest() -> None:
    found = numbers_of(main)
    assert {" fuse --workers", " train --steps", " train --rate", " bench speed --threads"} <= set(found)
    for called, kind in found.items():
        for given in NO_NUMBERS:
            assert refuses(kind, given), f"{called} takes {given[:20]!r}"


def refuses(kind: click.ParamType, given: str) -> bool:
    try:
        kind.convert(given, None, None)
    except click.BadParameter as error:
        return "is not a valid" in str(error)
    return False


@pytest.mark.parametrize("command", ["fuse ct.png mri.png -o out.png --workers", "bench speed --rounds"])
def test_what_is_no_number_names_the_option(command: str) -> None:
    code, out, err = run_cli([*command.split(), "²"])
    assert (code, out) == (2, "")
    assert err.startswith(f"fusekit: error: Invalid value for '{command.split()[-1]}': '²' is not a valid integer.")


def test_fields_that_are_numbers_are_options_of_that_kind() -> None:
    command = main.get_command(click.Context(main), "fuse")
    kinds = {each.name: each.type for each in command.params}
    for each in fields(RunOptions):
        if int in get_args(get_type_hints(RunOptions)[each.name]):
            assert isinstance(kinds[each.name], WholeNumber)


def test_numbers_are_read_as_they_are_written() -> None:
    assert [whole_number(text) for text in ("12", " 7 ", "-3", "+4", 5, 10**17)] == [12, 7, -3, 4, 5, 10**17]
    assert [whole_number(text) for text in (*NO_NUMBERS, 10**18, 1.5, None)] == [None] * (len(NO_NUMBERS) + 3)
    assert FiniteNumber().convert("1.5e-3", None, None) == 1.5e-3
    assert parse_memory("1.5 GiB") == 1610612736
    assert parse_tile("512") == 512


@pytest.mark.parametrize(
    "choices", [{"color": "from:²"}, {"memory": "9" * 400}, {"memory": "²GiB"}, {"tile": "²"}, {"tile": "9" * 5000}]
)
def test_python_refuses_the_same(choices: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        FuseOptions(**choices)


def test_values_that_are_nested_too_deeply_name_the_option() -> None:
    deep = "weights=" + "[" * 100_000
    code, out, err = run_cli(["fuse", "ct.png", "mri.png", "-o", "out.png", "--rule-option", deep])
    assert (code, out) == (2, "")
    assert err.startswith("fusekit: error: --rule-option weights: ")
    assert err.count("\n") == 1
