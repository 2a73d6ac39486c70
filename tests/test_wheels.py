"""Acceptance: what is built installs into an empty environment, and third parties' plugins live beside it."""

from __future__ import annotations

import json
import subprocess
import textwrap
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.wheels import Environment, build_wheel
from PIL import Image

from fusekit.images import samples

pytest.importorskip("hatchling", reason="building wheels needs hatchling")
pytestmark = [pytest.mark.slow, pytest.mark.process]

#: Plugins that the root wheel brings.
BUNDLED = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
#: Those whose models have weights, with the models.
WITH_WEIGHTS = {
    "classical": ["mdlatlrr"],
    "ehdran": ["dilran", "ehdran"],
    "gesenet": ["gesenet"],
    "ifcnn": ["ifcnn"],
    "msrpan": ["msrpan"],
}
HALF_RULE = """
    from fusekit.extend import FusionRule, RuleResult

    class Half(FusionRule):
        def apply(self, features):
            return RuleResult(sum(features) / 2)
"""
HALF = """
    from fusekit import hookimpl

    @hookimpl
    def register_fusion_rules(register):
        register("half", "fusekit_half.rule:Half", summary="half of the sum")
"""
CRASH = "raise RuntimeError('this plugin cannot be imported')"
AGAIN = """
    from fusekit import ModelSpec, hookimpl

    @hookimpl
    def register_fusion_rules(register):
        register("taken-along", "fusekit_again.rule:Rule")

    @hookimpl
    def register_models(register):
        register(ModelSpec("ehdran", "fusekit_again.model:Model", "another one", default_rule="mean"))
"""


