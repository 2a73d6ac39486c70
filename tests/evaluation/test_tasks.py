"""The contract of downstream tasks, with a small one that tells bright images from dark ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusekit.cases.case import Case
from fusekit.cases.splits import Split, series_of
from fusekit.errors import InputError, PluginError, UnknownNameError
from fusekit.evaluation.tasks import Score, Scores, Task, run_task
from fusekit.images.files import read_image, write_image
from fusekit.images.image import from_pixels
from fusekit.listing import list_tasks
from fusekit.registry.discovery import registries

SPLIT = Split(train=("1000", "1001", "2000"), test=("3000", "3001"))
LABELS = {"1000": "dark", "1001": "dark", "2000": "bright", "3000": "dark", "3001": "bright"}


class Brightness(Task):
    """Tells the bright from the dark by a threshold between the training images' means."""

    def evaluate(self, cases: Sequence[Case], labels: Mapping[str, Any], split: Split) -> Scores:
        assert [case.name for case in cases] == ["1000", "1001", "2000", "3000", "3001"]
        means = {case.name: float(read_image(case.target).pixels.mean()) for case in cases}
        threshold = np.mean(
            [np.mean([means[name] for name in split.train if labels[name] == label]) for label in ("dark", "bright")]
        )
        right = [(means[name] > threshold) == (labels[name] == "bright") for name in split.test]
        accuracy = np.float32(np.mean(right))
        low = max(0.0, float(accuracy) - 1.96 * math.sqrt(0.25 / len(right)))
        return Scores({"accuracy": Score(accuracy, low, 1)}, notes=("by Wald's formula",))


class Odd(Task):
    """Says what the test wants it to say."""

    says: Any = None

    def evaluate(self, *_: Any) -> Any:
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type], None]]:
    """Register a class as the task ``odd`` of the distribution ``strange`` for the time of a test."""
    registry = registries().tasks
    before = registry.snapshot()

    def add(task: type) -> None:
        registry.registrar("strange")("odd", f"{task.__module__}:{task.__name__}", summary="a small one")
        monkeypatch.setattr(registry, "load", {"odd": task}.__getitem__)

    yield add
    registry.restore(before)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Return fused cases, and one that is not and that no split names."""
    for name, label in LABELS.items():
        level = 200 if label == "bright" else 30
        write_image(tmp_path / f"{name}.png", from_pixels(np.full((8, 8), level + int(name[-1]), np.uint8)))
    return [
        Case(name, (Path("ct.png"), Path("mri.png")), ("ct", "mri"), series_of(name), tmp_path / f"{name}.png")
        for name in (*LABELS, "9000")
    ]


def test_a_small_task(register: Callable[[type], None], cases: list[Case]) -> None:
    register(Brightness)
    assert [row["name"] for row in list_tasks()] == ["odd"]
    scores = run_task("odd", cases, LABELS, SPLIT)
    assert json.loads(json.dumps(scores.as_dict())) == {
        "figures": {"accuracy": {"value": 1.0, "low": pytest.approx(0.307, abs=1e-3), "high": 1.0}},
        "confidence": 0.95,
        "notes": ["by Wald's formula"],
    }
    with pytest.raises(UnknownNameError, match="unknown task 'brightness'"):
        run_task("brightness", cases, LABELS, SPLIT)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(("1000",), ()), "has no case to test on"),
        (Split(("1000",), ("4000",)), "names '4000' under test, which is none of the cases"),
        (Split(("1000",), ("3000",), ("1001",)), "the series '1' is on two sides of the split, '1000' under train and"),
        (Split(("1000",), ("9000",)), "there is no label for '9000'"),
    ],
)
def test_a_split_that_leaks_or_lacks_is_refused(
    register: Callable[[type], None], cases: list[Case], split: Split, message: str
) -> None:
    register(Brightness)
    with pytest.raises(InputError, match=message):
        run_task("odd", cases, LABELS, split)


def test_cases_are_fused_and_have_names_of_their_own(register: Callable[[type], None], cases: list[Case]) -> None:
    register(Brightness)
    split = Split(("1000",), ("9000",))
    with pytest.raises(InputError, match=r"there is no fused image .*9000\.png of '9000'; fuse it first"):
        run_task("odd", cases, {**LABELS, "9000": "dark"}, split)
    with pytest.raises(InputError, match="two cases are called '1000'"):
        run_task("odd", [*cases, cases[0]], LABELS, SPLIT)
    with pytest.raises(InputError, match="states no output"):
        run_task("odd", [replace(case, output=None) for case in cases], LABELS, SPLIT)


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"accuracy": 0.5}, "returns dict; return fusekit.extend.Scores"),
        (Scores({}), "returns no figure"),
        (Scores({"auc": 0.5}), "says 0.5 of 'auc'; say Score(value, low, high) in finite numbers"),  # type: ignore[dict-item]
        (Scores({"auc": Score(math.nan, 0, 1)}), "says Score(value=nan, low=0, high=1) of 'auc'"),
        (Scores({"auc": Score(0.5, 0.6, 1)}), "says Score(value=0.5, low=0.6, high=1.0) of 'auc'; give an interval"),
        (Scores({"": Score(0.5, 0, 1)}), "names a figure ''"),
        (Scores({"auc": Score(0.5, 0, 1)}, 95), "returns the confidence 95; give one between 0 and 1"),
        (Scores({"auc": Score(0.5, 0, 1)}, notes="one"), "returns the notes 'one'"),  # type: ignore[arg-type]
        (ZeroDivisionError("oh"), "failed: ZeroDivisionError: oh"),
    ],
)
def test_what_a_task_says_is_checked(
    register: Callable[[type], None],
    monkeypatch: pytest.MonkeyPatch,
    cases: list[Case],
    says: Any,
    message: str,
) -> None:
    register(Odd)
    monkeypatch.setattr(Odd, "says", says)
    with pytest.raises(PluginError) as caught:
        run_task("odd", cases, LABELS, SPLIT)
    assert str(caught.value).startswith(f"the task 'odd' of strange {message}")


def test_what_is_no_task_is_refused(register: Callable[[type], None], cases: list[Case]) -> None:
    register(dict)
    with pytest.raises(PluginError, match=r"the task 'odd' of strange is not a fusekit\.extend\.Task"):
        run_task("odd", cases, LABELS, SPLIT)
