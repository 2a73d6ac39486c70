"""The checks of encoders, decoders and edge operators: good ones pass, and each broken one is caught by name."""

from __future__ import annotations

import pytest
from helpers.broken import parts
from helpers.contracts import assert_said, registered

from fusekit.testing import (
    check_decoder,
    check_edge_operator,
    check_encoder,
)


@pytest.mark.parametrize("encoder", [parts.GoodEncoder, parts.LevelsEncoder])
def test_good_encoders_have_no_findings(encoder: type) -> None:
    with registered("encoders", encoder) as name:
        assert check_encoder(name) == []


@pytest.mark.parametrize(
    ("encoder", "fact"),
    [
        (parts.EncoderOfReach, "leave the reach None where sizes differ"),
        (parts.EncoderOfLevels, "says channels = (4, 4), and its levels have [4, 8]"),
        (parts.EncoderWithoutChannels, "does not say how many channels its features have"),
        (parts.EncoderWithoutEdge, "does not show its edge operator"),
        (parts.EncoderOfOtherChannels, "returned 3 channels"),
        (parts.EncoderInPlace, "changes its inputs"),
        (parts.EncoderAcrossBatch, "gives other values for a batch of two"),
        (parts.EncoderOfMoreReach, "declares a reach of 1 pixels, and one pixel changes the result 2 away"),
        (parts.EncoderOfSingles, "answers bfloat16 with torch.float32"),
        (parts.EncoderWithIdleParameter, "gives its parameter idle no gradient in training"),
        (parts.EncoderWithHiddenState, "is another one after its weights were saved and read"),
        (parts.EncoderOfEvenSides, "fails for 17×23 pixels: AssertionError: even sides only"),
        (parts.EncoderOfOneEdge, "does not take these options: "),
    ],
)
def test_broken_encoders_are_caught(encoder: type, fact: str) -> None:
    with registered("encoders", encoder) as name:
        assert_said(check_encoder(name), f"the encoder '{name}' of a-test", fact)


def test_a_decoder_of_several_levels_is_checked_behind_its_encoder() -> None:
    with (
        registered("encoders", parts.LevelsEncoder) as encoder,
        registered("decoders", parts.LevelsDecoder) as decoder,
    ):
        assert check_decoder(decoder, encoder=encoder) == []
        assert_said(check_decoder(decoder), f"the decoder '{decoder}' of a-test", "when it is built with channels=8")


def test_broken_decoders_are_caught() -> None:
    with registered("decoders", parts.DecoderOfEight) as name:
        assert check_decoder(name) == []
        assert_said(check_decoder(name, channels=4), f"the decoder '{name}' of a-test", "expected input")
    with registered("decoders", parts.DecoderOfMorePixels) as name:
        assert_said(check_decoder(name), f"the decoder '{name}' of a-test", "returned image of shape")


@pytest.mark.parametrize(
    ("edge", "fact"),
    [
        (parts.EdgeOfConstants, "says ignores_constants, and its answer"),
        (parts.EdgeOfOtherShape, "returned edges of shape"),
    ],
)
def test_broken_edge_operators_are_caught(edge: type, fact: str) -> None:
    with registered("edge_operators", edge) as name:
        assert_said(check_edge_operator(name), f"the edge operator '{name}' of a-test", fact)
