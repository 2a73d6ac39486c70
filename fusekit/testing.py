"""The door for tests of plugins: does a component keep its contract? Nothing is defined here, and pytest is not needed.

Each check returns its findings, one line each that names the component and what is wrong with it; none where all is
well. ``assert_no_findings(check_model("my-model"))`` is a whole test.
"""

from __future__ import annotations

from fusekit.checks.base import assert_no_findings
from fusekit.checks.files import check_aligner, check_format
from fusekit.checks.metrics import check_metric
from fusekit.checks.models import check_model
from fusekit.checks.networks import check_conversion, check_forms, check_short_training, check_use
from fusekit.checks.parts import check_decoder, check_edge_operator, check_encoder
from fusekit.checks.rules import check_rule
from fusekit.checks.running import check_command, check_executor

__all__ = [
    "assert_no_findings",
    "check_aligner",
    "check_command",
    "check_conversion",
    "check_decoder",
    "check_edge_operator",
    "check_encoder",
    "check_executor",
    "check_format",
    "check_forms",
    "check_metric",
    "check_model",
    "check_rule",
    "check_short_training",
    "check_use",
]
