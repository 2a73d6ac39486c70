"""The door for plugin authors: all that a plugin may import of fusekit, beside the package ``fusekit`` itself.

Nothing is defined here. `__all__` is the promise that `plugin_api_version` counts: a name that is taken away, or that
no longer does what it did, raises its first number; a new one raises its second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusekit.machine.lazy import hand_on

if TYPE_CHECKING:
    from fusekit.batch.executor import CaseFuser, Executor, Outcome, Work
    from fusekit.cases.case import Case
    from fusekit.cases.splits import Split
    from fusekit.cli.output import Command, result, result_json
    from fusekit.edges.base import EdgeOperator, GradientOperator
    from fusekit.errors import (
        DeviceError,
        FusekitError,
        FusekitWarning,
        InputError,
        MissingExtraError,
        OptionError,
        OutputError,
        PluginError,
        RuleError,
        TrainingError,
        WeightsError,
        one_line,
    )
    from fusekit.evaluation.tasks import Score, Scores, Task
    from fusekit.images.align import Aligner
    from fusekit.images.formats.base import Format
    from fusekit.images.grid import Grid
    from fusekit.images.image import Image, Origin, from_pixels
    from fusekit.images.tiles import Reach, Tile
    from fusekit.machine.allocator import empty_maps, keep_freed_memory
    from fusekit.machine.backends import interprets, triton_refusal
    from fusekit.machine.devices import exact_float32
    from fusekit.machine.files import write_text_atomically
    from fusekit.machine.probation import KernelTrial
    from fusekit.machine.threads import in_parallel
    from fusekit.metrics.base import (
        AllSourcesMetric,
        FusedMetric,
        Metric,
        SharedWorkMetric,
        SourceMetric,
        TogetherMetric,
    )
    from fusekit.metrics.build import build_metric
    from fusekit.metrics.windows import gaussian, windowed
    from fusekit.models.base import BoundRule, ComposableEncoderDecoder, EncoderDecoder, FusionModel, Joint
    from fusekit.models.blocks.attention import Perceptron, SwinBlock, WindowAttention
    from fusekit.models.blocks.banded import BandedSwin
    from fusekit.models.blocks.composed import ComposedConvolution, ComposedGradient, Composition
    from fusekit.models.blocks.convolution import WinogradConvolution, accumulate, convolve
    from fusekit.models.blocks.gradient import GradientBlock
    from fusekit.models.losses import Similarity, normalized_ms_ssim, steepness, structural_similarity
    from fusekit.models.objectives import Objectives
    from fusekit.models.parts import Decoder, Encoder, build_part, build_rule, reach_of_parts
    from fusekit.models.shapes import crop_to, pad_to_multiple
    from fusekit.rules.base import (
        FixedWeights,
        FusionRule,
        RuleResult,
        Survey,
        Weighing,
        WeightedRule,
        normalized,
        weighted_sum,
    )
    from fusekit.version import code_version, plugin_api_version

__all__ = [
    "Aligner",
    "AllSourcesMetric",
    "BandedSwin",
    "BoundRule",
    "Case",
    "CaseFuser",
    "Command",
    "ComposableEncoderDecoder",
    "ComposedConvolution",
    "ComposedGradient",
    "Composition",
    "Decoder",
    "DeviceError",
    "EdgeOperator",
    "Encoder",
    "EncoderDecoder",
    "Executor",
    "FixedWeights",
    "Format",
    "FusedMetric",
    "FusekitError",
    "FusekitWarning",
    "FusionModel",
    "FusionRule",
    "GradientBlock",
    "GradientOperator",
    "Grid",
    "Image",
    "InputError",
    "Joint",
    "KernelTrial",
    "Metric",
    "MissingExtraError",
    "Objectives",
    "OptionError",
    "Origin",
    "Outcome",
    "OutputError",
    "Perceptron",
    "PluginError",
    "Reach",
    "RuleError",
    "RuleResult",
    "Score",
    "Scores",
    "SharedWorkMetric",
    "Similarity",
    "SourceMetric",
    "Split",
    "Survey",
    "SwinBlock",
    "Task",
    "Tile",
    "TogetherMetric",
    "TrainingError",
    "Weighing",
    "WeightedRule",
    "WeightsError",
    "WindowAttention",
    "WinogradConvolution",
    "Work",
    "accumulate",
    "build_metric",
    "build_part",
    "build_rule",
    "code_version",
    "convolve",
    "crop_to",
    "empty_maps",
    "exact_float32",
    "from_pixels",
    "gaussian",
    "in_parallel",
    "interprets",
    "keep_freed_memory",
    "normalized",
    "normalized_ms_ssim",
    "one_line",
    "pad_to_multiple",
    "plugin_api_version",
    "reach_of_parts",
    "result",
    "result_json",
    "steepness",
    "structural_similarity",
    "triton_refusal",
    "weighted_sum",
    "windowed",
    "write_text_atomically",
]

if not TYPE_CHECKING:
    # Where each name is defined; imported when it is asked for, so that a rule does not wait for metrics and executors.
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "batch.executor": "CaseFuser Executor Outcome Work",
            "cases.case": "Case",
            "cases.splits": "Split",
            "cli.output": "Command result result_json",
            "edges.base": "EdgeOperator GradientOperator",
            "errors": (
                "DeviceError FusekitError FusekitWarning InputError MissingExtraError OptionError OutputError "
                "PluginError RuleError TrainingError WeightsError one_line"
            ),
            "evaluation.tasks": "Score Scores Task",
            "images.align": "Aligner",
            "images.formats.base": "Format",
            "images.grid": "Grid",
            "images.image": "Image Origin from_pixels",
            "images.tiles": "Reach Tile",
            "machine.allocator": "empty_maps keep_freed_memory",
            "machine.backends": "interprets triton_refusal",
            "machine.devices": "exact_float32",
            "machine.files": "write_text_atomically",
            "machine.probation": "KernelTrial",
            "machine.threads": "in_parallel",
            "metrics.base": "AllSourcesMetric FusedMetric Metric SharedWorkMetric SourceMetric TogetherMetric",
            "metrics.build": "build_metric",
            "metrics.windows": "gaussian windowed",
            "models.base": "BoundRule ComposableEncoderDecoder EncoderDecoder FusionModel Joint",
            "models.blocks.attention": "Perceptron SwinBlock WindowAttention",
            "models.blocks.banded": "BandedSwin",
            "models.blocks.composed": "ComposedConvolution ComposedGradient Composition",
            "models.blocks.convolution": "WinogradConvolution accumulate convolve",
            "models.blocks.gradient": "GradientBlock",
            "models.losses": "Similarity normalized_ms_ssim steepness structural_similarity",
            "models.objectives": "Objectives",
            "models.parts": "Decoder Encoder build_part build_rule reach_of_parts",
            "models.shapes": "crop_to pad_to_multiple",
            "rules.base": "FixedWeights FusionRule RuleResult Survey Weighing WeightedRule normalized weighted_sum",
            "version": "code_version plugin_api_version",
        },
    )
