"""``scripts/race_published.py``: someone's network beside the plugin's, with one network's weights in both."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from helpers.paths import ROOT
from safetensors.torch import save_file

from fusekit_bench.requests import Speed
from fusekit_bench.speed.workers import LocalWorker

SCRIPT = ROOT / "scripts" / "race_published.py"
#: A network of IFCNN's layers under the names of its authors' weights, as their file would have it.
MODULE = """
import torch
import torch.nn.functional as F
from torch import nn
from absent.parts import helper

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(64, 64, 3, bias=False), nn.BatchNorm2d(64)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(F.pad(x, (1, 1, 1, 1), "replicate"))))

class IFCNN(nn.Module):
    def __init__(self, resnet, fuse_scheme=0, gain=1.0):
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = resnet.conv1, Layer(), Layer(), nn.Conv2d(64, 3, 1)
        self.scheme, self.gain = fuse_scheme, gain

    def forward(self, *sources):
        found = torch.stack([self.conv2(self.conv1(F.pad(each, (3, 3, 3, 3), "replicate"))) for each in sources])
        fused = [found.amax(0), found.sum(0), found.mean(0)][self.scheme]
        return self.gain * self.conv4(self.conv3(fused))
"""


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not beside the tests")
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    sys.path.insert(0, str(SCRIPT.parent))
    yield importlib.import_module(SCRIPT.stem)
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in (SCRIPT.stem, "published_networks", "absent", "network_of_others"):
            del sys.modules[name]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "network_of_others.py"
    path.write_text(MODULE)
    return path


def told(script: ModuleType, published: Path, network: str = "ifcnn-mean", **more: object):
    base = script.Told(network, str(published), {}, ["absent"], "", "eval")
    return base._replace(**more)


@pytest.mark.slow
def test_both_compute_the_same_and_are_timed(script: ModuleType, published: Path) -> None:
    request = Speed(sizes=[(24, 32)], dtypes=["float32", "bfloat16"], threads=1, rounds=2, warm_up=1)
    found = script.race(told(script, published), request, recruit=LocalWorker)
    row, lesser = json.loads(json.dumps(found, allow_nan=False))["results"]
    assert (row["size"], row["dtype"], row["form"]) == ([24, 32], "float32", "composed")
    assert 0 < row["difference"] < 1e-4 < lesser["difference"] < 0.1
    assert (lesser["dtype"], lesser["rounds_published"]) == ("bfloat16", row["rounds_published"])
    assert len(row["rounds_ours"]) == len(row["rounds_published"]) == 2
    ratios = [theirs / ours for theirs, ours in zip(row["rounds_published"], row["rounds_ours"], strict=True)]
    assert row["ratio"]["low"] <= sum(ratios) / 2 <= row["ratio"]["high"]
    *_, first, _ = script.text(found).splitlines()
    assert first.startswith("| ifcnn-mean | 24×32 | float32 | ")
    assert not [each for each in os.environ if "PUBLISHED" in each]


@pytest.mark.slow
def test_a_network_that_computes_something_else_differs(script: ModuleType, published: Path, tmp_path: Path) -> None:
    other, weights = told(script, published, arguments={"gain": 0.5}), tmp_path / "weights.safetensors"
    network = script.build(other)
    script.draw(network, 3)
    save_file(network.state_dict(), weights)
    found = script.race(other, Speed(sizes=[(16, 16)], threads=1, rounds=1), weights, recruit=LocalWorker)
    assert found["results"][0]["difference"] > 0.1


def test_drawn_weights_depend_on_the_seed_alone(script: ModuleType, published: Path) -> None:
    networks = [script.build(told(script, published)) for _ in range(3)]
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        script.draw(network, seed)
    first, again, other = (each.conv3.conv.weight for each in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ifcnn"], r"cannot be imported: ModuleNotFoundError: No module named 'absent'"),
        (["gesenet", "--stub", "absent"], "has no class GeSeNet, which is the network of gesenet"),
        (["ifcnn", "--stub", "absent", "--arguments", '{"depth": 3}'], "unexpected keyword argument 'depth'"),
        (["mrscfusion", "--stub", "absent", "--arguments", '{"depth": 3}'], "is of 2 classes: leave out --arguments"),
        (["ifcnn", "--stub", "absent", "--arguments", "{"], "Expecting property name"),
        (["ifcnn", "--stub", "absent", "--sizes", "8"], "8×8 pixels are too small"),
        (["ifcnn", "--stub", "absent", "--weights", "WEIGHTS"], "has nothing of ifcnn"),
    ],
)
def test_what_cannot_be_raced(
    script: ModuleType, published: Path, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [each for each in sys.meta_path if type(each).__name__ != "_Stubs"])
    for name in [each for each in sys.modules if each.partition(".")[0] == "absent"]:
        monkeypatch.delitem(sys.modules, name)
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    words = [each.replace("WEIGHTS", str(tmp_path / "x.safetensors")) for each in words]
    done = CliRunner().invoke(script.main, [*words, "--published", str(published)])
    assert done.exit_code == 1
    assert said in done.output
