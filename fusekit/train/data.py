"""Training images: folders of single images, random crops and flips that depend on nothing but seed and step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from fusekit.color import luminance
from fusekit.errors import TrainingError
from fusekit.files import sha256_of
from fusekit.io.folders import images_in, read_names
from fusekit.io.reading import read_image
from fusekit.ranges import source_range, to_unit
from fusekit.spec import Normalization


def find_images(folders: Sequence[Path], names: Path | str | None = None) -> list[Path]:
    """Return the image files of ``folders``, those that the names file lists if there is one.

    Raises:
        TrainingError: no image is found, or a listed one is missing from every folder.
    """
    by_folder = [images_in(Path(folder)) for folder in folders]
    if names is None:
        found = [path for images in by_folder for path in images.values()]
    else:
        wanted = [Path(name).stem for name in read_names(names)]
        found = [images[stem] for images in by_folder for stem in wanted if stem in images]
        absent = [stem for stem in wanted if not any(stem in images for images in by_folder)]
        if absent:
            raise TrainingError(f"{names} lists {absent[0]!r}, which none of the folders holds")
    if not found:
        raise TrainingError(f"no images in {', '.join(str(folder) for folder in folders)}")
    return found


def load_images(paths: Sequence[Path], normalization: Normalization) -> list[Tensor]:
    """Return each file's luminance as (1, H, W) float32 in [0, 1], normalised as the model's spec says."""
    loaded = []
    for path in paths:
        image = read_image(path)
        values = luminance(image.pixels) if image.is_color else image.pixels
        loaded.append(torch.from_numpy(to_unit(values, source_range(values, image.depth, normalization)))[None])
    return loaded


def sample_batch(images: Sequence[Tensor], batch: int, crop: int, seed: int, step: int) -> Tensor:
    """Return (batch, 1, crop, crop): random images, random places, random flips and quarter turns.

    The draw is a function of ``seed`` and ``step`` alone, so that a resumed run sees what an uninterrupted one would.
    Images smaller than the crop are padded by repeating their border.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)

    def draw(below: int) -> int:
        return int(torch.randint(below, (1,), generator=generator))

    patches = []
    for _ in range(batch):
        image = images[draw(len(images))]
        short = [max(0, crop - side) for side in image.shape[1:]]
        if any(short):
            image = torch.nn.functional.pad(image[None], (0, short[1], 0, short[0]), mode="replicate")[0]
        top, left = (draw(side - crop + 1) for side in image.shape[1:])
        patch = image[:, top : top + crop, left : left + crop]
        patch = torch.rot90(patch, draw(4), (1, 2))
        patches.append(patch.flip(2) if draw(2) else patch)
    return torch.stack(patches)


def describe(paths: Sequence[Path], names: Path | str | None = None) -> dict[str, object]:
    """Return what a model card says of the data: folders (their last two parts), list, count, and a digest.

    The digest is the SHA-256 of the files' digests in order, so that two trainings can be told to have seen the same.
    """
    digests = "".join(sha256_of(path) for path in paths)
    folders = dict.fromkeys("/".join(path.resolve().parent.parts[-2:]) for path in paths)
    facts: dict[str, object] = {"folders": list(folders), "images": len(paths)}
    if names is not None:
        file_name, mark, pointer = str(names).partition("#")
        facts["names"] = Path(file_name).name + mark + pointer
    facts["sha256"] = hashlib.sha256(digests.encode()).hexdigest()
    return facts
