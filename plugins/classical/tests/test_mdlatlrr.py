import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import fusekit
from fusekit.extend import InputError, OptionError, TrainingError
from fusekit.testing import assert_no_findings, check_model
from fusekit_classical.latlrr import latent_low_rank, training_patches
from fusekit_classical.mdlatlrr import MDLatLRR, coverage


def images(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def network(levels=2, side=4, seed=1):
    model = MDLatLRR(levels, side).double()
    size = side * side
    model.projection.copy_(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) / size)
    return model


def test_the_model_keeps_the_contract():
    assert_no_findings(check_model("mdlatlrr", {"levels": 2, "side": 4}))


@pytest.mark.slow
def test_the_model_with_its_weights_keeps_the_contract():
    assert_no_findings(check_model("mdlatlrr"))


# --- fusing --------------------------------------------------------------------------------------------------------


def as_published(sources, projection, side, levels):
    """Fuse N images (H, W) patch by patch, as the paper's equations say."""
    height, width = sources[0].shape
    places = [(row, column) for row in range(height - side + 1) for column in range(width - side + 1)]
    bases, fused = list(sources), torch.zeros_like(sources[0])
    for _ in range(levels):
        sums = [torch.zeros_like(fused) for _ in range(len(sources) + 1)]
        covered = torch.zeros_like(fused)
        for row, column in places:
            at = (slice(row, row + side), slice(column, column + side))
            patches = [(projection @ base[at].reshape(-1)).view(side, side) for base in bases]
            norms = [torch.linalg.svdvals(patch).sum() for patch in patches]
            total = sum(norms)
            shares = [norm / total if total > 0 else 1 / len(sources) for norm in norms]
            for each, patch in zip(sums, [*patches, sum(map(torch.mul, shares, patches))], strict=True):
                each[at] += patch
            covered[at] += 1
        bases = [base - each / covered for base, each in zip(bases, sums, strict=False)]
        fused = fused + sums[-1] / covered
    return fused + sum(bases) / len(sources)


@pytest.mark.parametrize(("count", "size", "levels"), [(2, (13, 11), 3), (3, (9, 16), 2), (2, (4, 6), 1)])
def test_against_the_paper_patch_by_patch(count, size, levels):
    sources = images(count, 1, 1, *size)
    # Backgrounds: of one source, of some, of all.
    sources[0][..., :7, :] = 0
    sources[1][..., :5, :] = 0
    model = network(levels)
    wanted = as_published([each[0, 0] for each in sources], model.projection, 4, levels)
    torch.testing.assert_close(model.fuse(sources)[0, 0], wanted)


def test_the_detail_of_an_image_is_a_convolution_away_from_the_border():
    """The kernel of 7×7 sums what the projection hands on from pixel to pixel, by how far they are apart."""
    model, (x,) = network(1), images(1, 1, 1, 20, 23)
    kernel, kept = torch.zeros(7, 7, dtype=torch.float64), model.projection.view(4, 4, 4, 4)
    for row in range(4):
        for column in range(4):
            kernel[3 - row : 7 - row, 3 - column : 7 - column] += kept[row, column] / 16
    detail, _ = model.detail(torch.stack([x, x]))
    torch.testing.assert_close(detail[0][..., 3:-3, 3:-3], F.conv2d(x, kernel[None, None]))


@pytest.mark.parametrize("rows", [1, 5])
def test_chunks_change_nothing(monkeypatch, rows):
    sources, model = images(2, 2, 1, 24, 17), network()
    wanted = model.fuse(sources)
    monkeypatch.setattr("fusekit_classical.mdlatlrr._BYTES", rows * 4 * 17 * 16 * 8)
    torch.testing.assert_close(model.fuse(sources), wanted)


@pytest.mark.parametrize(("length", "side"), [(4, 4), (5, 4), (7, 4), (12, 4)])
def test_coverage(length, side):
    wanted = [sum(start <= place < start + side for start in range(length - side + 1)) for place in range(length)]
    assert coverage(length, side).tolist() == wanted


def test_small_images_are_mirrored():
    sources, model = images(2, 1, 1, 3, 9), network()
    larger = [torch.cat([each, each[:, :, -1:]], dim=2) for each in sources]
    torch.testing.assert_close(model.fuse(sources), model.fuse(larger)[:, :, :3])


def test_levels_and_patches_can_be_chosen_and_are_checked():
    assert MDLatLRR(2, 8).config == {"levels": 2, "side": 8}
    for levels, side in ((0, 16), (1, 1)):
        with pytest.raises(OptionError, match=f"'mdlatlrr' needs .* not {levels} and {side}"):
            MDLatLRR(levels, side)


