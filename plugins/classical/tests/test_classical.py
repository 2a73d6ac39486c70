import pytest
import torch

import fusekit
from fusekit.extend import OptionError, RuleError
from fusekit.testing import assert_no_findings, check_model
from fusekit_classical.pyramid import LaplacianPyramid, compose, decompose


@pytest.mark.parametrize("name", ["pixel", "laplacian-pyramid"])
def test_the_models_keep_the_contract(name):
    assert_no_findings(check_model(name))


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (7, 5), (2, 2), (3, 17)])
def test_pyramid_is_invertible_and_keeps_constants(size):
    x = torch.rand(2, 1, *size, dtype=torch.float64)
    details, base = decompose(x, 2)
    torch.testing.assert_close(compose(details, base), x)
    details, base = decompose(torch.full((1, 1, *size), 0.3, dtype=torch.float64), 2)
    assert max(float(detail.abs().max()) for detail in details) < 1e-12
    assert float((base - 0.3).abs().max()) < 1e-12


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (2, 2)])
def test_fusing_an_image_with_itself_gives_it_back(size):
    x = torch.rand(1, 1, *size)
    torch.testing.assert_close(fusekit.load("laplacian-pyramid").fuse([x, x, x]), x)


def test_details_of_both_sources_survive():
    flat, dot = torch.full((1, 1, 64, 64), 0.5), torch.full((1, 1, 64, 64), 0.5)
    stripe = flat.clone()
    dot[0, 0, 16, 16], stripe[0, 0, :, 48] = 1.0, 0.0
    fused = LaplacianPyramid().fuse([dot, stripe])
    assert fused[0, 0, 16, 16] > 0.9
    assert fused[0, 0, 8:56, 48].max() < 0.1


def test_joint_model_takes_no_rule_and_pixel_takes_any():
    a, b = torch.rand(2, 1, 9, 8), torch.rand(2, 1, 9, 8)
    with pytest.raises(RuleError, match="sees all sources in one network"):
        fusekit.load("laplacian-pyramid").choose_rule("max")
    torch.testing.assert_close(fusekit.load("pixel").fuse([a, b]), torch.maximum(a, b))
    torch.testing.assert_close(fusekit.load("pixel").fuse([a, b], "mean"), (a + b) / 2)
    with pytest.raises(OptionError, match="1 level or more"):
        LaplacianPyramid(0)
