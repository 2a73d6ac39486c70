"""Race a network as its authors publish it beside the plugin that computes the same.

    python scripts/race_published.py swinfusion --published SwinFusion/models/network_swinfusion1.py --json FILE

The file is the authors', from a copy of their repository; what it imports is looked for in its folder and in the one
above. Their network is called as their test script calls it, in float32. It has random weights, or those of
``--weights``, and ours has the same, converted as by ``fusekit weights convert``. Both fuse the embedded CT and MRI,
brought to the size, in the race of ``fusekit bench speed``: each in a process of its own, round by round. The table
says also by how much the outputs differ, as a part of the extent of theirs.

A package that their file imports and that is not there can be left out by ``--stub NAME``, where none of it is called.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from published_networks import NETWORKS, Told, build, draw, tell
from safetensors.torch import load_file, save_file
from torch import Tensor

from fusekit.errors import FusekitError, OptionError, size_text
from fusekit.images.files import write_image
from fusekit.images.image import from_pixels
from fusekit.weights.convert import convert_checkpoint
from fusekit_bench.publish import table
from fusekit_bench.requests import Speed, parse_size
from fusekit_bench.speed.cases import Case, Entrant, first_output, pair, prepare
from fusekit_bench.speed.runner import Recruit, measure, recruit
from fusekit_bench.speed.table import digits

#: The authors' network, to the bench.
_TARGET = "published_networks:fuse"


def _weights(told: Told, given: Path | None, seed: int, folder: Path) -> tuple[Path, Path]:
    """Write the weights under the authors' names and under ours, and return both files."""
    network = build(told)
    if given is None:
        draw(network, seed)
    else:
        state = load_file(given) if given.suffix == ".safetensors" else torch.load(given, "cpu", weights_only=True)
        lacking = set(network.load_state_dict(state, strict=False).missing_keys)
        # What is constructed and never called may be missing.
        if lacking >= {name for name, _ in network.named_parameters()}:
            raise OptionError(f"--weights {given} has nothing of {told.network}")
    theirs, ours = folder / "theirs.safetensors", folder / "ours.safetensors"
    save_file({name: value.detach().clone().contiguous() for name, value in network.state_dict().items()}, theirs)
    convert_checkpoint(told.network, [theirs], ours)
    return theirs, ours


def _differences(case: Case, dtypes: Sequence[str]) -> list[float]:
    """Return the greatest difference of our outputs in each dtype, as a part of the extent of the authors'.

    Raises:
        OptionError: the authors' network gives a constant image, of which a difference says nothing.
    """

    def output(entrant: Entrant) -> Tensor:
        return first_output(case, entrant, prepare(case, entrant))

    theirs = output(Entrant("against", target=_TARGET))
    extent = float(theirs.max() - theirs.min())
    if not extent:
        raise OptionError("with these weights the published network gives a constant image; choose another --seed")
    return [float((theirs - output(Entrant("ours", dtype=dtype))).abs().max()) / extent for dtype in dtypes]


