"""Who imports whom: the layers of ``pyproject.toml``, the two doors of plugins, and what stays light."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCRIPT = ROOT / "scripts" / "house.py"
DOORS = {"fusekit", "fusekit.extend", "fusekit.testing"}
# The bench measures the rooms, and may enter any.
MEASURES = "fusekit_bench"
# Tests of a plugin that look behind the doors, each for what no door shows: how a kernel proves itself on a device.
BEHIND_THE_DOORS = {
    "ehdran/tests/kernels/test_trials.py": {
        "fusekit.machine.backends",
        "fusekit.machine.probation",
        "fusekit.models.trials",
    },
}
LIGHT = (
    "fusekit",
    "fusekit.builtin",
    "fusekit.cli.main",
    "fusekit.errors",
    "fusekit.listing",
    "fusekit.models.specs",
    "fusekit.options",
    "fusekit.registry.discovery",
    "fusekit.registry.hooks",
    "fusekit.registry.registry",
    "fusekit.registry.specs",
    "fusekit.version",
)

IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def house() -> ModuleType:
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not beside the tests")
    spec = importlib.util.spec_from_file_location("house", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(house: ModuleType) -> dict[str, Any]:
    """Return the modules of the core and of the plugins' sources, by their dotted names."""
    found: dict[str, Any] = house.read_files(ROOT)
    return found


def test_imports_are_resolved_to_the_modules_of_the_house(house: ModuleType, tmp_path: Path) -> None:
    written = {
        "fusekit/__init__.py": "",
        "fusekit/errors.py": "",
        "fusekit/low/__init__.py": "",
        "fusekit/low/one.py": "import os\nimport fusekit.errors\nfrom . import two\n",
        "fusekit/low/two.py": "def f():\n    from fusekit.high import top\n    from .one import x\n",
        "fusekit/high/__init__.py": "",
        "fusekit/high/top.py": "from fusekit import errors\nfrom ..low.one import x\n",
        "plugins/mine/src/mine/__init__.py": "import fusekit\n",
        "pyproject.toml": '[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["high", "low", "errors"]\n',
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    files = house.read_files(tmp_path)
    assert files["fusekit.low.one"].imports == {"fusekit.errors", "fusekit.low.two"}
    assert files["fusekit.low.two"].imports == {"fusekit.high.top", "fusekit.low.one"}
    assert files["fusekit.high.top"].imports == {"fusekit.errors", "fusekit.low.one"}
    lines = "\n".join(house.report(tmp_path))
    assert "circles of files: 1\n  fusekit.high.top <-> fusekit.low.one <-> fusekit.low.two\n" in lines
    assert "arrows that do not go down: 1\n  fusekit.low.two -> fusekit.high.top\n" in lines
    assert "  mine                   1  fusekit\n" in lines
    assert "loose modules at the top of fusekit/: 1, beside __init__ and __main__: errors\n" in lines


def test_few_modules_stand_loose_and_no_circle_closes(house: ModuleType, files: dict[str, Any]) -> None:
    loose = [name for name, file in files.items() if file.path.parent == ROOT / "fusekit"]
    assert len(loose) <= 12
    assert house.circles({name: file.imports for name, file in files.items()}) == []
    assert house.upward(house.arrows(files), house.read_floors(ROOT)) == []


@pytest.mark.slow
def test_nothing_in_the_core_goes_through_a_door(files: dict[str, Any]) -> None:
    for name, file in files.items():
        if name.startswith("fusekit."):
            assert not file.imports & {"fusekit", "fusekit.extend", "fusekit.testing"}, name


@pytest.mark.slow
def test_no_folder_imports_on_the_way_to_its_files(files: dict[str, Any]) -> None:
    """``import fusekit.rules.base`` runs the ``__init__`` of every folder on its way."""
    for name, file in files.items():
        # The package itself is the users' door, and the pictures' folder holds no other module.
        if file.path.name == "__init__.py" and name not in ("fusekit", "fusekit.images.samples"):
            assert not file.imports, name


def test_plugins_come_in_by_the_doors(house: ModuleType, files: dict[str, Any]) -> None:
    for name, file in files.items():
        if house.room_of(name) != MEASURES and not name.startswith("fusekit."):
            core = {each for each in file.imports if each.split(".")[0] == "fusekit"}
            assert core <= DOORS or name == "fusekit", name


@pytest.mark.slow
def test_plugins_tests_come_in_by_the_doors(house: ModuleType, files: dict[str, Any]) -> None:
    behind: dict[str, set[str]] = {}
    for folder in sorted({*(ROOT / "plugins").iterdir()} - {ROOT / "plugins" / "bench"}):
        for path in sorted((folder / "tests").rglob("*.py")):
            used = {each for each in house.imports_of(path, files) if each.startswith("fusekit.")}
            if used - {"fusekit.extend", "fusekit.testing"}:
                behind[path.relative_to(ROOT / "plugins").as_posix()] = used - {"fusekit.extend", "fusekit.testing"}
    assert behind == BEHIND_THE_DOORS


@pytest.mark.parametrize("project", sorted((ROOT / "plugins").iterdir()), ids=lambda project: project.name)
def test_a_plugin_declares_what_it_imports(project: Path) -> None:
    said = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[^\w-]", each)[0].lower() for each in said["dependencies"]}
    optional = [each for extra, brought in said["optional-dependencies"].items() if extra != "test" for each in brought]
    declared |= {re.split(r"[^\w-]", each)[0].lower() for each in optional}
    imported = {
        module.partition(".")[0]
        for path in project.glob("src/**/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for module in imported_by(node)
    } - {*sys.stdlib_module_names, f"fusekit_{project.name}"}
    # Triton comes by an extra of the root distribution, and messages name it.
    assert {distribution_of(each) for each in imported - {"triton"}} <= declared


def imported_by(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def distribution_of(module: str) -> str:
    return {"fusekit": "fusekit-imaging", "pywt": "pywavelets"}.get(module, module.replace("_", "-"))


@pytest.mark.process
def test_what_lists_and_names_imports_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH, *LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [f"{name} False" for name in LIGHT]


@pytest.mark.process
def test_the_contracts_of_import_linter_are_kept() -> None:
    pytest.importorskip("importlinter")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
