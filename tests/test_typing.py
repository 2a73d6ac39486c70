"""What users' scripts are told by a type checker: the public names have types, and these are the right ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.process]

SCRIPT = """
from pathlib import Path
from typing import Any

import fusekit
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from fusekit.extend import FusionModel
from typing_extensions import assert_type


def fuse_files(ct: Path, mri: str) -> npt.NDArray[Any]:
    fused = fusekit.fuse([ct, mri], "ehdran", rule="max", bit_depth="16")
    fused.save(ct.with_name("fused.png"))
    print(fused.record["rule"]["name"], fused.image.shape)
    return fused.image


def fuse_tensors(ct: Tensor, mri: Tensor, model: FusionModel) -> Tensor:
    assert_type(fusekit.fuse([ct, mri], model).image, Tensor)
    return model.fuse([ct, mri], rule="mean")


def keep(ct: npt.NDArray[np.uint8]) -> fusekit.Fused:
    return fusekit.fuse([ct, ct], options=fusekit.FuseOptions(color="gray"))


model = fusekit.load("ehdran.ct-mri", device="cpu")
for fused in (keep(np.zeros((9, 9), np.uint8)), fusekit.fuse([torch.zeros(1, 9, 9), np.zeros((9, 9))], model)):
    image, record = fused
    values = fusekit.evaluate(["ct.png", "mri.png"], fused.image, ["ssim"])
    assert_type(values, dict[str, float])
summary = fusekit.fuse_folders(["ct", Path("mri")], "out", model, workers=2, rule="l1")
assert_type(summary.failed, dict[str, str])
try:
    names = [row["name"] for row in fusekit.list_models()]
except fusekit.FusekitError as error:
    print(error)
"""
WRONG = """
import fusekit

fusekit.fuse(["a.png", "b.png"], rull="max")
fusekit.fuse(["a.png", "b.png"]).image.dim()
fusekit.fuze(["a.png", "b.png"])
"""


def mypy(folder: Path, script: str, cache: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    (folder / "script.py").write_text(script)
    files = ["--cache-dir", str(cache), "script.py"]
    roots = [ROOT, *ROOT.glob("plugins/*/src")]
    return subprocess.run(
        [*(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="), *files],
        cwd=folder,
        env={**os.environ, "MYPYPATH": os.pathsep.join(map(str, roots))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_strict_checker_is_content_with_a_users_script_and_finds_its_mistakes(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    cache = pytestconfig.cache.mkdir("mypy")
    done = mypy(tmp_path, SCRIPT, cache)
    assert done.returncode == 0, done.stdout
    wrong = mypy(tmp_path, WRONG, cache).stdout
    assert '"rull"' in wrong
    assert '"dim"' in wrong
    assert '"fuze"' in wrong
