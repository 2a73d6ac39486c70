"""Downstream tasks: how well fused images serve what is done with them, such as telling tumours apart.

A task is registered by the hook ``register_tasks`` and run by `run_task`, which checks what goes in and comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

from fusekit.cases.case import Case
from fusekit.cases.splits import Split
from fusekit.errors import InputError
from fusekit.registry.contract import Component, calling, fault, registered
from fusekit.registry.discovery import registries


class Score(NamedTuple):
    """One figure.

    Attributes:
        value: over the test cases, in the unit that the task names.
        low, high: of its confidence interval, which holds the value.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """What a task says of fused images.

    Attributes:
        figures: by name, such as ``accuracy`` or ``auc``.
        confidence: of the intervals, between 0 and 1; they are best drawn over series, not over slices of one patient.
        notes: what a reader must know, such as how the intervals were drawn.
    """

    figures: Mapping[str, Score]
    confidence: float = 0.95
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the scores as JSON-able data."""
        return {
            "figures": {name: score._asdict() for name, score in self.figures.items()},
            "confidence": self.confidence,
            "notes": list(self.notes),
        }


class Task:
    """A downstream task; subclasses take no arguments and define `evaluate`."""

    def evaluate(self, cases: Sequence[Case], labels: Mapping[str, Any], split: Split) -> Scores:
        """Fit on the fused images of ``split.train``, choose by ``split.validation``, and test on ``split.test``.

        Args:
            cases: those of the split; ``case.target`` is the fused image, which is there, ``case.files`` its sources.
            labels: by name of case, what the task is to find: a class, a number, or the path of a mask.
            split: names of cases; no series is on two sides.

        Returns:
            figures over the test cases, with confidence intervals.

        Raises:
            InputError: labels or images are not what the task takes.
        """
        raise NotImplementedError(f"{type(self).__name__} must define evaluate(cases, labels, split)")


def run_task(name: str, cases: Sequence[Case], labels: Mapping[str, Any], split: Split) -> Scores:
    """Let the task called ``name`` judge fused images.

    Args:
        name: of a registered task.
        cases: fused, each with its output; those that the split does not name are left out.
        labels: by name of case.
        split: names of cases.

    Returns:
        the scores, whose numbers are plain floats.

    Raises:
        UnknownNameError: there is no such task.
        InputError: the split is none of these cases, a series is on two sides, or a label or a fused image is missing.
        PluginError: the task failed, or did not return such scores; the message names plugin and task.
    """
    component = registered(registries().tasks, name)
    split.check(cases)
    named = {*split.train, *split.validation, *split.test}
    chosen = [case for case in cases if case.name in named]
    _check_cases(chosen, labels)
    with calling(component):
        task = registries().tasks.load(name)()
        if not isinstance(task, Task):
            raise fault(component, "is not a fusekit.extend.Task", "derive it from one")
        scores = task.evaluate(chosen, labels, split)
    return _checked(component, scores)


def _check_cases(cases: Sequence[Case], labels: Mapping[str, Any]) -> None:
    """Raise `InputError` where two cases have one name, or one has no label or no fused image."""
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise InputError(f"two cases are called {case.name!r}; a task tells them apart by their names")
        seen.add(case.name)
        if case.name not in labels:
            raise InputError(f"there is no label for {case.name!r}; add it, or leave the case out of the split")
        if not case.target.is_file():
            raise InputError(f"there is no fused image {case.target} of {case.name!r}; fuse it first")


def _checked(component: Component, scores: Any) -> Scores:
    """Return scores of plain floats, or raise what is wrong with them."""
    if not isinstance(scores, Scores):
        raise fault(component, f"returns {type(scores).__name__}", "return fusekit.extend.Scores")
    if not isinstance(scores.figures, Mapping) or not scores.figures:
        raise fault(component, "returns no figure", "return Scores({name: Score(value, low, high)})")
    if not _is_number(scores.confidence) or not 0 < scores.confidence < 1:
        raise fault(component, f"returns the confidence {scores.confidence!r}", "give one between 0 and 1")
    notes: Any = scores.notes
    if isinstance(notes, str) or not all(isinstance(note, str) for note in notes):
        raise fault(component, f"returns the notes {scores.notes!r}", "give a tuple of sentences")
    figures = {name: _checked_score(component, name, score) for name, score in scores.figures.items()}
    return Scores(figures, float(scores.confidence), tuple(scores.notes))


def _checked_score(component: Component, name: Any, score: Any) -> Score:
    if not isinstance(name, str) or not name:
        raise fault(component, f"names a figure {name!r}", "give it a name")
    if not isinstance(score, Score) or not all(map(_is_number, score)):
        raise fault(component, f"says {score!r} of {name!r}", "say Score(value, low, high) in finite numbers")
    found = Score(*map(float, score))
    if not found.low <= found.value <= found.high:
        raise fault(component, f"says {found!r} of {name!r}", "give an interval that holds the value")
    return found


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
