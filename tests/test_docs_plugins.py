"""The plugin of docs/plugins.md: its blocks are written into files, loaded as a plugin, and every component is used."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.paths import ROOT
from PIL import Image

import fusekit
from fusekit import testing
from fusekit.cases.case import Case
from fusekit.cases.splits import Split
from fusekit.cli.main import main
from fusekit.evaluation.tasks import run_task
from fusekit.registry.discovery import load_plugins, registries

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_FILE = re.compile(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PACKAGE = "fusekit_example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the folder of the page's plugin, which is registered for as long as the tests of this file run."""
    root = tmp_path_factory.mktemp("example")
    for name, text in _FILE.findall((ROOT / "docs/plugins.md").read_text(encoding="utf-8")):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / _PACKAGE / "__init__.py").touch()
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = [EntryPoint(name, value, "fusekit") for name, value in project["entry-points"]["fusekit"].items()]
    sys.path.insert(0, str(root))
    ours = registries().by_hook()
    before = {hook: registry.snapshot() for hook, registry in ours.items()}
    found = load_plugins(points)
    assert [report.error for report in found.reports] == [""]
    for hook, registry in found.by_hook().items():
        added = [entry for entry in registry if entry.target.startswith(f"{_PACKAGE}.")]
        assert added, f"the page's plugin has nothing for {hook}"
        for entry in added:
            ours[hook].add(entry)
    yield root
    for hook, registry in ours.items():
        registry.restore(before[hook])
    sys.path.remove(str(root))
    for name in [each for each in sys.modules if each.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """A pair of images as the page's format holds them."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / name for name in ("a.npy", "b.npy")]
    for path in paths:
        np.save(path, generator.integers(0, 256, (30, 27), dtype=np.uint8))
    return paths


def page_tests(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_tests", folder / "tests" / "test_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_importing_the_plugin_is_light(folder: Path) -> None:
    said = (folder / _PACKAGE / "plugin.py").read_text(encoding="utf-8")
    assert re.findall(r"^(?:from|import) .*", said, re.MULTILINE) == ["from fusekit import ModelSpec, hookimpl"]


@pytest.mark.parametrize("name", ["test_parts", "test_files", "test_running"])
def test_checks(folder: Path, name: str) -> None:
    getattr(page_tests(folder), name)()


@pytest.mark.parametrize("name", ["strongest", "contrast", "brightest"])
def test_rules(folder: Path, name: str, pair: list[Path]) -> None:
    page_tests(folder).test_rules(name)
    whole = fusekit.fuse(pair, "pixel", rule=name, tile="off")
    assert whole.record["rule"]["name"] == name
    if name == "strongest":
        assert np.array_equal(whole.image, np.maximum(*map(np.load, pair)))


@pytest.mark.parametrize("name", ["spread", "mae", "peak-error"])
def test_metrics(folder: Path, name: str, pair: list[Path]) -> None:
    page_tests(folder).test_metrics(name)
    values = fusekit.evaluate(pair, pair[0], metrics=[name])
    assert values[name] >= 0


@pytest.mark.parametrize("name", ["example-free", "example-bound", "example-joint"])
def test_models(folder: Path, name: str, pair: list[Path], tmp_path: Path) -> None:
    page_tests(folder).test_models(name)
    spec = registries().models.entry(name).details["spec"]
    registries().models.load(name)(**spec.config).save(tmp_path / "saved")
    fused = fusekit.fuse(pair, fusekit.load(tmp_path / "saved"))
    assert fused.image.shape == (30, 27)
    fused.save(tmp_path / "fused.npy")
    assert np.array_equal(np.load(tmp_path / "fused.npy"), fused.image)


def test_the_aligner_and_the_executor(folder: Path, pair: list[Path], tmp_path: Path) -> None:
    np.save(pair[1], np.zeros((20, 40), np.uint8))
    fused = fusekit.fuse(pair, "pixel", align="center")
    assert np.array_equal(fused.image, np.load(pair[0]))
    for name, path in zip("ab", pair, strict=True):
        (tmp_path / name).mkdir()
        path.rename(tmp_path / name / "1.npy")
    summary = fusekit.fuse_folders(
        [tmp_path / "a", tmp_path / "b"], tmp_path / "out", "pixel", align="center", executor="pool"
    )
    assert len(summary.done) == 1


def test_the_task_and_the_command(folder: Path, tmp_path: Path) -> None:
    cases, labels = [], {}
    for number in range(8):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((4, 6), 200 * (number % 2), np.uint8)).save(path)
        cases.append(Case(path.stem, (path, path), ("a", "b"), path.stem, path))
        labels[path.stem] = ("dark", "bright")[number % 2]
    scores = run_task("bright-or-dark", cases, labels, Split(tuple("0123"), tuple("4567")))
    assert scores.figures["accuracy"].value == 1
    done = CliRunner().invoke(main, ["sizes", str(cases[0].target)])
    assert done.output.strip().endswith("0.png: 6×4")


def test_every_table_of_hooks_and_checks_is_whole() -> None:
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    for name in (*registries().by_hook(), *testing.__all__):
        assert name in page, name
