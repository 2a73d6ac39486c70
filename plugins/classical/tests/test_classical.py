import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fusekit
from fusekit.extend import InputError, MissingExtraError, OptionError, RuleError
from fusekit.testing import assert_no_findings, check_model
from fusekit_classical.averages import PCA, Saliency, saliency
from fusekit_classical.gradient import GradientPyramid, divergence, gradients, smoothed
from fusekit_classical.guided import GuidedFilter, box_mean, guided_filter
from fusekit_classical.pyramid import LaplacianPyramid, compose, decompose
from fusekit_classical.ratio import ContrastPyramid, RatioPyramid, multiplied, ratios

has_wavelets = pytest.mark.skipif(
    importlib.util.find_spec("pywt") is None, reason="needs PyWavelets, the extra wavelets"
)
JOINT = (
    "laplacian-pyramid",
    "ratio-pyramid",
    "contrast-pyramid",
    "gradient-pyramid",
    pytest.param("dwt", marks=has_wavelets),
    pytest.param("swt", marks=has_wavelets),
    "dtcwt",
    "guided-filter",
    "saliency",
    "pca",
)
SIZES = [(64, 64), (33, 50), (2, 2), (3, 17)]


def images(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator) for _ in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pixel", *JOINT])
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


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*JOINT, "mdlatlrr"])
def test_fusing_an_image_with_itself_gives_it_back(name, size):
    (x,) = images(1, 2, 1, *size)
    torch.testing.assert_close(fusekit.load(name).fuse([x, x, x]), x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", JOINT)
def test_constants_are_averaged(name):
    dark, bright = torch.full((1, 1, 40, 48), 0.25), torch.full((1, 1, 40, 48), 0.75)
    torch.testing.assert_close(fusekit.load(name).fuse([dark, bright]), torch.full_like(dark, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "name",
    ["laplacian-pyramid", "contrast-pyramid", "gradient-pyramid", "dtcwt", pytest.param("swt", marks=has_wavelets)],
)
def test_details_of_both_sources_survive(name):
    flat, dot = torch.full((1, 1, 64, 64), 0.5), torch.full((1, 1, 64, 64), 0.5)
    stripe = flat.clone()
    dot[0, 0, 16, 16], stripe[0, 0, :, 48] = 1.0, 0.0
    fused = fusekit.load(name).fuse([dot, stripe])
    assert fused[0, 0, 16, 16] > 0.85
    assert fused[0, 0, 8:56, 48].max() < 0.15


@pytest.mark.parametrize("name", [*JOINT, "mdlatlrr"])
def test_odd_sizes_colour_sixteen_bits_and_three_sources(name):
    # Nuclear norms of all patches take long.
    size = (61, 73) if name == "mdlatlrr" else (201, 173)
    generator = np.random.default_rng(0)
    colored = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    grey = [generator.integers(0, 256, size, dtype=np.uint8) for _ in range(2)]
    fused = fusekit.fuse([grey[0], colored, grey[1]], name)
    assert fused.image.shape == (*size, 3)
    assert fused.image.dtype == np.uint8
    deep = [generator.integers(0, 65536, (35, 41), dtype=np.uint16) for _ in range(2)]
    fused = fusekit.fuse(deep, name)
    assert fused.image.shape == (35, 41)
    assert fused.image.dtype == np.uint16
    assert len(np.unique(fused.image)) > 256


def test_joint_models_take_no_rule_and_pixel_takes_any():
    a, b = torch.rand(2, 1, 9, 8), torch.rand(2, 1, 9, 8)
    for name in ("laplacian-pyramid", "ratio-pyramid", "guided-filter", "pca"):
        with pytest.raises(RuleError, match="sees all sources in one network"):
            fusekit.load(name).choose_rule("max")
        with pytest.raises(InputError, match="fuses 2 or more sources, and 1 were given"):
            fusekit.load(name).fuse([a])
    torch.testing.assert_close(fusekit.load("pixel").fuse([a, b]), torch.maximum(a, b))
    torch.testing.assert_close(fusekit.load("pixel").fuse([a, b], "mean"), (a + b) / 2)


@pytest.mark.parametrize("pyramid", [LaplacianPyramid, RatioPyramid, ContrastPyramid, GradientPyramid])
def test_a_pyramid_needs_a_level(pyramid):
    with pytest.raises(OptionError, match=f"'{pyramid.spec.id}' needs 1 level or more, not 0"):
        pyramid(0)


# --- pyramids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_ratios_are_invertible(size):
    x = torch.rand(2, 1, *size, dtype=torch.float64)
    x[..., 0] = 0
    torch.testing.assert_close(multiplied(*ratios(x, 2)), x)


def test_ratio_prefers_bright_details_and_contrast_takes_dark_ones_too():
    flat = torch.full((1, 1, 64, 64), 0.5)
    bright, dark = flat.clone(), flat.clone()
    bright[0, 0, 32, 32], dark[0, 0, 32, 32] = 0.6, 0.0
    assert RatioPyramid().fuse([bright, dark])[0, 0, 32, 32] > 0.55
    assert ContrastPyramid().fuse([bright, dark])[0, 0, 32, 32] < 0.1


@pytest.mark.parametrize("size", [(9, 12), (2, 2), (1, 5)])
def test_divergence_of_the_gradients_is_what_smoothing_takes_away(size):
    x = torch.rand(2, 1, *size, dtype=torch.float64)
    torch.testing.assert_close(divergence(gradients(x)), x - smoothed(x))


# --- wavelets ------------------------------------------------------------------------------------------------------


def test_wavelets_without_their_package_name_the_extra(monkeypatch):
    find_spec, owners = importlib.util.find_spec, {row["name"]: row["owner"] for row in fusekit.list_models()}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pywt" else find_spec(name))
    for name in ("dwt", "swt"):
        with pytest.raises(MissingExtraError) as refused:
            fusekit.load(name)
        assert str(refused.value) == (
            f"the model '{name}' needs the package 'pywt', which is not installed; "
            f"pip install '{owners[name]}[wavelets]'"
        )


@has_wavelets
def test_dwt_of_one_haar_level_against_its_definition():
    from fusekit_classical.wavelets import DWT

    sources = images(3, 1, 1, 8, 6)
    blocks = torch.stack([F.unfold(each, 2, stride=2) for each in sources])
    signs = torch.tensor([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / 2.0
    coefficients = torch.einsum("ij,nbjl->nbil", signs, blocks)
    chosen = coefficients.gather(0, coefficients.abs().argmax(0, keepdim=True))[0]
    chosen[:, 0] = coefficients[:, :, 0].mean(0)
    wanted = F.fold(torch.einsum("ij,bil->bjl", signs, chosen), (8, 6), 2, stride=2)
    torch.testing.assert_close(DWT("haar", 1).fuse(sources), wanted)


@has_wavelets
def test_swt_does_not_depend_on_shifts_and_dwt_does():
    from fusekit_classical.wavelets import DWT, SWT

    sources = [F.pad(each, (40, 40, 40, 40)) for each in images(2, 1, 1, 24, 24)]
    shifted = [each.roll((1, 3), (2, 3)) for each in sources]
    for model, same in ((SWT(levels=2), True), (DWT(levels=2), False)):
        found = model.fuse(shifted).roll((-1, -3), (2, 3))
        assert torch.allclose(found, model.fuse(sources), atol=1e-5) is same


@has_wavelets
def test_wavelets_and_levels_can_be_chosen_and_are_checked():
    from fusekit_classical.wavelets import DWT, SWT

    sources = images(2, 1, 1, 40, 40)
    assert not torch.allclose(DWT("haar").fuse(sources), DWT("sym4", 2).fuse(sources), atol=1e-2)
    assert DWT("sym4", 2).config == {"wavelet": "sym4", "levels": 2}
    for model in (DWT, SWT):
        with pytest.raises(OptionError, match="unknown wavelet 'morl'; choose a discrete one"):
            model("morl")
        with pytest.raises(OptionError, match=f"'{model.spec.id}' needs 1 level or more, not 0"):
            model(levels=0)


# --- guided filter -------------------------------------------------------------------------------------------------


def test_box_means_against_a_loop():
    (x,) = images(1, 1, 1, 7, 9)
    wanted = torch.empty_like(x)
    for row in range(7):
        for column in range(9):
            part = x[..., max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            wanted[..., row, column] = part.mean()
    torch.testing.assert_close(box_mean(x, 2), wanted)


def test_the_guided_filter_keeps_edges_of_its_guide():
    step = (torch.arange(40) >= 20).double().expand(1, 1, 40, 40)
    noisy = step + 0.1 * torch.randn(step.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sharp = guided_filter(step, noisy, 4, 1e-4)
    assert (sharp - step).abs().max() < 0.1
    # A guide without edges leaves averages.
    torch.testing.assert_close(guided_filter(torch.zeros_like(step), noisy, 4, 1e-4), box_mean(box_mean(noisy, 4), 4))


def test_the_guided_filter_takes_details_from_where_they_are():
    sharp, smooth = images(1, 1, 1, 96, 96)[0], torch.full((1, 1, 96, 96), 0.5)
    left, right = sharp.clone(), sharp.clone()
    left[..., 48:], right[..., :48] = smooth[..., 48:], smooth[..., :48]
    fused = GuidedFilter().fuse([left, right])
    error = (fused - sharp)[..., 20:-20].abs()
    assert error.mean() < 0.05
    assert (fused - (left + right) / 2).abs().mean() > 3 * error.mean()
    with pytest.raises(OptionError, match="radii of 1 or more and epsilons above 0"):
        GuidedFilter(detail_epsilon=0.0)


# --- averages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 1, 5, 6), (1, 1, 3, 4, 5)])
def test_saliency_against_all_pairs(shape):
    (x,) = images(1, *shape)
    x = (x * 4).round() / 4
    flat = x.flatten(1).double()
    distance = (flat[:, :, None] - flat[:, None]).abs().mean(2)
    low, high = distance.amin(1, keepdim=True), distance.amax(1, keepdim=True)
    torch.testing.assert_close(saliency(x), ((distance - low) / (high - low)).view(shape))
    assert (saliency(torch.full(shape, 0.3)) == 0).all()


def test_saliency_weighs_two_sources_as_published_and_three_as_a_mixture():
    a, b, c = images(3, 1, 1, 9, 8)
    share = 0.5 + (saliency(a) - saliency(b)) / 2
    torch.testing.assert_close(Saliency().fuse([a, b]), (share * a + (1 - share) * b).float())
    fused, stacked = Saliency().fuse([a, b, c]), torch.stack([a, b, c])
    assert (fused >= stacked.amin(0) - 1e-6).all()
    assert (fused <= stacked.amax(0) + 1e-6).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_pca_against_numpy(sign):
    a, b = images(2, 1, 1, 12, 11)
    b = (0.5 + sign * (a - 0.5) * 0.4 + 0.05 * b).clamp(0, 1)
    values = np.stack([each.numpy().ravel() for each in (a, b)]).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(values))
    first = np.abs(vectors[:, -1])
    wanted = (first / first.sum()) @ values
    np.testing.assert_allclose(PCA().fuse([a, b]).numpy().ravel(), wanted, atol=1e-6)
