"""``fusekit bench``: tables that anyone can re-run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fusekit_bench.commands.calibration import calibration
from fusekit_bench.commands.folder import folder
from fusekit_bench.commands.memory import memory
from fusekit_bench.commands.metrics import metrics
from fusekit_bench.commands.quality import quality
from fusekit_bench.commands.shell import shell
from fusekit_bench.commands.speed import speed


@click.group()
def bench() -> None:
    """Re-run the figures of docs and model cards."""


bench.add_command(quality)
bench.add_command(calibration)
bench.add_command(metrics)
bench.add_command(speed)
bench.add_command(memory)
bench.add_command(folder)
bench.add_command(shell)


@bench.command("weights")
@click.argument("model")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--names", metavar="FILE", help="Only these pairs; a name a line, or FILE.json#/key/key.")
@click.option("--rules", default="sfnn,sfnn-channel,l1-local,mean,max", show_default=True, help="Rules to fuse with.")
@click.option("--metrics", help="Metrics, separated by commas; all by default.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--card", type=click.Path(path_type=Path), help="Model card whose figures to replace.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown.")
def weights(
    model: str,
    folders: tuple[Path, ...],
    names: str | None,
    rules: str,
    metrics: str | None,
    device: str,
    card: Path | None,
    as_json: bool,
) -> None:
    """Score MODEL's weights on the pairs of FOLDERS: reconstruction, and metrics of the fused images."""
    from fusekit_bench.weights import markdown, score_weights, write_card

    chosen = metrics.split(",") if metrics else None
    scores = score_weights(model, folders, names, rules.split(","), chosen, device)
    text = markdown(scores)
    if card is not None:
        write_card(card, text)
    click.echo(json.dumps(scores, indent=2) if as_json else text)
