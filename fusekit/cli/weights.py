"""``fusekit weights``: convert published checkpoints, verify digests."""

from __future__ import annotations

from pathlib import Path

import click

from fusekit.cli.options import options_of
from fusekit.cli.output import Group, result, say
from fusekit.errors import plain
from fusekit.options import RunOptions


@click.group(cls=Group)
def weights() -> None:
    """Convert and verify weights."""


@weights.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The model that the checkpoint belongs to.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Safetensors file to write.")
@click.option("--key", metavar="NAME", help="Entry that holds the weights, as params_ema; found by itself without.")
@options_of(RunOptions, "overwrite")
def convert(files: tuple[Path, ...], model: str, output: Path, key: str | None, overwrite: bool) -> None:
    """Turn a published checkpoint into safetensors under fusekit's key names.

    Several FILES are parts of one network, published one by one. A pickled checkpoint is read with weights_only=True;
    one whose reading could run code is refused. Safetensors and NumPy's .npz are read as well, and what trainers wrap
    weights in is taken away.
    """
    from fusekit.weights.convert import convert_checkpoint

    tensors = convert_checkpoint(model, files, output, overwrite, key)
    result(plain(f"{output}: {tensors} tensors of the model {model}"))


@weights.command()
@click.argument("name", required=False)
def verify(name: str | None) -> None:
    """Check the sha256 of installed weights: all, those of a MODEL, or MODEL.TAG."""
    from fusekit.weights.verify import verify_all

    checks = verify_all(name)
    for check in checks:
        result(plain(f"{check.name:<24} {check.state:<12} {check.sha256}"))
    for check in checks:
        if check.error:
            say(f"error: {check.error}")
    if any(check.error for check in checks):
        raise SystemExit(2)
