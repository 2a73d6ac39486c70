"""What the pages name is there: the doors' names in the reference, commands with their options, modules, files."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
from helpers.paths import ROOT

import fusekit
from fusekit import extend, testing
from fusekit.cli.main import main

PAGES = sorted(
    [
        *ROOT.glob("docs/*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *ROOT.glob("plugins/*/README.md"),
        *ROOT.glob("weights/*/README.md"),
    ]
)
#: Files and packages of the plugins that pages describe.
EXAMPLES = ("fusekit_example", "my_plugin", "tests/test_example.py")
#: `fusekit …` in inline code, or a line of its own in an indented block, up to a comment.
COMMAND = re.compile(r"`fusekit ([a-z][^`]*)`|^ {4}(?:\.venv/bin/)?fusekit ([a-z][^#\n]*)", re.MULTILINE)


@pytest.mark.parametrize("door", [fusekit, extend, testing], ids=lambda door: door.__name__)
def test_every_name_of_the_doors_stands_in_the_reference(door: ModuleType) -> None:
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    found = re.findall(rf"^::: {re.escape(door.__name__)}\.(\w+)$", page, re.MULTILINE)
    assert sorted(found) == sorted(door.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_are_there(page: Path) -> None:
    for groups in COMMAND.findall(page.read_text(encoding="utf-8")):
        words = "".join(groups).split()
        if words[0] == "sizes":  # the command of the page for plugin authors
            continue
        command, used = named_command(words)
        assert used, f"fusekit {' '.join(words)}"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in words[used:]:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in {*known, "--help"}, f"fusekit {' '.join(words)}"


def named_command(words: list[str]) -> tuple[click.Command, int]:
    """Return the command that the words name, and how many of them do."""
    command: click.Command = main
    for used, word in enumerate(words):
        found = command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        if found is None:
            return command, used
        command = found
    return command, len(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_python_blocks_import_is_there(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for module, name in imports_of(block):
            if module.startswith("fusekit") and not module.startswith(EXAMPLES):
                assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


def imports_of(block: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"`(fusekit(?:_\w+)?(?:\.\w+)+)", text):
        if not name.startswith(EXAMPLES) and name not in ("fusekit.encode", "fusekit.rule", "fusekit.decode"):
            assert is_there(name), name
    for name in re.findall(r"`((?:fusekit|docs|scripts|plugins|tests|weights)/[\w./-]*\w)`", text):
        assert name in EXAMPLES or (ROOT / name).exists(), name


def is_there(name: str) -> bool:
    """Return whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False
