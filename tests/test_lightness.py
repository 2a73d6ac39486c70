from __future__ import annotations

import json
import subprocess
import sys

import pytest

import fusekit

HEAVY = ("torch", "fusekit_ehdran.model", "fusekit_ehdran.encoder", "numpy", "nibabel", "matplotlib", "pandas")
COMMAND = """
import sys
from fusekit.cli.main import run
sys.argv = ["fusekit", *sys.argv[1:]]
try:
    run()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code.format(heavy=HEAVY), *arguments], capture_output=True, text=True, check=True
    )


@pytest.mark.process
def test_importing_the_package_imports_nothing_heavy() -> None:
    assert run("import sys, fusekit; print([name for name in {heavy!r} if name in sys.modules])").stdout == "[]\n"


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("fuse", "--help"),
        ("train", "--help"),
        ("list", "rules"),
        ("list", "models", "--json"),
        ("list",),
    ],
    ids=" ".join,
)
def test_help_and_listings_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    done = run(COMMAND, *arguments)
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout


@pytest.mark.process
def test_models_are_listed_with_their_facts() -> None:
    rows = {row["name"]: row for row in json.loads(run(COMMAND, "list", "models", "--json").stdout)}
    assert rows["ehdran"]["kind"] == "models"
    assert rows["ehdran"]["rules"] == "any"
    assert rows["ehdran"]["default_rule"] == "sfnn-local"
    assert "ct-mri" in rows["ehdran"]["weights"]
    assert rows["ehdran"]["owner"] == "fusekit-imaging"


def test_metrics_are_listed_with_their_directions() -> None:
    rows = {row["name"]: row for row in json.loads(run(COMMAND, "list", "metrics", "--json").stdout)}
    assert (rows["ssim"]["direction"], rows["mse"]["direction"]) == ("higher", "lower")
    assert rows["lpips.vgg16"]["optional"]


def test_dir_shows_all_public_names() -> None:
    assert set(fusekit.__all__) <= set(dir(fusekit))


@pytest.mark.parametrize("name", fusekit.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(fusekit, name) is not None


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fuze'"):
        _ = fusekit.fuze  # type: ignore[attr-defined]
