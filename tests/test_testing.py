"""The checks for plugin authors: good components pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from helpers import broken

import fusekit.testing
from fusekit import ModelSpec, WeightsSpec
from fusekit.errors import UnknownNameError
from fusekit.registry.discovery import registries
from fusekit.testing import (
    assert_no_findings,
    check_command,
    check_decoder,
    check_edge_operator,
    check_encoder,
    check_executor,
    check_metric,
    check_model,
    check_rule,
)
from fusekit.weights.store import save_weights


def said(findings: list[str], called: str, fact: str) -> None:
    """Assert that the findings name a component, and that one of them says what is wrong."""
    assert findings, f"{called} passes"
    assert all(called in each for each in findings), findings
    assert any(fact in each for each in findings), findings


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_a_good_metric_has_no_findings() -> None:
    with broken.registered("metrics", broken.GoodMetric, direction="lower") as name:
        assert check_metric(name) == []


@pytest.mark.parametrize(
    ("metric", "fact"),
    [
        (broken.MetricInPlace, "changes its inputs"),
        (broken.MetricOfBatch, "one value an image is wanted"),
        (broken.MetricAcrossBatch, "gives other values for a batch of three"),
        (broken.MetricOfNaN, "gives NaN for 1 sources of 2×2 pixels"),
        (broken.MetricOutOfRange, "has the range 0 to 1, and gives"),
        (broken.MetricOfSum, "says that it is the sum over the sources, and is not"),
        (broken.MetricWithoutRange, "has the range None"),
        (broken.MetricOfMedian, "has combine 'median'; as a SourceMetric it has mean or sum"),
        (broken.MetricWithoutTwins, "does not say its look_alikes"),
        (broken.MetricOfSingles, "in float32 than in float64"),
        (broken.MetricOfAnything, "takes images of three channels; refuse them with InputError"),
        (broken.MetricOfTwo, "fails with 1, 2 and 3 sources: ZeroDivisionError: three"),
        (broken.MetricOfOrder, "gives another value when the same sources come in another order"),
        (broken.MetricOfShares, "gives a source another value beside others than alone"),
        (broken.MetricOfNoKind, "derives from none of the kinds of metric"),
        (broken.MetricOfFusedAndSources, "looks at the fused image only, and gives values of sources"),
        (broken.MetricOfMany, "takes 3 sources, more than its max_sources"),
        (broken.GoodRule, "is not a fusekit.extend.Metric"),
    ],
)
def test_broken_metrics_are_caught(metric: type, fact: str) -> None:
    with broken.registered("metrics", metric, direction="lower") as name:
        said(check_metric(name), f"the metric '{name}' of a-test", fact)


def test_a_metric_may_depend_on_the_order_by_its_definition() -> None:
    assert check_metric("qc.liu", ordered=True) == []
    said(check_metric("qc.liu"), "the metric 'qc.liu' of fusekit-imaging", "come in another order")


def test_a_metric_of_the_wrong_direction_is_caught() -> None:
    with broken.registered("metrics", broken.GoodMetric, direction="higher") as name:
        said(check_metric(name), name, "is registered as direction='higher', and rates a copy of the source by 0")


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [broken.GoodRule, broken.GoodWeights])
def test_good_rules_have_no_findings(rule: type) -> None:
    with broken.registered("fusion_rules", rule) as name:
        assert check_rule(name) == []


@pytest.mark.parametrize(
    ("rule", "fact"),
    [
        (broken.RuleInPlace, "changes its inputs"),
        (broken.RuleOfOtherShape, "returned fused features of shape"),
        (broken.RuleOfTensor, "returned a tensor"),
        (broken.RuleOfNothing, "not finite for features of zeros"),
        (broken.RuleAcrossBatch, "gives other values for a batch of two"),
        (broken.RuleOfSingles, "returned fused features of float32; bfloat16 is wanted"),
        (broken.RuleOfMoreReach, "declares a reach of 0 pixels, and one pixel changes the result 1 away"),
        (broken.RuleOfWrongSurvey, "gives other values in tiles than as a whole"),
        (broken.RuleOfFarSurvey, "has a survey that reaches 0 pixels and gives a rule that reaches 5"),
        (broken.RuleOfOtherWeights, "weighs otherwise by weigh(features) than by apply(features)"),
        (broken.RuleOfWeightsAside, "is not what it returns"),
        (broken.RuleWithMemory, "gives other results when two threads use it at once"),
        (broken.RuleOfReports, "has a report that JSON cannot hold"),
        (broken.RuleOfTwo, "fails for 3 sources with features of 24×20 pixels: ValueError"),
    ],
)
def test_broken_rules_are_caught(rule: type, fact: str) -> None:
    with broken.registered("fusion_rules", rule) as name:
        said(check_rule(name), f"the fusion rule '{name}' of a-test", fact)


def test_a_rule_of_two_sources_is_checked_with_two() -> None:
    with broken.registered("fusion_rules", broken.RuleOfTwo) as name:
        assert check_rule(name, counts=(2,)) == []


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [broken.GoodEncoder, broken.LevelsEncoder])
def test_good_encoders_have_no_findings(encoder: type) -> None:
    with broken.registered("encoders", encoder) as name:
        assert check_encoder(name) == []


@pytest.mark.parametrize(
    ("encoder", "fact"),
    [
        (broken.EncoderOfReach, "leave the reach None where sizes differ"),
        (broken.EncoderOfLevels, "says channels = (4, 4), and its levels have [4, 8]"),
        (broken.EncoderWithoutChannels, "does not say how many channels its features have"),
        (broken.EncoderWithoutEdge, "does not show its edge operator"),
        (broken.EncoderOfOtherChannels, "returned 3 channels"),
        (broken.EncoderInPlace, "changes its inputs"),
        (broken.EncoderAcrossBatch, "gives other values for a batch of two"),
        (broken.EncoderOfMoreReach, "declares a reach of 1 pixels, and one pixel changes the result 2 away"),
        (broken.EncoderOfSingles, "answers bfloat16 with torch.float32"),
        (broken.EncoderWithIdleParameter, "gives its parameter idle no gradient in training"),
        (broken.EncoderWithHiddenState, "is another one after its weights were saved and read"),
        (broken.EncoderOfEvenSides, "fails for 17×23 pixels: AssertionError: even sides only"),
        (broken.EncoderOfOneEdge, "fails when it is built with edge='none'"),
    ],
)
def test_broken_encoders_are_caught(encoder: type, fact: str) -> None:
    with broken.registered("encoders", encoder) as name:
        said(check_encoder(name), f"the encoder '{name}' of a-test", fact)


def test_a_decoder_of_several_levels_is_checked_behind_its_encoder() -> None:
    with (
        broken.registered("encoders", broken.LevelsEncoder) as encoder,
        broken.registered("decoders", broken.LevelsDecoder) as decoder,
    ):
        assert check_decoder(decoder, encoder=encoder) == []
        said(check_decoder(decoder), f"the decoder '{decoder}' of a-test", "when it is built with channels=8")


def test_broken_decoders_are_caught() -> None:
    with broken.registered("decoders", broken.DecoderOfEight) as name:
        assert check_decoder(name) == []
        said(check_decoder(name, channels=4), f"the decoder '{name}' of a-test", "expected input")
    with broken.registered("decoders", broken.DecoderOfMorePixels) as name:
        said(check_decoder(name), f"the decoder '{name}' of a-test", "returned image of shape")


@pytest.mark.parametrize(
    ("edge", "fact"),
    [
        (broken.EdgeOfConstants, "says ignores_constants, and its answer"),
        (broken.EdgeOfOtherShape, "returned edges of shape"),
    ],
)
def test_broken_edge_operators_are_caught(edge: type, fact: str) -> None:
    with broken.registered("edge_operators", edge) as name:
        said(check_edge_operator(name), f"the edge operator '{name}' of a-test", fact)


# --- models -----------------------------------------------------------------------------------------------------------


def spec_of(model: type, **facts: Any) -> ModelSpec:
    joint = issubclass(model, broken.GoodJoint)
    policy: dict[str, Any] = {"rule_policy": "joint"} if joint else {"default_rule": "mean"}
    return ModelSpec("checked", f"{broken.__name__}:{model.__name__}", "a test", **{**policy, **facts})


@pytest.mark.parametrize("model", [broken.GoodFree, broken.GoodJoint])
def test_good_models_have_no_findings(model: type) -> None:
    assert check_model(spec_of(model)) == []


def test_a_spec_is_forgotten_after_the_check() -> None:
    check_model(spec_of(broken.GoodFree))
    with pytest.raises(UnknownNameError):
        check_model("checked")


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        (broken.ModelOfEvenSides, "AssertionError: even sides only"),
        (broken.ModelInPlace, "changes its inputs"),
        (broken.ModelOfOtherSize, "returned image of shape"),
        (broken.ModelOfAnyRule, "takes the rule 'mean', and its spec has rule_policy 'joint'"),
        (broken.ModelOfOneRule, "fails with the rule 'max': only the mean"),
        (broken.ModelAcrossBatch, "gives other values for a batch of two"),
        (broken.ModelOfMoreReach, "declares a reach of 2 pixels, and one pixel changes the result 3 away"),
        (broken.ModelOfBlocks, "gives another image in tiles than as a whole"),
        (broken.ModelOfAnotherForm, "gives other values in the form 'fast' than by its plain modules"),
        (broken.ModelWithIdleParameter, "gives its parameter idle no gradient in training"),
        (broken.ModelOfNumbers, "gives a training loss that is no scalar with gradients"),
        (broken.ModelOfLiveTerms, "the training term 'near' as something else than a scalar without gradients"),
        (broken.ModelOfTwoReconstructions, "gives another reconstruction by training_forward"),
        (broken.ModelWithHiddenState, "is another one after its weights were saved and read"),
        (broken.ModelWithMemory, "gives other results when two threads use it at once"),
        (broken.ModelOfSingles, "fails in bfloat16: RuntimeError: not implemented for BFloat16"),
        (broken.ModelThatCannotBeBuilt, "fails to be built: "),
        (broken.GoodRule, "fails to be built: "),
    ],
)
def test_broken_models_are_caught(model: type, fact: str) -> None:
    said(check_model(spec_of(model)), "the model 'checked' of helpers", fact)


def test_facts_of_the_spec_that_are_not_true_are_caught() -> None:
    said(
        check_model(spec_of(broken.ModelOfAnyCount, n_sources=(2, 2))),
        "the model 'checked' of helpers",
        "fuses 3 sources, and its spec has n_sources (2, 2)",
    )
    assert check_model(spec_of(broken.ModelOfEvenSides, multiple=2)) == []
    assert check_model(spec_of(broken.ModelOfBlocks, multiple=2)) == []
    assert check_model(spec_of(broken.ModelOfSingles), dtypes=("float32",)) == []
    assert check_model(spec_of(broken.GoodJoint, n_sources=(2, 2), roles=("ct", "mri"))) == []


def test_weights_that_do_not_fit_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fusekit.checks.models.find_bundled", lambda model, file: tmp_path / file)
    save_weights(broken.GoodFree(width=3), tmp_path / "three.safetensors", {})
    save_weights(broken.GoodFree(width=5), tmp_path / "five.safetensors", {})
    spec = spec_of(
        broken.GoodFree, weights=(WeightsSpec("3", "three.safetensors"), WeightsSpec("5", "five.safetensors"))
    )
    findings = check_model(spec)
    said(findings, "the model 'checked' of helpers", "fails to read its weights '5'")
    assert len(findings) == 1


# --- executors, commands, the door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("executor", "fact"),
    [
        (broken.ExecutorWithoutReports, "reports 0 of 6 cases; report each once"),
        (broken.ExecutorThatKnowsBetter, "says 'skipped' of a case, and work.fuse_case 'failed'"),
        (broken.ExecutorThatGoesOn, "goes on after an interruption"),
        (broken.ExecutorOfOthers, "reports from other threads than the one that called run"),
        (broken.ExecutorOfOtherFiles, "writes another file than work.fuse_case"),
        (broken.GoodMetric, "is not a fusekit.extend.Executor"),
    ],
)
def test_broken_executors_are_caught(executor: type, fact: str) -> None:
    with broken.registered("executors", executor) as name:
        said(check_executor(name), f"the executor '{name}' of a-test", fact)


def test_a_good_executor_has_no_findings() -> None:
    with broken.registered("executors", broken.GoodExecutor) as name:
        assert check_executor(name) == []


@pytest.mark.parametrize(
    ("command", "fact"),
    [
        (broken.command_without_help, "does not say what"),
        (broken.command_without_help, "has the option --size without help"),
        (broken.command_that_fails, "cannot show its help"),
        (broken.no_command, "is no click command but of type function"),
    ],
)
def test_broken_commands_are_caught(command: click.Command, fact: str) -> None:
    with broken.registered("commands", command, summary="a test") as name:
        said(check_command(name), f"the command '{name}' of a-test", fact)


def test_a_good_command_has_no_findings() -> None:
    with broken.registered("commands", broken.good_command, summary="a test") as name:
        assert check_command(name) == []
    with broken.registered("commands", broken.good_command) as name:
        said(check_command(name), name, "is registered without a summary")


def test_findings_become_one_assertion() -> None:
    assert_no_findings([])
    with pytest.raises(AssertionError, match=r"is not kept:\n- one\n- two"):
        assert_no_findings(["one", "two"])


def test_all_of_the_door_is_documented_and_needs_no_pytest() -> None:
    for name in fusekit.testing.__all__:
        assert getattr(fusekit.testing, name).__doc__
    code = "import fusekit.testing, sys; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checks_leave_the_random_state_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    check_model(spec_of(broken.GoodFree))
    check_rule("mean")
    check_metric("mse")
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("name", registries().executors.names())
def test_the_executors_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_executor(name))


@pytest.mark.parametrize("name", registries().commands.names())
def test_the_commands_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_command(name))
