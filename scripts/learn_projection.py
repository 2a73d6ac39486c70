"""Learn the projection of the model ``mdlatlrr`` from patches of images, and write it as weights.

    python scripts/learn_projection.py DATA/ct-mri/ct DATA/ct-mri/mri --names DATA/splits.json#/ct-mri/train \
        -o weights/mdlatlrr/ct-mri.safetensors
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import torch
from fusekit_classical.latlrr import latent_low_rank, training_patches
from fusekit_classical.mdlatlrr import MDLatLRR

from fusekit.images.color import luminance
from fusekit.images.files import read_image
from fusekit.machine.files import sha256_of
from fusekit.train.data import find_images
from fusekit.weights.store import save_weights


def pixels(path: Path) -> torch.Tensor:
    """Return the luminance of an 8-bit picture, (H, W) in [0, 1]."""
    image = read_image(path)
    values = torch.from_numpy(image.pixels).double() / 255
    return luminance(values) if image.color else values
