"""Parity with the authors' programs and weights, which stand in a folder of research data that is not always there."""

from __future__ import annotations

import pytest
import torch
from helpers.golden import CROP, NEAR, filled, needs_peers, recorded, sources

from fusekit_ifcnn.model import IFCNN, IFCNNMean, IFCNNSum

pytestmark = needs_peers


@pytest.mark.parametrize("form", ["plain", "composed"])
@pytest.mark.parametrize("network_class", [IFCNN, IFCNNMean, IFCNNSum])
@torch.inference_mode()
def test_features_colours_and_image_are_the_authors(network_class: type[IFCNN], form: str) -> None:
    name, pair = f"IFCNN-{network_class.spec.default_rule.upper()}", sources("ct", "mri")
    network = filled(network_class(), name, form)
    features = network.encode_sources(pair)
    fused = network.choose_rule(None).apply(features).features
    crops = recorded(f"{name}_16012", *(f"feat_{key}_eval_16012_crop" for key in ("a", "b", "fused")))
    for found, wanted in zip((*features, fused), crops, strict=True):
        torch.testing.assert_close(found[CROP], wanted, **NEAR)
    (colors,) = recorded(f"{name}_16012", "fused_eval_16012")
    torch.testing.assert_close(network.decoder.colors(fused), colors, **NEAR)
    red, green, blue = colors.clamp(0, 1).unbind(1)
    gray = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    torch.testing.assert_close(network.fuse(pair), gray, **NEAR)