def race(
    told: Told, request: Speed, weights: Path | None = None, seed: int = 0, recruit: Recruit = recruit
) -> dict[str, Any]:
    """Race theirs, in float32, and ours in each dtype of a request.

    Returns:
        ``network``, ``mode``, ``date``, what `fusekit_bench.speed.runner.measure` says of ``code``, ``versions``,
        ``machine``, ``rounds`` and ``clock``, and ``results``, a row a size and dtype of ours: ``seconds_published``,
        ``seconds_ours`` and their ``ratio`` (spreads), seconds of each round, ``form`` and ``difference``.

    Raises:
        FusekitError: the network cannot be built or run.
    """
    of, facts, results = NETWORKS[told.network], dict[str, Any](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(prefix="fusekit-race-") as name:
        theirs, ours = _weights(told, weights, seed, Path(name))
        asked = replace(
            request,
            models=[str(ours)],
            rules=[of.rule] if of.rule else (),
            devices=["cpu"],
            images=_lifted(Path(name)) if of.lifted else None,
            against=_TARGET,
            reference=False,
            memory=False,
        )
        with tell(told._replace(weights=str(theirs))):
            for size in request.sizes:
                differences = _differences(Case(str(ours), of.rule, "cpu", size, images=asked.images), asked.dtypes)
                found = measure(replace(asked, sizes=[size]), recruit=recruit)
                facts = facts or {key: found[key] for key in ("code", "versions", "machine", "rounds", "clock")}
                *rows, other = found["races"][0]["rows"]
                results += [_row(size, *pair, other) for pair in zip(rows, differences, strict=True)]
    date = datetime.now(timezone.utc).date().isoformat()
    return {"network": told.network, "mode": told.mode, "date": date, **facts, "results": results}


def _row(
    size: tuple[int, int], ours: Mapping[str, Any], difference: float, theirs: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "size": list(size),
        "dtype": ours["dtype"],
        "form": ours["form"],
        "difference": difference,
        "seconds_published": theirs["seconds"],
        "seconds_ours": ours["seconds"],
        "ratio": ours["ratio_against"],
        "rounds_published": theirs["rounds"],
        "rounds_ours": ours["rounds"],
    }


def _lifted(folder: Path) -> tuple[Path, Path]:
    """Write the embedded CT and MRI without black and return the files."""
    paths = (folder / "ct.png", folder / "mri.png")
    for path, image in zip(paths, pair(None, (256, 256)), strict=True):
        write_image(path, from_pixels(np.maximum(image.pixels, 1)))
    return paths


def text(found: Mapping[str, Any]) -> str:
    """Return the results as a table in Markdown, below a line on what they were measured."""
    machine, busy = found["machine"], found["machine"]["load_average"]
    where = [
        machine["processor"],
        f"{machine['threads']} threads" if found["clock"] == "wall" else "processor time of one thread",
        f"load average {busy[0]:.1f} before" if busy else "",
        f"torch {found['versions']['torch']}",
        f"code `{found['code']}`",
        found["date"],
    ]
    headers = ["network", "size", "ours in", "published (s)", "ours (s)", "times as fast", "greatest difference"]
    rows = [
        [
            found["network"],
            size_text(row["size"]),
            row["dtype"],
            digits(row["seconds_published"]["median"]),
            digits(row["seconds_ours"]["median"]),
            "{} ({}–{})".format(*(digits(row["ratio"][key]) for key in ("median", "low", "high"))),
            f"{row['difference']:.0e}",
        ]
        for row in found["results"]
    ]
    lines = [f"{found['rounds']} rounds, {', '.join(filter(None, where))}", "", *table(headers, rows, "lllrrrr")]
    return "\n".join(lines)


@click.command(help=__doc__)
@click.argument("network", type=click.Choice(sorted(NETWORKS)))
@click.option("--published", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--arguments", default="{}", help="JSON, of the class, in place of those of the authors' script.")
@click.option("--weights", type=click.Path(exists=True, path_type=Path), help="A state dict under the authors' names.")
@click.option("--seed", default=0, show_default=True, help="Of random weights.")
@click.option("--mode", type=click.Choice(("eval", "train")), help="Of the authors' network; each has its default.")
@click.option("--stub", multiple=True, metavar="NAME", help="A package to leave out; may be given more than once.")
@click.option("--sizes", default="256", show_default=True, help="With commas between them.")
@click.option("--dtypes", default="float32", show_default=True, help="Of ours, with commas between them.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--threads", type=int, help="Of torch; as many as it takes by default.")
@click.option(
    "--clock",
    default="wall",
    type=click.Choice(("wall", "processor")),
    help="processor, with --threads 1: the thread's own time, on a busy machine.",
)
@click.option("--json", "output", type=click.Path(path_type=Path), help="Write everything as JSON.")
def main(
    network: str,
    published: Path,
    arguments: str,
    weights: Path | None,
    seed: int,
    mode: str | None,
    stub: tuple[str, ...],
    sizes: str,
    dtypes: str,
    rounds: int,
    threads: int | None,
    clock: str,
    output: Path | None,
) -> None:
    """Race, and print the table."""
    mode = mode or NETWORKS[network].mode
    try:
        told = Told(network, str(published.resolve()), json.loads(arguments), list(stub), "", mode)
        request = Speed(
            sizes=[parse_size(each) for each in sizes.split(",")],
            dtypes=dtypes.split(","),
            threads=threads,
            rounds=rounds,
            clock=clock,
        )
        found = race(told, request, weights, seed)
    except (FusekitError, json.JSONDecodeError) as error:
        raise click.ClickException(str(error)) from error
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    click.echo(text(found))


if __name__ == "__main__":
    main()