# --- the projection ------------------------------------------------------------------------------------------------


def plainly_solved(x, sparsity, steps):
    """Do the method's first steps as published, with Z as large as it is."""
    size, count = x.shape
    z, noise, salient = x.new_zeros(count, count), torch.zeros_like(x), x.new_zeros(size, size)
    y1, y2, y3, mu = torch.zeros_like(x), torch.zeros_like(z), torch.zeros_like(salient), 1e-6

    def shrunk(matrix):
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u @ torch.diag((s - 1 / mu).clamp_min(0)) @ vh

    for _ in range(steps):
        j, k = shrunk(z + y2 / mu), shrunk(salient + y3 / mu)
        right = x.T @ (x - salient @ x - noise + y1 / mu) + j - y2 / mu
        z = torch.linalg.solve(x.T @ x + torch.eye(count).to(x), right)
        right = (x - x @ z - noise + y1 / mu) @ x.T + k - y3 / mu
        salient = torch.linalg.solve(x @ x.T + torch.eye(size).to(x), right, left=False)
        rest = x - x @ z - salient @ x
        noise = (rest + y1 / mu).sign() * ((rest + y1 / mu).abs() - sparsity / mu).clamp_min(0)
        y1, y2, y3 = y1 + mu * (rest - noise), y2 + mu * (z - j), y3 + mu * (salient - k)
        mu *= 1.1
    return salient


def test_the_solver_takes_the_published_steps_in_a_smaller_space():
    (x,) = images(1, 9, 30)
    found = latent_low_rank(x, 0.4)
    assert found.residual < 1e-6
    torch.testing.assert_close(found.projection, plainly_solved(x, 0.4, found.steps), atol=1e-7, rtol=0)


def test_of_patches_without_noise_the_projection_has_half():
    """X = XZ + LX, and L is half the projection onto the space of the columns, as Z is half that of the rows."""
    generator = torch.Generator().manual_seed(0)
    base = torch.linalg.qr(torch.randn(12, 3, generator=generator, dtype=torch.float64)).Q
    x = base @ torch.randn(3, 60, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(latent_low_rank(x).projection, base @ base.T / 2, atol=0.01, rtol=0)


def test_a_solver_that_gets_nowhere_says_so():
    with pytest.raises(TrainingError, match="no projection after 3 steps: the constraints are off by"):
        latent_low_rank(images(1, 9, 30)[0], most_steps=3)


def test_training_patches_are_half_detailed_half_smooth_and_none_black():
    steps = torch.zeros(16, 32)
    steps[:, 2::4] = steps[:, 3::4] = 1
    ramps = torch.linspace(0.1, 0.2, 32).expand(16, 32)
    found = training_patches([steps, ramps, torch.zeros(16, 32)], 4, 16)
    assert found.shape == (16, 16)
    deviations = (found - found.mean(0)).norm(dim=0)
    assert (deviations[:8] > 0.5).all()
    assert (deviations[8:] < 0.5).all()
    assert (found > 0).any(0).all()
    assert not torch.equal(found, training_patches([steps, ramps], 4, 16, seed=1))
    with pytest.raises(InputError, match="have 0 detailed patches of 4×4, and 8 are needed"):
        training_patches([ramps], 4, 16)


def test_the_script_writes_weights_that_load(tmp_path):
    script = Path(__file__).parent / "../../../scripts/learn_projection.py"
    if not script.is_file():
        pytest.skip("the scripts are not beside the tests")
    from click.testing import CliRunner
    from PIL import Image

    (tmp_path / "images").mkdir()
    for number, image in enumerate(images(2, 32, 32)):
        image[16:] *= 0.1
        Image.fromarray((image * 255).byte().numpy()).save(tmp_path / "images" / f"{number}.png")
    spec = importlib.util.spec_from_file_location("learn_projection", script)
    learn = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(learn)
    words = [
        str(tmp_path / "images"),
        "--side",
        "4",
        "--patches",
        "60",
        "-o",
        str(tmp_path / "new" / "own.safetensors"),
    ]
    done = CliRunner().invoke(learn.main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert '"patches": 60' in done.output
    model: Any = fusekit.load(tmp_path / "new" / "own.safetensors", device="cpu")
    assert (model.spec.id, model.config) == ("mdlatlrr", {"levels": 4, "side": 4})
    # It hands on about half of what patches differ by, and little of what they share.
    assert 2 < float(model.projection.trace()) < 14
