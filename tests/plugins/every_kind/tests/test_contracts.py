"""Each component keeps the contract of its kind."""

import numpy as np
import pytest
from fusekit_every_kind.pgm import Pgm

from fusekit.extend import from_pixels
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


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (check_model, "edge-pair"),
        (check_encoder, "with-edges"),
        (check_decoder, "grey"),
        (check_edge_operator, "central"),
        (check_rule, "magnitude"),
        (check_metric, "mae"),
        (check_aligner, "centre"),
        (check_executor, "last-first"),
        (check_command, "blend"),
    ],
)
def test_the_contract_is_kept(check, name):
    assert_no_findings(check(name))


def test_the_format_keeps_the_contract_with_files_of_its_own_and_of_others(tmp_path):
    own, commented = tmp_path / "own.pgm", tmp_path / "commented.pgm"
    pixels = np.arange(63, dtype=np.uint8).reshape(7, 9)
    own.write_bytes(Pgm().encode(from_pixels(pixels), ".pgm"))
    commented.write_bytes(b"P5 # drawn by hand\n9 7\n255\n" + pixels.tobytes())
    assert_no_findings(check_format("pgm", [own, commented]))
