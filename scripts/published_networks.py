"""Networks as their authors publish them, for `race_published.py`: built of a file of theirs, and called as there."""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fusekit.errors import OptionError

#: The environment variable by which the process of the authors' network is told what to build.
_TOLD = "FUSEKIT_RACE_PUBLISHED"

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


@contextlib.contextmanager
def tell(told: Told) -> Iterator[None]:
    """Tell this process and those that it starts what to build."""
    os.environ[_TOLD] = json.dumps(told._asdict())
    _network.cache_clear()
    try:
        yield
    finally:
        del os.environ[_TOLD]
        _network.cache_clear()
