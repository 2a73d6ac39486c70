"""Checks of executors and commands."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner
from torch import Tensor

from fusekit.batch.executor import CaseFuser, Outcome, SerialExecutor, Work, execute
from fusekit.cases.case import Case
from fusekit.checks.base import Findings
from fusekit.models.base import EncoderDecoder
from fusekit.options import FuseOptions
from fusekit.registry.contract import registered
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.rules.mean import Mean


class Pixels(EncoderDecoder):
    """A model whose features are the pixels, for executors to run: it needs no weights and can be pickled."""

    spec = ModelSpec("pixels", f"{__name__}:Pixels", "the rule acts on the pixels", default_rule="mean")

    def encode(self, x: Tensor) -> Tensor:
        return x

    def decode(self, features: Tensor, sources: Sequence[Tensor] | None = None) -> Tensor:
        return features


def check_executor(name: str) -> list[str]:
    """Check an executor against its contract, by a batch of small images with a missing one and one that is there.

    Outcomes and files are those of working one case after the other, each case is reported once, after it ended and
    from the thread that asked, and an interruption ends the run.

    Args:
        name: as registered.

    Returns:
        what is wrong, one line a finding that names the executor; nothing where all is well.

    Raises:
        UnknownNameError: there is no such executor.
    """
    findings = Findings(registered(registries().executors, name))
    for workers in (None, 1, 2):
        with findings.during(f"with workers={workers}"), tempfile.TemporaryDirectory() as folder:
            _check_run(findings, name, Path(folder), workers)
    with findings.during("without any case"):
        execute(name, Work((), _fuser()))
    if not findings.found:
        with findings.during("when it is interrupted"), tempfile.TemporaryDirectory() as folder:
            _check_interruption(findings, name, Path(folder))
    return findings.found


def _fuser() -> CaseFuser:
    return CaseFuser(Pixels().eval(), Mean(), FuseOptions())


def _cases(folder: Path) -> tuple[Case, ...]:
    """Return six cases: one lacks a source, the file of one is damaged, the output of one is there already."""
    from PIL import Image

    generator, cases = np.random.default_rng(0), []
    for number in range(6):
        paths = [folder / f"{number}-{role}.png" for role in "ab"]
        for path in paths:
            Image.fromarray(generator.integers(0, 256, (12, 10), dtype=np.uint8)).save(path)
        cases.append(Case(f"case-{number}", tuple(paths), ("a", "b"), f"case-{number}", folder / f"{number}.png"))
    cases[1] = replace(cases[1], sources=(cases[1].sources[0], None))
    (folder / "2-b.png").write_bytes(b"no image")
    SerialExecutor().run(Work((cases[3],), _fuser()), lambda case, outcome: None)
    return tuple(cases)


def _check_run(findings: Findings, name: str, folder: Path, workers: int | None) -> None:
    (folder / "wanted").mkdir()
    (folder / "found").mkdir()
    wanted_cases, cases = _cases(folder / "wanted"), _cases(folder / "found")
    wanted = SerialExecutor().run(Work(wanted_cases, _fuser()), lambda case, outcome: None)
    reported: list[Case] = []
    threads: set[int] = set()

    def report(case: Case, outcome: Outcome) -> None:
        reported.append(case)
        threads.add(threading.get_ident())
        if not case.target.exists() and case.name not in ("case-1", "case-2"):
            findings.add("reports a case before its file is there")

    outcomes, interrupted = execute(name, Work(cases, _fuser(), workers), report)
    if interrupted:
        findings.add("says that the user interrupted it, who did not")
        return
    for case, other, outcome in zip(cases, wanted_cases, wanted, strict=True):
        found = outcomes[case]
        if found.kind != outcome.kind:
            findings.add(f"says {found.kind!r} of a case, and work.fuse_case {outcome.kind!r}; return what it does")
        elif outcome.kind != "failed" and case.target.read_bytes() != other.target.read_bytes():
            findings.add("writes another file than work.fuse_case")
    if sorted(each.name for each in reported) != sorted(each.name for each in cases):
        findings.add(f"reports {len(reported)} of {len(cases)} cases; report each once, when it has ended")
    if threads - {threading.get_ident()}:
        findings.add("reports from other threads than the one that called run")


def _check_interruption(findings: Findings, name: str, folder: Path) -> None:
    cases = _cases(folder)
    said: list[Case] = []

    def report(case: Case, outcome: Outcome) -> None:
        said.append(case)
        raise KeyboardInterrupt

    _, interrupted = execute(name, Work(cases, _fuser(), 1), report)
    if not interrupted:
        findings.add("goes on after an interruption; let KeyboardInterrupt through")


def check_command(name: str) -> list[str]:
    """Check a command of ``fusekit``: it is a click command, its help can be shown, and its parts are described.

    Args:
        name: as registered.

    Returns:
        what is wrong, one line a finding that names the command; nothing where all is well.

    Raises:
        UnknownNameError: there is no such command.
    """
    registry = registries().commands
    findings = Findings(registered(registry, name))
    if not registry.entry(name).summary:
        findings.add("is registered without a summary; 'fusekit --help' shows it")
    with findings.during("to be imported"):
        command = registry.load(name)
        if not isinstance(command, click.Command):
            findings.add(f"is no click command but of type {type(command).__name__}")
        else:
            _check_command(findings, command, name)
    return findings.found


def _check_command(findings: Findings, command: click.Command, called: str) -> None:
    if not (command.help or command.short_help):
        findings.add(f"does not say what 'fusekit {called}' does; write a docstring")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.help and not parameter.hidden:
            findings.add(f"has the option {parameter.opts[0]} without help ('fusekit {called}')")
    shown = CliRunner().invoke(command, ["--help"], prog_name=f"fusekit {called}")
    if shown.exit_code != 0 or "Usage:" not in shown.output:
        said = " ".join(shown.output.split()) or repr(shown.exception)
        findings.add(f"cannot show its help ('fusekit {called} --help'): {said}")
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=called)
        for each in command.list_commands(context):
            inner = command.get_command(context, each)
            if inner is None:
                findings.add(f"lists the command {each!r} and does not have it ('fusekit {called}')")
            else:
                _check_command(findings, inner, f"{called} {each}")
