"""Which series (patient) an image belongs to, so that no patient is trained on and validated on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fusekit.cases.case import Case
from fusekit.errors import InputError, OptionError, TrainingError

#: A file name without extension is its series, perhaps ``_`` or ``-``, and three digits of slice.
SERIES_PATTERN = r"(.+?)[_-]?\d{3}"


@dataclass(frozen=True)
class Split:
    """Which cases something is fitted on, chosen by, and tested on.

    Attributes:
        train: names of cases.
        test: names of cases, of other series.
        validation: names of cases to choose by, of other series than either.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def check(self, cases: Iterable[Case]) -> None:
        """Check that the split is one of these cases, and that no series is on two sides.

        Raises:
            InputError: there is nothing to test on, no such case, or a series on two sides.
        """
        if not self.test:
            raise InputError("the split has no case to test on; name some under test")
        series = {case.name: case.series for case in cases}
        seen: dict[str, tuple[str, str]] = {}
        for side in ("train", "validation", "test"):
            for name in getattr(self, side):
                if name not in series:
                    raise InputError(f"the split names {name!r} under {side}, which is none of the cases; leave it out")
                other, its_side = seen.setdefault(series[name], (name, side))
                if its_side != side:
                    raise InputError(
                        f"the series {series[name]!r} is on two sides of the split, {other!r} under {its_side} and "
                        f"{name!r} under {side}; keep a patient on one side, or figures would be of what was fitted on"
                    )


def series_of(name: str, pattern: str = SERIES_PATTERN, *, whose: str = "") -> str:
    """Return the series (patient) of an image: group 1 of ``pattern``, which the whole name must match.

    Args:
        name: file name without extension.
        pattern: regular expression with a group around the series.
        whose: what promises names of this form, for messages, such as ``the dataset 'ct-mri'``; where nothing does, an
            image whose name has another form is a series of its own.

    Raises:
        OptionError: the pattern is not a regular expression with a group.
        InputError: the name has not the form that was promised.
    """
    try:
        found = re.fullmatch(pattern, name)
        if found is not None:
            return str(found.group(1))
    except (re.error, IndexError) as error:
        raise OptionError(
            f"the series pattern {pattern!r} is not a regular expression with one group around the series: {error}"
        ) from error
    if whose:
        raise InputError(f"the image name {name!r} of {whose} has not the form {pattern!r}")
    return name


def all_series(cases: Iterable[Case]) -> list[str]:
    """Return the series of all cases, each once, sorted by length and name so that ``2`` stands before ``10``."""
    return sorted({case.series for case in cases}, key=lambda series: (len(series), series))


def series_to_hold_out(cases: Sequence[Case]) -> str | None:
    """Return the series whose images are nearest to a tenth of all, of equals the first.

    ``None`` where names do not tell series, since each name is one of its own, or where what would be held out is more
    than a third.
    """
    known = all_series(cases)
    if len(known) < 2 or len(known) == len({case.name for case in cases}):
        return None
    shares = {series: sum(case.series == series for case in cases) / len(cases) for series in known}
    nearest = min(known, key=lambda series: abs(shares[series] - 0.1))
    return nearest if shares[nearest] <= 1 / 3 else None


def hold_out(cases: Sequence[Case], series: Sequence[str]) -> tuple[list[Case], list[Case]]:
    """Split cases into those to train on and those of ``series``, to validate on.

    Raises:
        TrainingError: no case is of one of the series, or none is left to train on.
    """
    known = all_series(cases)
    unknown = [each for each in series if each not in known]
    if unknown:
        raise TrainingError(f"no image is of the series {unknown[0]!r} to validate on; series: {', '.join(known)}")
    held_out = [case for case in cases if case.series in series]
    training = [case for case in cases if case.series not in series]
    if not training:
        raise TrainingError("all series are held out for validation; leave some to train on")
    return training, held_out


def check_apart(training: Sequence[Case], held_out: Sequence[Case]) -> None:
    """Refuse to validate on images, or on other slices of series, that are trained on.

    Raises:
        TrainingError: an image or a series is on both sides.
    """
    both = sorted(
        {path for case in training for path in case.files} & {path for case in held_out for path in case.files}
    )
    if both:
        raise TrainingError(f"{both[0]} is in both the training and the validation list; validate on unseen images")
    validated = all_series(held_out)
    shared = [series for series in all_series(training) if series in validated]
    if shared:
        raise TrainingError(
            f"the series {shared[0]!r} is in both the training and the validation images; validate on series that are "
            "not trained on, or, if each image is a patient of its own, say so with --series-pattern '(.+)'"
        )
