"""The checks for plugin authors: good components pass, and each broken one is caught by a finding that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from helpers import broken, broken_files
from PIL import Image as Pillow

import fusekit.testing
from fusekit import ModelSpec, WeightsSpec
from fusekit.errors import UnknownNameError
from fusekit.extend import Grid, Image
from fusekit.registry.discovery import registries
from fusekit.testing import (
    assert_no_findings,
    check_aligner,
    check_command,
    check_decoder,
    check_edge_operator,
    check_encoder,
    check_executor,
    check_format,
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


# --- formats and aligners ---------------------------------------------------------------------------------------------


@pytest.fixture
def toys(tmp_path: Path) -> list[Path]:
    """Return a grey picture, one in colour and a volume of the toy format, with a spacing."""
    paths = []
    for number, shape in enumerate(((9, 8), (9, 8, 3), (5, 9, 8))):
        axes = ("slice", "row", "column") if number == 2 else ("row", "column")
        grid = Grid(shape[:2] if number == 1 else shape, (0.5,) * len(axes), axes=axes)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        paths.append(tmp_path / f"{number}.toy")
        paths[-1].write_bytes(broken_files.GoodFormat().encode(Image(pixels, number == 1, grid), ".toy"))
    return paths


def test_a_good_format_has_no_findings(toys: list[Path]) -> None:
    with broken.registered("formats", broken_files.GoodFormat, extensions=(".toy",)) as name:
        assert check_format(name, toys) == []


@pytest.mark.parametrize(
    ("format_class", "fact"),
    [
        (broken_files.FormatOfAnyFile, "takes a file for its own that begins b'no image"),
        (broken_files.FormatOfAnyFile, "takes an empty folder for one of its series"),
        (broken_files.FormatWithoutOrigin, "reads 0.toy without its origin"),
        (broken_files.FormatOfRests, "reads 0.toy though it was cut short"),
        (broken_files.FormatThatFails, "fails at what is left of 0.toy by EOFError"),
        (broken_files.FormatWithoutNames, "refuses what is left of 0.toy without naming the file"),
        (broken_files.FormatOfOtherValues, "gives back other values of a grey uint8 image of 2 axes in .toy files"),
        (broken_files.FormatOfText, "encodes a grey uint8 image of 2 axes as str; encode returns bytes"),
        (broken_files.FormatInPlace, "changes the image that it writes"),
        (broken_files.FormatOfEightBits, "does not refuse a grey uint16 image of 2 axes in .toy files"),
        (broken_files.FormatOfOtherGrids, "writes 0.toy so that another image comes back: spacing"),
        (broken_files.FormatOfGrey, "reads 1.toy in colour, and says that its files have none"),
        (broken_files.FormatOfPictures, "reads 0.toy with 2 axes, and says that its files have (3,)"),
        (broken_files.FormatOfArrays, "reads 0.toy as ndarray"),
        (broken.GoodMetric, "is no fusekit.extend.Format"),
    ],
)
def test_broken_formats_are_caught(format_class: type, fact: str, toys: list[Path]) -> None:
    with broken.registered("formats", format_class, extensions=(".toy",)) as name:
        said(check_format(name, toys), f"the format '{name}' of a-test", fact)


def test_files_and_extensions_that_are_not_the_formats_are_caught(toys: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other.toy").write_bytes(b"other")
    with broken.registered("formats", broken_files.GoodFormat, extensions=(".toy",)) as name:
        said(check_format(name, [tmp_path / "other.toy"]), name, "does not take other.toy for one of its files")
    with broken.registered("formats", broken_files.GoodFormat, extensions=("TOY",)) as name:
        said(check_format(name, toys), name, "is registered with extensions=('TOY',)")


def test_the_built_in_format_keeps_the_contract(tmp_path: Path) -> None:
    paths = [tmp_path / f"{mode}.{extension}" for mode in ("L", "RGB") for extension in ("png", "tif", "jpg", "bmp")]
    for path in paths:
        Pillow.linear_gradient("L").convert(path.stem).save(path)
    assert_no_findings(check_format("raster", paths))


@pytest.mark.parametrize("name", registries().aligners.names())
def test_the_aligners_that_come_along_keep_the_contract(name: str) -> None:
    assert_no_findings(check_aligner(name))


def test_a_good_aligner_has_no_findings() -> None:
    with broken.registered("aligners", broken_files.GoodAligner) as name:
        assert check_aligner(name) == []


@pytest.mark.parametrize(
    ("aligner", "fact"),
    [
        (broken_files.AlignerInPlace, "changes its inputs"),
        (broken_files.AlignerOfChance, "gives another image every time"),
        (broken_files.AlignerOfOtherGrids, "leaves an array on another grid"),
        (broken_files.AlignerOfNone, "refuses every pair of images"),
        (broken_files.AlignerOfNaN, "gives values that are not finite"),
        (broken.GoodMetric, "is no fusekit.extend.Aligner"),
    ],
)
def test_broken_aligners_are_caught(aligner: type, fact: str) -> None:
    with broken.registered("aligners", aligner) as name:
        said(check_aligner(name), f"the aligner '{name}' of a-test", fact)


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
