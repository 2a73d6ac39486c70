"""How near the rules of ehdran come in large images, where they take norms of block means, on the embedded sample."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import fusekit
from fusekit.evaluation.rate import read_luminance
from fusekit.images import samples
from fusekit.images.tiles import tiles
from fusekit.models.parts import build_rule
from fusekit_ehdran.rules import sfnn_surveys


@pytest.fixture(scope="module")
def encoded() -> list[Tensor]:
    """Features of the sample's three images, (1, 64, 256, 256)."""
    model: Any = fusekit.load("ehdran", device="cpu")
    with torch.inference_mode():
        return [model.encode(read_luminance(samples.path(name)).float()) for name in ("ct", "mri", "pet")]


@pytest.mark.slow
@pytest.mark.parametrize(("side", "most"), [(128, 0.005), (64, 0.011)])
def test_norms_from_block_means_give_nearly_the_same_weights(
    encoded: list[Tensor], side: int, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sfnn_surveys, "EXACT_SIDE", side)
    for name, limit in (("sfnn-mean", most / 3), ("sfnn-channel", most)):
        rule: Any = build_rule(name)
        survey = rule.survey(3, encoded[0].shape, 1 << 40)
        for tile in tiles(encoded[0].shape[2:], (100, 77), survey.reach):
            survey.add([tile.window(each) for each in encoded], tile)
        assert not survey.finish_pass()
        found = survey.rule()
        error = (found.weights(encoded) - rule.weights(encoded)).abs().max()
        assert 0 < error < limit
        block = 256 // side
        assert f"means over {block}×{block} pixels" in found.weigh(encoded).report[0]["norms"]
