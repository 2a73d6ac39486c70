"""How much of a fused image is one source; and that a copy of one does not win by the worse source."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from helpers.comparisons import mean, picture

from fusekit.errors import FusekitWarning
from fusekit.evaluation.compare import compare
from fusekit.evaluation.copying import copying_of, mean_of
from fusekit.evaluation.ratings import Comparison
from fusekit.images import samples
from fusekit.images.color import luminance
from fusekit.images.files import read_image, write_image
from fusekit.images.image import Array, from_pixels


def told(sources: list[Array], fused: Array) -> float | None:
    """Return what `copying_of` says, with NumPy's correlations: a constant image has 0 with everything, itself too."""

    def correlation(first: Array, second: Array) -> float:
        if first.std() == 0 or second.std() == 0:
            return 0.0
        return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])

    between = [[correlation(one, other) for other in sources] for one in sources]
    return copying_of([correlation(fused, source) for source in sources], between)


@pytest.fixture(scope="module")
def sources() -> list[Array]:
    return [picture(seed).astype(float) for seed in (1, 2, 3)]


@pytest.mark.parametrize("count", [2, 3])
def test_a_copy_of_any_source_is_one(sources, count):
    some = sources[:count]
    noise = np.random.default_rng(0).normal(size=some[0].shape)
    for source in some:
        assert told(some, source) == pytest.approx(1)
        assert told(some, 255 - source) == pytest.approx(1)
        assert told(some, 0.3 * source + 20) == pytest.approx(1)
        assert told(some, source + 5 * noise) > 0.9


def test_serving_sources_alike_is_zero_and_leaning_to_one_is_between(sources):
    first, second = ((each - each.mean()) / each.std() for each in sources[:2])
    assert told([first, second], first + second) == pytest.approx(0, abs=1e-12)
    assert told([first, second], np.random.default_rng(0).normal(size=first.shape)) < 0.2
    shares = [told([first, second], share * first + (1 - share) * second) for share in (0.5, 0.6, 0.7, 0.8, 0.9, 1)]
    assert shares == sorted(shares)
    assert 0.5 < shares[-2] < 0.95


def test_it_stays_within_its_range(sources):
    random = np.random.default_rng(7)
    for _ in range(200):
        weights = random.normal(size=3)
        value = told(sources, sum(weight * source for weight, source in zip(weights, sources, strict=True)))
        assert 0 <= value <= 1
    # With the other source projected out, more than a copy's gap is there.
    assert told(sources[:2], sources[0] - sources[1]) <= 1


def test_where_there_is_nothing_to_tell_apart(sources):
    constant = np.full_like(sources[0], 7)
    assert told(sources[:1], sources[0]) is None
    assert told([sources[0], constant], sources[0]) is None
    assert told([*sources[:2], constant], sources[0]) == pytest.approx(1)
    assert told([sources[0], sources[0]], sources[0]) == 0
    assert told(sources[:2], constant) == 0
    assert mean_of([None, 0.2, 0.4]) == pytest.approx(0.3)
    assert mean_of([None]) is None


def gray(name: str) -> Array:
    image = read_image(samples.path(name))
    return luminance(image.pixels.astype(float)) if image.color else image.pixels.astype(float)


def made(folder: Path, pair: str) -> Comparison:
    """Compare two copies with honest methods on an embedded sample."""
    import fusekit

    files = [samples.path(name) for name in samples.pairs()[pair]]
    first, second = (np.rint(gray(name)).astype(np.uint8) for name in samples.pairs()[pair])
    pixels = {"first": first, "second": second, "mean": mean([first, second]), "max": np.maximum(first, second)}
    paths = {method: folder / f"{method}.png" for method in (*pixels, "ehdran")}
    for method, fused in pixels.items():
        write_image(paths[method], from_pixels(fused))
    fusekit.fuse(files, "ehdran", modality=samples.pairs()[pair], device="cpu").save(paths["ehdran"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        return compare(files, paths, ["standard"])


@pytest.mark.slow
@pytest.mark.parametrize("pair", sorted(samples.pairs()))
def test_a_copy_cannot_win_by_the_worse_source(tmp_path, pair):
    comparison = made(tmp_path, pair)
    by_worst = {method: comparison.mean_rank(method, "worst") for method in comparison.methods}
    copies, honest = ("first", "second"), ("mean", "max", "ehdran")
    assert min(by_worst[method] for method in copies) > max(by_worst[method] for method in honest)
    for metric in ("vif", "ssim", "psnr", "cc", "qabf"):
        assert comparison.best(metric, "worst") in honest
    assert comparison.copies() == dict(zip(copies, comparison.sources, strict=True))
    for method in copies:
        assert comparison.copying(method) > 0.999
        assert comparison.worst_vif(method) < min(comparison.worst_vif(each) for each in honest)
    assert max(comparison.copying(method) for method in honest) < 0.5
    # That is what the ranks by value do not see.
    by_value = {method: comparison.mean_rank(method) for method in comparison.methods}
    assert min(by_value[method] for method in copies) < by_value["mean"]
    if pair == "pet-mri":
        assert min(by_value, key=by_value.__getitem__) in copies


def test_a_copy_is_warned_of(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png", "copy.png")]
    for path, pixels in zip(paths, (picture(1), picture(2), 255 - picture(2)), strict=True):
        write_image(path, from_pixels(pixels))
    with pytest.warns(
        FusekitWarning, match=r"^it is nearly a copy of b \(copying 1\.00, where 1 is a copy\); judge it"
    ):
        compare(paths[:2], {"it": paths[2]}, ["ssim"])
    write_image(paths[2], from_pixels(mean([picture(1), picture(2)])))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FusekitWarning)
        comparison = compare(paths[:2], {"it": paths[2]}, ["ssim"])
    # It is told by cc and vif, which are no answer to what was not asked.
    assert comparison.metrics == list(comparison.ratings["it"]["copy"]) == ["ssim"]
    assert len(comparison.shared("it", "vif")) == len(comparison.shared("it", "correlation")) == 2
