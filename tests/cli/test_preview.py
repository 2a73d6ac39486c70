"""``fusekit fuse --preview``: a picture of what was fused and what became of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from helpers.cli import run_cli, texture

from fusekit.errors import InputError
from fusekit.images.coloring import mapped
from fusekit.images.files import read_image
from fusekit.images.grid import Grid
from fusekit.images.image import from_pixels
from fusekit.images.montage import side_by_side

HEIGHT, WIDTH, GAP = 40, 44, 4


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Return an MRI of 8 bits, and a PET of floats up to 9.5."""
    found = [tmp_path / "mri.tif", tmp_path / "pet.tif"]
    tifffile.imwrite(found[0], texture(1, HEIGHT, WIDTH))
    pet = texture(2, HEIGHT, WIDTH).astype(np.float32)
    tifffile.imwrite(found[1], (pet - pet.min()) / np.ptp(pet) * 9.5)
    return found


def previewed(files: list[Path], *more: object) -> np.ndarray:
    preview = files[0].with_name("preview.png")
    command = ["fuse", *files, "-o", files[0].with_name("out.tif"), "--preview", preview, "--model", "pixel"]
    code, _, err = run_cli([*command, "--overwrite", *more])
    assert code == 0, err
    return read_image(preview).pixels


def panel(picture: np.ndarray, number: int) -> np.ndarray:
    left = number * (WIDTH + GAP)
    found = picture[:, left : left + WIDTH]
    return found if found.ndim == 2 else found[..., 0]


def test_sources_and_result_stand_side_by_side_in_their_ranges(files: list[Path]) -> None:
    picture = previewed(files)
    assert picture.shape[:2] == (HEIGHT, 3 * WIDTH + 2 * GAP)
    np.testing.assert_array_equal(panel(picture, 0), read_image(files[0]).pixels)
    np.testing.assert_array_equal(panel(picture, 1), np.rint(read_image(files[1]).pixels / 9.5 * 255))
    np.testing.assert_array_equal(panel(picture, 2), read_image(files[0].with_name("out.tif")).pixels)


def test_an_overlay_has_the_bar_of_its_colours(files: list[Path]) -> None:
    picture = previewed(files, "--color", "overlay:hot:0.5:2")
    beside = 3 * (WIDTH + GAP)
    bar = picture[:, beside : beside + 16]
    np.testing.assert_array_equal(bar[:, 0], np.rint(mapped(np.linspace(1, 0, HEIGHT), "hot") * 255))
    labels = picture[:, beside + 16 :].min(axis=(1, 2))
    top, bottom = labels[: HEIGHT // 2], labels[HEIGHT // 2 :]
    assert top.min() < 128, "the greatest value"
    assert bottom.min() < 128, "the least value"


def test_a_preview_shows_what_was_fused(files: list[Path]) -> None:
    """A page, resampled, turned over, without what is no number: not the file as it stands."""
    pages = np.stack([texture(seed, 20, 22).astype(np.float32) for seed in (3, 4)])
    pages[:, 0, 0] = np.nan
    tifffile.imwrite(files[1], pages, photometric="minisblack")
    chosen = ["--page", "2", "--align", "first", "--nan", "background", "--range", "2=0:255", "--invert", "2"]
    picture = previewed(files, *chosen)
    assert picture.shape[:2] == (HEIGHT, 3 * WIDTH + 2 * GAP)
    assert panel(picture, 1)[0, 0] == 0, "the background of a negative is black"
    upright = previewed(files, *chosen[:-2])
    inner = (slice(3, None), slice(3, None))
    total = panel(picture, 1)[inner].astype(int) + panel(upright, 1)[inner]
    assert np.abs(total - 255).max() <= 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.tif", "--preview and --output are both"),
        ("mri.tif", "is one of the sources"),
        ("there.png", "it is there already; --overwrite replaces it"),
        ("no/folder.png", "does not exist"),
        ("preview.doc", "name the output"),
    ],
)
def test_previews_that_cannot_be_written_are_refused_before_anything_is(
    files: list[Path], name: str, message: str
) -> None:
    folder = files[0].parent
    (folder / "there.png").write_bytes(b"kept")
    before = {path.name for path in folder.iterdir()}
    command = ["fuse", *files, "-o", folder / "out.tif", "--preview", folder / name, "--model", "pixel"]
    code, out, err = run_cli(command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert {path.name for path in folder.iterdir()} == before
    assert (folder / "there.png").read_bytes() == b"kept"


def test_volumes_are_not_shown() -> None:
    volume = from_pixels(
        np.zeros((3, 4, 5), np.uint8), color=False, grid=Grid((3, 4, 5), axes=("slice", "row", "column"))
    )
    with pytest.raises(InputError, match="has 3 axes, and only pictures are shown"):
        side_by_side([volume])
