import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fusekit
from fusekit.extend import OptionError
from fusekit_classical.dtcwt import DTCWT, inverse, transform

#: Of `ramp`, by the package dtcwt 0.14 with its filters near_sym_b and qshift_b: summed magnitudes of the bands, fine
#: to coarse; part of the low pass; the coefficients of the third level at row 1, column 2.
MAGNITUDES = [
    [54.697238, 48.594742, 55.594859, 56.247377, 52.744245, 63.957646],
    [27.278659, 21.394710, 14.830810, 11.983720, 14.018359, 15.921514],
    [2.009693, 1.800597, 1.984705, 2.295463, 3.529374, 7.298506],
]
LOW = [[1.50575346, 1.97121764, 2.48565343], [1.58525847, 1.81314114, 2.26856573]]
COEFFICIENTS = [
    *(-0.00712253 - 0.00532073j, -0.03490976 - 0.00691189j, 0.04885254 - 0.01664544j),
    *(-0.02528047 - 0.06979063j, -0.14955329 + 0.09783237j, 0.24702922 + 0.36978732j),
]


def images(count, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def ramp():
    return torch.from_numpy(np.arange(32 * 40).reshape(1, 1, 32, 40) ** 2 % 101) / 101.0


def test_the_transform_is_kingsburys():
    details, low = transform(ramp().double(), 3)
    np.testing.assert_allclose([level.abs().sum((0, 2, 3)).tolist() for level in details], MAGNITUDES, atol=2e-6)
    np.testing.assert_allclose(low[0, 0, :2, :3], LOW, atol=2e-8)
    np.testing.assert_allclose(details[2][0, :, 1, 2], COEFFICIENTS, atol=2e-8)


@pytest.mark.parametrize(("size", "levels"), [((64, 48), 4), ((16, 16), 4), ((2, 6), 1), ((8, 4), 2)])
def test_the_transform_is_invertible_and_its_dtypes_are_those_of_the_image(size, levels):
    (x,) = images(1, 2, 1, *size)
    details, low = transform(x, levels)
    assert [each.shape for each in details] == [(2, 6, size[0] >> n, size[1] >> n) for n in range(1, levels + 1)]
    torch.testing.assert_close(inverse(details, low), x, atol=1e-13, rtol=0)
    assert inverse(*transform(x.float(), levels)).dtype == torch.float32


def test_bands_tell_directions_apart():
    """Waves that rise and waves that fall are one band each; trees of real numbers would have them in one."""
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    found = []
    for sign in (1, -1):
        wave = torch.cos((rows + sign * columns) * (0.375 * torch.pi))[None, None].double()
        energies = transform(wave, 3)[0][1].abs().square().sum((0, 2, 3))
        found.append(int(energies.argmax()))
        assert energies.max() > 5 * energies.topk(2).values[1]
    assert sorted(found) == [2, 3]


@pytest.mark.parametrize("level", [1, 2])
def test_magnitudes_hardly_depend_on_shifts(level):
    """The energy of a level's details of a blob that moves pixel by pixel; that of one of the four trees swings."""
    at = torch.arange(96, dtype=torch.float64)
    energies, of_one = [], []
    for shift in range(8):
        line = torch.exp(-0.5 * ((at - 44 - shift) / 2.0) ** 2)
        bands = transform((line[:, None] * line)[None, None], 3)[0][level]
        energies.append(float(bands.abs().square().sum()))
        of_one.append(float((bands[:, ::2].real + bands[:, 1::2].real).square().sum()))
    assert max(energies) / min(energies) < 1.1
    assert max(of_one) / min(of_one) > 1.5


def test_a_shifted_image_is_fused_nearly_the_same_way():
    sources = [F.pad(each, (48, 48, 48, 48)) for each in images(2, 1, 1, 24, 24)]
    shifted = [each.roll((1, 3), (2, 3)) for each in sources]
    model = DTCWT(2)
    error = (model.fuse(shifted).roll((-1, -3), (2, 3)) - model.fuse(sources)).abs().mean()
    assert error < 0.01


def test_three_sources_are_fused_by_the_greatest_magnitudes_and_the_mean_low_pass():
    sources = images(3, 2, 1, 16, 24)
    found = [transform(each, 2) for each in sources]
    details = []
    for bands in zip(*(each[0] for each in found), strict=True):
        stacked = torch.stack(bands)
        best = stacked.abs().argmax(0)
        details.append(
            torch.stack([torch.where(best == number, band, 0) for number, band in enumerate(stacked)]).sum(0)
        )
    low = torch.stack([each[1] for each in found]).mean(0)
    torch.testing.assert_close(DTCWT(2).fuse(sources), inverse(details, low))


def test_levels_can_be_chosen_and_are_checked():
    sources = images(2, 1, 1, 40, 40)
    assert not torch.allclose(DTCWT(1).fuse(sources), DTCWT(3).fuse(sources), atol=1e-2)
    assert DTCWT(3).config == {"levels": 3}
    assert fusekit.load("dtcwt").config == {"levels": 4}
    with pytest.raises(OptionError, match="'dtcwt' needs 1 level or more, not 0"):
        DTCWT(0)
