"""Folders of pairs in the current folder, fused by ``fusekit fuse --pairs``."""

from __future__ import annotations

from pathlib import Path

from helpers.cli import Outcome, run_cli, write_texture

NAMES = ["01", "02", "03", "04"]
CT, MRI, OUT = Path("ct"), Path("mri"), Path("out")


def make_pairs(names: list[str], size: int = 16) -> None:
    for number, name in enumerate(names):
        write_texture(CT / f"{name}.png", number, size, size)
        write_texture(MRI / f"{name}.png", 100 + number, size, size)


def fuse_pairs(*options: str, output: str = "out") -> Outcome:
    return run_cli(["fuse", "--pairs", "ct", "mri", "-o", output, "--rule", "mean", *options])


def outputs() -> set[str]:
    return {path.name for path in OUT.iterdir()}


def with_records(names: list[str]) -> set[str]:
    return {f"{name}.png" for name in names} | {f"{name}.png.json" for name in names}


def assert_refused(outcome: Outcome, message: str) -> None:
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("fusekit: error: ")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err
