"""The checks of networks with weights from elsewhere: good ones pass, and each broken one is caught by a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from helpers.broken import networks
from helpers.broken.models import GoodJoint
from helpers.contracts import assert_said, registered_model, spec_of
from torch import Tensor

from fusekit.extend import FusionModel
from fusekit.testing import check_conversion, check_forms, check_short_training, check_use

ROLES: dict[str, Any] = {"n_sources": (2, 2), "roles": ("mri", "ct/pet")}


def built(model: type[FusionModel], **facts: Any) -> FusionModel:
    torch.manual_seed(0)
    network = model()
    network.spec = spec_of(model, **facts)
    return network.eval()


@pytest.mark.parametrize("model", [networks.Good, networks.GoodPair])
def test_good_forms_have_no_findings(model: type[FusionModel]) -> None:
    network = built(model)
    assert check_forms(network) == []
    assert (network.asked_form, network.dtype, network.training) == ("plain", torch.float32, False)


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (networks.OfOtherFeatures, "gives other features in the form 'composed' than by its plain modules, by "),
        (networks.OfOtherImages, "gives other reconstructions in the form 'composed' than by its plain modules, by "),
        (networks.PairOfOtherForm, "gives other fused images in the form 'composed' than by its plain modules, by "),
        (networks.OfRoundedFeatures, "by its plain modules, by "),
        (networks.WithoutGradients, "gives its parameters no gradients in the form 'composed'"),
        (networks.ComposedInTraining, "runs the form 'composed' in training mode"),
        (networks.NeverComposed, "runs the form 'plain' where 'composed' is asked for"),
        (networks.OfHalves, "gives another image in bfloat16 in the form 'composed' than in float32"),
        (GoodJoint, "has no form but its plain modules"),
    ],
)
def test_broken_forms_are_caught(model: type[FusionModel], fact: str) -> None:
    assert_said(check_forms(built(model)), "the model 'checked'", fact)


def published(network: FusionModel) -> Mapping[str, Tensor]:
    return {f"net_{key}": value for key, value in network.state_dict().items()}


def test_a_good_conversion_has_no_findings() -> None:
    with registered_model(networks.Good) as spec:
        network = built(networks.Good)
        network.spec = spec
        assert check_conversion(network, published(network)) == []


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (networks.ConvertedTransposed, "fuses another image by the converted checkpoint"),
        (networks.ConvertedTwice, "renames keys that are its own"),
        (networks.NotConverted, "to be converted"),
    ],
)
def test_broken_conversions_are_caught(model: type[FusionModel], fact: str) -> None:
    with registered_model(model) as spec:
        network = built(model)
        network.spec = spec
        assert_said(check_conversion(network, published(network)), "the model 'checked'", fact)


def test_a_good_training_has_no_findings() -> None:
    with registered_model(networks.Good):
        assert check_short_training("checked", rate=0.02) == []
    with registered_model(networks.GoodPair):
        assert check_short_training("checked", steps=2, terms=["near"]) == []


def test_broken_trainings_are_caught() -> None:
    with registered_model(networks.ThatLearnsNothing):
        assert_said(check_short_training("checked"), "the model 'checked'", "after 20 steps of training and of ")
    with registered_model(networks.GoodPair):
        assert_said(check_short_training("checked", 2, terms=["far"]), "the model 'checked'", "logs no far in training")


def test_a_good_model_is_used_without_findings() -> None:
    with registered_model(networks.Good) as spec:
        assert check_use(built(networks.Good)) == []
        assert spec.id == "checked"
    with registered_model(networks.Ordered, **ROLES, tiling="whole"):
        assert check_use(built(networks.Ordered, **ROLES, tiling="whole")) == []


@pytest.mark.parametrize(
    ("model", "facts", "fact"),
    [
        (networks.PairWithoutOrder, ROLES, "fuses the same image whatever its roles"),
        (networks.PairOfEightBits, {}, "in steps of 8 bits of 16 bits"),
        (networks.PairOfAnyRule, {}, "takes the rule 'mean'; it should be refused"),
    ],
)
def test_broken_uses_are_caught(model: type[FusionModel], facts: dict[str, Any], fact: str) -> None:
    with registered_model(model, **facts):
        assert_said(check_use(built(model, **facts)), "the model 'checked'", fact)
