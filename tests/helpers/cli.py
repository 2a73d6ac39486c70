"""What several test files share: running the command line in this process, and tiny pictures to run it on."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from fusekit.cli.main import run
from fusekit.images.files import write_image
from fusekit.images.image import Array, from_pixels


class Outcome(NamedTuple):
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run_cli(arguments: Sequence[object]) -> Outcome:
    """Run ``fusekit`` with these arguments in this process."""
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with (
        mock.patch.object(sys, "argv", ["fusekit", *map(str, arguments)]),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            run()
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int), "the command line ends by sys.exit with a number"
    return Outcome(code, out.getvalue(), err.getvalue())


def texture(seed: int, height: int = 24, width: int = 20, channels: int = 0, depth: str = "uint8") -> Array:
    """Return random but smooth pixels (H, W) or (H, W, channels) that use the full range."""
    shape = (height + 4, width + 4, channels or 1)
    values = np.random.default_rng(seed).random(shape)
    smooth = np.mean([values[i : height + i, j : width + j] for i in range(5) for j in range(5)], axis=0)
    unit = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    unit = unit if channels else unit[:, :, 0]
    return unit.astype(depth) if depth == "float32" else np.rint(unit * np.iinfo(depth).max).astype(depth)


def write_texture(path: Path, seed: int, height: int = 24, width: int = 20, channels: int = 0) -> Path:
    """Write an 8-bit :func:`texture` and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, from_pixels(texture(seed, height, width, channels)))
    return path


def truncate(path: Path, share: float = 0.5) -> Path:
    """Cut a file to its first ``share``, and return its path."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
