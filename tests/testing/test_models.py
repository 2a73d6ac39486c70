"""The checks of models: good ones pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.broken import models, rules
from helpers.contracts import assert_said, spec_of

from fusekit import WeightsSpec
from fusekit.errors import UnknownNameError
from fusekit.testing import check_model
from fusekit.weights.store import save_weights


@pytest.mark.parametrize("model", [models.GoodFree, models.GoodJoint])
def test_good_models_have_no_findings(model: type) -> None:
    assert check_model(spec_of(model)) == []


def test_a_spec_is_forgotten_after_the_check() -> None:
    check_model(spec_of(models.GoodFree))
    with pytest.raises(UnknownNameError):
        check_model("checked")


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (models.ModelOfEvenSides, "AssertionError: even sides only"),
        (models.ModelInPlace, "changes its inputs"),
        (models.ModelOfOtherSize, "returned image of shape"),
        (models.ModelOfAnyRule, "takes the rule 'mean', and its spec has rule_policy 'joint'"),
        (models.ModelOfOneRule, "fails with the rule 'max': only the mean"),
        (models.ModelAcrossBatch, "gives other values for a batch of two"),
        (models.ModelOfMoreReach, "declares a reach of 2 pixels, and one pixel changes the result 3 away"),
        (models.ModelOfBlocks, "gives another image in tiles than as a whole"),
        (models.ModelOfAnotherForm, "gives other values in the form 'fast' than by its plain modules"),
        (models.ModelWithIdleParameter, "gives its parameter idle no gradient in training"),
        (models.ModelOfNumbers, "gives a training loss that is no scalar with gradients"),
        (models.ModelOfLiveTerms, "the training term 'near' as something else than a scalar without gradients"),
        (models.ModelOfTwoReconstructions, "gives another reconstruction by training_forward"),
        (models.ModelWithHiddenState, "is another one after its weights were saved and read"),
        (models.ModelWithMemory, "gives other results when two threads use it at once"),
        (models.ModelOfSingles, "fails in bfloat16: RuntimeError: not implemented for BFloat16"),
        (models.ModelThatCannotBeBuilt, "cannot be built with {}: no luck (to be built)"),
        (rules.GoodRule, "which is no fusekit.extend.FusionModel; derive it from one (to be built)"),
    ],
)
def test_broken_models_are_caught(model: type, fact: str) -> None:
    assert_said(check_model(spec_of(model)), "the model 'checked' of helpers", fact)


def test_facts_of_the_spec_that_are_not_true_are_caught() -> None:
    assert_said(
        check_model(spec_of(models.ModelOfAnyCount, n_sources=(2, 2))),
        "the model 'checked' of helpers",
        "fuses 3 sources, and its spec has n_sources (2, 2)",
    )
    assert check_model(spec_of(models.ModelOfEvenSides, multiple=2)) == []
    assert check_model(spec_of(models.ModelOfBlocks, multiple=2)) == []
    assert check_model(spec_of(models.ModelOfSingles), dtypes=("float32",)) == []
    assert check_model(spec_of(models.GoodJoint, n_sources=(2, 2), roles=("ct", "mri"))) == []


def test_weights_that_do_not_fit_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusekit.checks.models.find_bundled", lambda model, file: tmp_path / file)
    save_weights(models.GoodFree(width=3), tmp_path / "three.safetensors", {})
    save_weights(models.GoodFree(width=5), tmp_path / "five.safetensors", {})
    spec = spec_of(
        models.GoodFree, weights=(WeightsSpec("3", "three.safetensors"), WeightsSpec("5", "five.safetensors"))
    )
    findings = check_model(spec)
    assert_said(findings, "the model 'checked' of helpers", "fails to read its weights '5'")
    assert len(findings) == 1
