from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from PIL import Image

from fusekit.errors import UnknownNameError
from fusekit.images import samples

SCRIPT = ROOT / "docs" / "generate" / "sample.py"
MODES = {"ct": "L", "mri": "L", "pet": "RGB"}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", sorted(MODES))
def test_each_sample_is_an_8_bit_picture_of_256_by_256(name: str) -> None:
    with Image.open(samples.path(name)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", MODES[name], (256, 256))


def test_names_and_pairs_agree_with_the_files() -> None:
    data = samples.path("mri").parent
    assert samples.names() == sorted(MODES) == sorted(path.stem for path in data.glob("*.png"))
    assert samples.pairs() == {"ct-mri": ("ct", "mri"), "pet-mri": ("pet", "mri")}


def test_the_sample_is_small() -> None:
    folder = Path(samples.__file__).parent
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.suffix != ".pyc" and path.is_file()) < 500_000


def test_ct_has_bone_where_mri_has_nothing() -> None:
    ct, mri = pixels(samples.path("ct")), pixels(samples.path("mri"))
    assert ct[0, 0] == mri[0, 0] == 0
    bone = ct > 200
    assert bone.mean() > 0.03
    assert (mri[bone] == 0).mean() > 0.98
    soft = mri > 60
    assert mri[soft].std() > 3 * ct[soft].std()


def test_the_notice_and_the_papers_say_what_is_simulated() -> None:
    assert "ICBM152" in samples.NOTICE
    assert "simulated" in samples.NOTICE
    folder = Path(samples.__file__).parent
    assert "simulated" in (folder / "README.md").read_text(encoding="utf-8")
    assert "McConnell Brain Imaging Centre" in (folder / "LICENSE-ICBM152.txt").read_text(encoding="utf-8")


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="unknown sample 'mr'; did you mean 'mri'"):
        samples.path("mr")


@pytest.mark.process
def test_importing_the_samples_is_light() -> None:
    code = "import sys, fusekit.images.samples; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.process
def test_the_script_reproduces_the_committed_pixels(tmp_path: Path) -> None:
    pytest.importorskip("nilearn")
    pytest.importorskip("nibabel")
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not beside the tests")
    subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=True)
    for name in samples.names():
        made, committed = pixels(tmp_path / f"{name}.png"), pixels(samples.path(name))
        # Another build of numpy or scipy may round a few pixels to the next level, which the PET palette triples.
        difference = np.abs(made.astype(int) - committed.astype(int))
        assert difference.max() <= 3, name
        assert (difference > 0).mean() < 1e-3, name