def write_plugin(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Write the source tree of a plugin, shaped as the documentation says."""
    package = folder / f"fusekit-{name}" / "src" / f"fusekit_{name}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for file, code in files.items():
        (package / file).write_text(textwrap.dedent(code))
    project = package.parents[1]
    (project / "pyproject.toml").write_text(
        textwrap.dedent(f"""
            [build-system]
            requires = ["hatchling"]
            build-backend = "hatchling.build"

            [project]
            name = "fusekit-{name}"
            version = "0.0.1"
            dependencies = ["fusekit-imaging"]

            [project.entry-points.fusekit]
            {name} = "fusekit_{name}.plugin"

            [tool.hatch.build.targets.wheel]
            packages = ["src/fusekit_{name}"]
        """)
    )
    return project


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("root-wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("acceptance")
    plugins = {"half": {"plugin.py": HALF, "rule.py": HALF_RULE}, "crash": {"plugin.py": CRASH}}
    plugins["again"] = {"plugin.py": AGAIN}
    wheels = [build_wheel(write_plugin(folder, name, files), folder) for name, files in plugins.items()]
    return Environment(folder / "environment", [wheel, *wheels])


def test_the_wheel_holds_package_plugin_weights_and_samples(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    wanted = {"fusekit/pipeline.py", "fusekit/rules/mean.py", "fusekit_ehdran/plugin.py", "fusekit_ehdran/model.py"}
    assert wanted <= set(names)
    assert {f"fusekit/images/samples/data/{name}.png" for name in samples.names()} <= set(names)
    assert {f"fusekit/evaluation/page/page.{kind}" for kind in ("css", "js")} <= set(names)
    bundled = {
        f"fusekit/_weights/{path.relative_to(ROOT / 'weights').as_posix()}"
        for path in ROOT.glob("weights/*/*.safetensors")
    }
    assert bundled <= set(names)
    assert "[fusekit]\n" + "\n".join(f"{each} = fusekit_{each}.plugin" for each in BUNDLED) in entry_points
    assert "fusekit = fusekit.cli.main:run" in entry_points
    assert metadata["Name"] == "fusekit-imaging"
    packages = {"fusekit", *(f"fusekit_{each}" for each in BUNDLED)}
    assert {name.partition("/")[0] for name in names} == {*packages, info}


def test_the_wheel_holds_no_tests_and_no_private_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"tests", "shared", "golden", "runs", "scripts", "docs", "__pycache__"}
    assert {Path(name).suffix for name in names if not name.startswith("fusekit_imaging-")} <= {
        ".py", ".typed", ".png", ".txt", ".md", ".json", ".csv", ".safetensors", ".css", ".js"
    }  # fmt: skip


def test_every_model_has_its_weights_in_a_plugins_own_wheel() -> None:
    assert sorted(model for models in WITH_WEIGHTS.values() for model in models) == sorted(
        path.name for path in (ROOT / "weights").iterdir()
    )


@pytest.mark.parametrize("plugin", WITH_WEIGHTS)
def test_a_plugins_own_wheel_brings_its_weights_and_entry_point(plugin: str, tmp_path: Path) -> None:
    project = ROOT / "plugins" / plugin
    with zipfile.ZipFile(build_wheel(project, tmp_path)) as archive:
        names = archive.namelist()
        info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
        assert f"{plugin} = fusekit_{plugin}.plugin" in archive.read(f"{info}/entry_points.txt").decode()
    files = [path for model in WITH_WEIGHTS[plugin] for path in (ROOT / "weights" / model).iterdir()]
    assert {f"fusekit/_weights/{path.parent.name}/{path.name}" for path in files} == {
        name for name in names if name.startswith("fusekit/")
    }
    assert {name.partition("/")[0] for name in names} == {f"fusekit_{plugin}", "fusekit", info}


def test_the_installed_package_is_the_wheels(environment: Environment) -> None:
    code = "import fusekit, fusekit_ehdran; print(fusekit.__file__); print(fusekit_ehdran.__file__)"
    for line in environment.run("python", "-c", code).stdout.splitlines():
        assert Path(line).is_relative_to(environment.packages)


def warnings_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return sorted(line for line in done.stderr.splitlines() if line)


def check_warnings(done: subprocess.CompletedProcess[str]) -> None:
    """Assert that standard error is one line for each of the two plugins that are left out."""
    again, crash = warnings_of(done)
    assert again.startswith("fusekit: warning: the plugin 'again' of fusekit-again is left out: ")
    assert "the model 'ehdran' is registered by both fusekit-imaging and fusekit-again" in again
    assert crash.startswith("fusekit: warning: the plugin 'crash' of fusekit-crash is left out: RuntimeError: this")


def test_rules_are_listed_with_their_owners(environment: Environment) -> None:
    done = environment.run("fusekit", "list", "rules", "--json")
    owners = {row["name"]: row["owner"] for row in json.loads(done.stdout)}
    assert owners["half"] == "fusekit-half"
    assert owners["mean"] == owners["sfnn"] == "fusekit-imaging"
    assert "taken-along" not in owners
    check_warnings(done)


def test_each_plugin_is_listed_once(environment: Environment) -> None:
    rows = json.loads(environment.run("fusekit", "list", "plugins", "--json").stdout)
    assert [row["name"] for row in rows] == [*BUNDLED, "again", "crash", "half"]
    assert [row["name"] for row in rows if row["error"]] == ["again", "crash"]


@pytest.mark.skipif(
    not (ROOT / "weights" / "ehdran" / "ct-mri.safetensors").is_file(), reason="no bundled weights in this checkout"
)
def test_a_plugins_rule_fuses_the_samples(environment: Environment) -> None:
    sources = [str(samples.path(name)) for name in ("ct", "mri")]
    done = environment.run("fusekit", "fuse", *sources, "--rule", "half", "-o", "out.png")
    check_warnings(done)
    with Image.open(environment.folder / "out.png") as image:
        assert (image.size, image.mode) == ((256, 256), "L")
        assert np.asarray(image).std() > 1
    record = (environment.folder / "out.png.json").read_text(encoding="utf-8")
    assert '"half"' in record


def test_the_doctor_reports_what_is_left_out(environment: Environment) -> None:
    done = environment.run("fusekit", "doctor", "--tracebacks")
    problems = done.stdout.partition("problems\n")[2]
    assert "the plugin 'crash' of fusekit-crash is left out: RuntimeError: this plugin cannot be imported" in problems
    assert "the plugin 'again' of fusekit-again is left out: the model 'ehdran' is registered by both" in problems
    assert "traceback of the plugin crash\nTraceback" in problems
    assert "is owned by" not in problems
    assert "fusekit-half 0.0.1 ok" in done.stdout
