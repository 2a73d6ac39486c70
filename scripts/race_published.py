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

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fusekit.errors import FusekitError, OptionError, size_text
from fusekit.images.files import write_image
from fusekit.images.image import from_pixels
from fusekit.weights.convert import convert_checkpoint
from fusekit_bench.publish import table
from fusekit_bench.requests import Speed, parse_size
from fusekit_bench.speed.cases import Case, Entrant, first_output, pair, prepare
from fusekit_bench.speed.runner import Recruit, measure, recruit
from fusekit_bench.speed.table import digits

#: The environment variable by which the process of the authors' network is told what to build.
_TOLD = "FUSEKIT_RACE_PUBLISHED"
#: What `fuse` is called there.
_TARGET = f"{Path(__file__).stem}:fuse"

Fuse = Callable[[nn.Module, Tensor, Tensor], Tensor]


class Published(NamedTuple):
    """What is known of a published network.

    Attributes:
        classes: by the prefix of their weights, the class and what it is constructed with. Several are parts of one.
        fuse: calls it as the test script does, with two (1, 1, H, W) in [0, 1] in the order of the plugin's roles.
        mode: in which the network is one that can be compared: ``eval``, or ``train`` where the script never leaves it.
        rule: that is the script's; ``None`` for the plugin's own.
        lifted: whether images are lifted by one grey level: of features that are 0 in both the script makes NaN.
    """

    classes: Mapping[str, tuple[str, dict[str, Any]]]
    fuse: Fuse
    mode: str = "eval"
    rule: str | None = None
    lifted: bool = False


