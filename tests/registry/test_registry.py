from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fusekit.errors import DuplicateNameError, MissingExtraError, PluginError, UnknownNameError
from fusekit.registry.discovery import Registries
from fusekit.registry.registry import Entry, Registry
from fusekit.registry.specs import ModelSpec, WeightsSpec, as_words, fits


@pytest.fixture
def rules() -> Registry:
    registry = Registry("fusion rule", ("shade",))
    register = registry.registrar("some-package")
    register("mean", "json:dumps", summary="a mean", citation="A paper", shade="blue")
    register("l1-local", "json:JSONDecoder.decode")
    register("ghost", "no_such_module_anywhere:Rule", summary="cannot be imported")
    return registry


def test_entries_are_listed_without_being_imported(rules: Registry) -> None:
    assert rules.names() == ["ghost", "l1-local", "mean"] == [entry.name for entry in rules]
    assert len(rules) == 3
    assert "ghost" in rules
    assert rules.entry("ghost").summary == "cannot be imported"


def test_an_entry_keeps_what_was_registered(rules: Registry) -> None:
    assert rules.entry("mean") == Entry("mean", "json:dumps", "a mean", "some-package", "A paper", {"shade": "blue"})


def test_loading_imports_the_target(rules: Registry) -> None:
    assert rules.load("mean") is json.dumps
    assert rules.load("l1-local") is json.JSONDecoder.decode


def test_a_target_that_cannot_be_imported_names_its_owner_and_the_cause(rules: Registry) -> None:
    with pytest.raises(PluginError, match=r"'ghost' of some-package .*ModuleNotFoundError.*no_such_module_anywhere"):
        rules.load("ghost")


@pytest.mark.parametrize(("extra", "remedy"), [("", "install it"), ("waves", r"pip install 'some-package\[waves\]'")])
def test_what_a_model_requires_is_named_before_the_import_fails(extra: str, remedy: str) -> None:
    registry = Registry("model")
    spec = ModelSpec("wave", "no_such_module:Wave", "a test", rule_policy="joint", requires=("json", "no_such"))
    registry.registrar("some-package")(replace(spec, extra=extra))
    with pytest.raises(
        MissingExtraError, match=f"the model 'wave' needs the package 'no_such', which is not installed; {remedy}$"
    ):
        registry.load("wave")


def test_a_target_without_its_attribute_names_its_owner(rules: Registry) -> None:
    rules.registrar("other-package")("typo", "json:dumpz")
    with pytest.raises(PluginError, match=r"'typo' of other-package .*AttributeError"):
        rules.load("typo")


def test_a_name_registered_twice_names_both_owners_and_stays_with_the_first(rules: Registry) -> None:
    with pytest.raises(DuplicateNameError, match=r"'mean' is registered by both some-package and other-package"):
        rules.registrar("other-package")("mean", "json:loads")
    assert rules.load("mean") is json.dumps


def test_a_near_miss_is_answered_with_the_nearest_names(rules: Registry) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown fusion rule 'meen'; did you mean 'mean'\?"):
        rules.entry("meen")
    with pytest.raises(UnknownNameError, match=r"did you mean 'l1-local'\?"):
        rules.load("l1_local")


def test_a_far_miss_is_answered_with_what_there_is(rules: Registry) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown fusion rule 'zzz'; known: ghost, l1-local, mean"):
        rules.entry("zzz")


def test_an_empty_registry_has_nothing_to_suggest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown metric 'psnr'$"):
        Registry("metric").entry("psnr")


@pytest.mark.parametrize("name", ["", "Mean", "l1_local", "-mean", "mean-", "a..b", "a b", "mean\n", "größe"])
def test_names_have_one_form(rules: Registry, name: str) -> None:
    with pytest.raises(PluginError, match="some-package registers a fusion rule named"):
        rules.registrar("some-package")(name, "json:dumps")


@pytest.mark.parametrize("name", ["a", "l1", "sfnn-mean", "ehdran.ct-mri", "3d"])
def test_names_of_that_form_are_taken(rules: Registry, name: str) -> None:
    rules.registrar("some-package")(name, "json:dumps")
    assert name in rules


@pytest.mark.parametrize("target", ["json.dumps", "json:", ":dumps", "json:dumps:more", "", json.dumps, None])
def test_targets_are_strings_of_module_and_attribute(rules: Registry, target: object) -> None:
    with pytest.raises(PluginError, match=r"give a string 'package\.module:attribute'"):
        rules.registrar("some-package")("new", target)
    assert "new" not in rules


def test_a_snapshot_can_be_gone_back_to(rules: Registry) -> None:
    before = rules.snapshot()
    rules.registrar("other-package")("new", "json:dumps")
    assert "new" not in before
    rules.restore(before)
    assert rules.names() == ["ghost", "l1-local", "mean"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "without a direction"),
        ({"direction": "up"}, "with the direction 'up'"),
        ({"direction": "lower", "optional": "no"}, "with optional='no'; give True or False"),
    ],
)
def test_a_metric_says_which_values_are_better(facts: dict[str, Any], said: str) -> None:
    metrics = Registries().metrics
    with pytest.raises(PluginError, match=f"some-package registers the metric 'new' {said}"):
        metrics.registrar("some-package")("new", "json:dumps", **facts)
    assert "new" not in metrics
    metrics.registrar("some-package")("new", "json:dumps", direction="lower", optional=True)
    assert metrics.entry("new").details == {"direction": "lower", "optional": True}


def test_a_keyword_that_the_kind_does_not_have_is_refused_with_the_nearest(rules: Registry) -> None:
    with pytest.raises(PluginError, match="with 'summery', which is no keyword; did you mean 'summary'"):
        rules.registrar("some-package")("new", "json:dumps", summery="a rule")
    assert "new" not in rules


@pytest.mark.parametrize(
    ("shown", "fitting"),
    [
        (("ct", "mri"), True),
        (("mri", "pet"), True),
        (("mri",), False),
        (("ct", "ct"), False),
        (("ct", "pet", "mri"), False),
        (("us", "mri"), False),
    ],
)
def test_weights_fit_any_of_several_modalities(shown: tuple[str, ...], fitting: bool) -> None:
    weights = WeightsSpec("both", "both.safetensors", modalities=("ct/pet", "mri"))
    assert fits(weights.modalities, shown) is fitting
    assert as_words(weights.modalities) == "CT/PET and MRI"
    spec = ModelSpec("a", "b:c", "", rule_policy="joint", weights=(WeightsSpec("other", "other.safetensors"), weights))
    assert spec.weights_for(shown) is spec.weights[fitting]


def test_each_of_several_modalities_has_its_own_name() -> None:
    with pytest.raises(PluginError, match="were trained on 'nm'; call it 'spect'"):
        WeightsSpec("both", "both.safetensors", modalities=("ct/nm", "mri"))
