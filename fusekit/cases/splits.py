"""Which series (patient) a file belongs to, so that no patient is trained on and validated on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from fusekit.errors import TrainingError

#: The files of one example: a single image, or the registered sources of one slice.
Files: TypeAlias = tuple[Path, ...]

#: A file name without extension is its series, perhaps ``_`` or ``-``, and three digits of slice.
SERIES_PATTERN = r"(.+?)[_-]?\d{3}"


def series_of(path: Path, pattern: str = SERIES_PATTERN) -> str:
    """Return the series (patient) of a file: group 1 of ``pattern``, or the whole name if that does not match.

    Raises:
        TrainingError: the pattern is not a regular expression with a group.
    """
    try:
        found = re.fullmatch(pattern, path.stem)
        return str(found.group(1)) if found else path.stem
    except (re.error, IndexError) as error:
        raise TrainingError(
            f"the series pattern {pattern!r} is not a regular expression with one group around the series: {error}"
        ) from error


def all_series(examples: Iterable[Files], pattern: str = SERIES_PATTERN) -> list[str]:
    """Return the series of all files, each once, sorted by length and name so that ``2`` stands before ``10``."""
    found = {series_of(path, pattern) for files in examples for path in files}
    return sorted(found, key=lambda series: (len(series), series))


def hold_out(
    examples: Sequence[Files], series: Sequence[str], pattern: str = SERIES_PATTERN
) -> tuple[list[Files], list[Files]]:
    """Split examples into those to train on and those of ``series``, to validate on.

    Raises:
        TrainingError: no example is of one of the series, or none is left to train on.
    """
    known = all_series(examples, pattern)
    unknown = [each for each in series if each not in known]
    if unknown:
        raise TrainingError(f"no image is of the series {unknown[0]!r} to validate on; series: {', '.join(known)}")
    held_out = [files for files in examples if series_of(files[0], pattern) in series]
    training = [files for files in examples if series_of(files[0], pattern) not in series]
    if not training:
        raise TrainingError("all series are held out for validation; leave some to train on")
    return training, held_out


def check_apart(training: Sequence[Files], held_out: Sequence[Files], pattern: str = SERIES_PATTERN) -> None:
    """Refuse to validate on images, or on other slices of series, that are trained on.

    Raises:
        TrainingError: an image or a series is on both sides.
    """
    both = sorted({path for files in training for path in files} & {path for files in held_out for path in files})
    if both:
        raise TrainingError(f"{both[0]} is in both the training and the validation list; validate on unseen images")
    validated = all_series(held_out, pattern)
    shared = [series for series in all_series(training, pattern) if series in validated]
    if shared:
        raise TrainingError(
            f"the series {shared[0]!r} is in both the training and the validation images; validate on series that are "
            "not trained on, or, if each image is a patient of its own, say so with --series-pattern '(.+)'"
        )