def _jointly(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    fused: Tensor = network(first, second)
    return fused


def _in_colour(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    colours = network(first.repeat(1, 3, 1, 1), second.repeat(1, 3, 1, 1)).clamp(0, 1)
    return (colours * colours.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)


def _by_rule(weigh: Callable[[Tensor, Tensor], Tensor]) -> Fuse:
    def fuse(network: Any, first: Tensor, second: Tensor) -> Tensor:
        fused: Tensor = network.Reconstruction(weigh(network.Extraction(second), network.Extraction(first)))
        return fused

    return fuse


def _energy(one: Tensor, two: Tensor) -> Tensor:
    shares = [each**2 / (two**2 + one**2) for each in (one, two)]
    return one * shares[0] + two * shares[1]


def _signed(one: Tensor, two: Tensor) -> Tensor:
    return one * abs(one / (two + one)) + two * abs(two / (two + one))


def _through_scales(network: Any, first: Tensor, second: Tensor) -> Tensor:
    # The MRI comes first here and second there; grey levels go in and come out.
    features = [network["nest"].encoder(255 * each) for each in (second, first)]
    (fused,) = network["nest"].decoder_eval(network["fusion"](*features))
    return fused / 255


def _ifcnn(scheme: int) -> Published:
    return Published({"": ("IFCNN", {"fuse_scheme": scheme})}, _in_colour)


_WIDTHS = [64, 112, 160, 208]
NETWORKS = {
    "ifcnn": _ifcnn(0),
    "ifcnn-mean": _ifcnn(2),
    "ifcnn-sum": _ifcnn(1),
    "msrpan": Published({"": ("SRN", {})}, _by_rule(_energy), lifted=True),
    "msdra": Published({"": ("SRN", {})}, _by_rule(_signed), mode="train", rule="msdra-signed"),
    "gesenet": Published({"": ("GeSeNet", {"output": 1})}, _jointly),
    "mactfusion": Published({"": ("MACTFusion", {"output": 1})}, _jointly),
    "swinfusion": Published(
        {
            "": (
                "SwinFusion",
                {"upscale": 1, "in_chans": 1, "img_size": 128, "window_size": 8, "img_range": 1.0, "embed_dim": 60}
                | {"mlp_ratio": 2, "upsampler": None, "resi_connection": "1conv"},
            )
        },
        _jointly,
    ),
    "mrscfusion": Published(
        {
            "nest": (
                "NestFuse_light2_nodense",
                {"nb_filter": _WIDTHS, "input_nc": 1, "output_nc": 1, "deepsupervision": False},
            ),
            "fusion": ("Fusion_network", {"nC": _WIDTHS, "fs_type": "res"}),
        },
        _through_scales,
    ),
}


# --- the authors' network ----------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What is to be built: a key of `NETWORKS`, the authors' file, and the rest of the command."""

    network: str
    file: str
    arguments: dict[str, Any]
    stubs: list[str]
    weights: str
    mode: str


class _Anything(type):
    def __getattr__(cls, name: str) -> type:
        return _placeholder(name)


class _Placeholder(metaclass=_Anything):
    """Stands for whatever is imported of a package that is left out, and for what is in that."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


def _placeholder(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (_Placeholder,), {})


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds packages that are left out, and all that is said to be in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = _placeholder


def published_module(file: Path, stubs: Sequence[str]) -> ModuleType:
    """Import the authors' file.

    Raises:
        OptionError: it cannot be imported.
    """
    sys.path[:0] = [path for path in map(str, (file.parent, file.parent.parent)) if path not in sys.path]
    sys.meta_path.insert(0, _Stubs(stubs))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise OptionError(f"--published {file} is no Python file")
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise OptionError(f"--published {file} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def build(told: Told) -> nn.Module:
    """Return the authors' network with its own initial weights.

    Raises:
        OptionError: the file has no such class, or it is not constructed so.
    """
    module, classes = published_module(Path(told.file), told.stubs), NETWORKS[told.network].classes
    if told.arguments and len(classes) > 1:
        raise OptionError(f"{told.network} is of {len(classes)} classes: leave out --arguments")
    parts = {}
    for prefix, (name, arguments) in classes.items():
        if not hasattr(module, name):
            raise OptionError(f"--published {told.file} has no class {name}, which is the network of {told.network}")
        given = {**arguments, **told.arguments}
        if name == "IFCNN":
            # It takes its first convolution from a ResNet.
            given["resnet"] = nn.Module()
            given["resnet"].conv1 = nn.Conv2d(3, 64, 7, bias=False)
        try:
            parts[prefix] = getattr(module, name)(**given)
        except Exception as error:
            raise OptionError(f"{name}({given}) fails: {type(error).__name__}: {error}") from error
    return parts[""] if "" in parts else nn.ModuleDict(parts)


def draw(network: nn.Module, seed: int) -> None:
    """Draw kernels and matrices so that activations keep their scale, whatever they were at the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in network.parameters():
            if each.dim() > 1:
                bound = (6 / each[0].numel()) ** 0.5
                each.copy_(torch.empty_like(each).uniform_(-bound, bound, generator=generator))


@functools.cache
def _network() -> tuple[nn.Module, Told]:
    """Return the authors' network as it races, in this process."""
    told = Told(**json.loads(os.environ[_TOLD]))
    network = build(told)
    network.load_state_dict(load_file(told.weights), strict=False)
    network.train(told.mode == "train")
    if told.network == "gesenet" and told.mode == "eval":
        _evaluate(network)
    return network, told


def _evaluate(network: Any) -> None:
    """Let GeSeNet's evaluation path run: kernels are split before, and the first of what a module returns is taken."""
    for each in (network.vis_rmm, network.inf_rmm):
        each.body._prepare()
        each.register_forward_hook(lambda module, given, found: (found,))


@torch.no_grad()
def fuse(images: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """Fuse two float32 arrays (H, W) in [0, 1] by the authors' network: what ``--against`` is in the race."""
    network, told = _network()
    first, second = (torch.tensor(each)[None, None] for each in images)
    fused: np.ndarray[Any, Any] = NETWORKS[told.network].fuse(network, first, second)[0, 0].numpy()
    return fused


# --- the race ----------------------------------------------------------------------------------------------------


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


@contextlib.contextmanager
def _tell(told: Told) -> Iterator[None]:
    """Tell this process and those that it starts what to build."""
    os.environ[_TOLD] = json.dumps(told._asdict())
    _network.cache_clear()
    try:
        yield
    finally:
        del os.environ[_TOLD]
        _network.cache_clear()


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
        with _tell(told._replace(weights=str(theirs))):
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
