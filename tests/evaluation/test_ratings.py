"""``fusekit evaluate``: comparisons, their statistics, and their reports."""

import csv
import io
import itertools
import json
import math
import shutil

import numpy as np
import pytest
from helpers.cli import run_cli

from fusekit.errors import FusekitWarning, InputError, OptionError, PluginError
from fusekit.evaluation.compare import compare
from fusekit.evaluation.export import to_csv
from fusekit.evaluation.rate import evaluate
from fusekit.evaluation.significance import holm, randomization_test
from fusekit.images.files import write_image
from fusekit.images.image import from_pixels
from fusekit.metrics.base import FusedMetric
from fusekit.registry.discovery import registries
from fusekit.version import __version__

METRICS = ["psnr", "en", "ssim"]


def picture(seed: int, noise: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = np.cumsum(np.cumsum(random.normal(size=(32, 40)), 0), 1)
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint((smooth + noise * random.normal(size=smooth.shape)).clip(0, 1) * 255).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Two source folders and two fused ones, ``good`` (the sources' mean) and ``bad`` (the same with noise)."""
    for name in ("a", "b", "good", "bad"):
        (tmp_path / name).mkdir()
    for index in range(6):
        first, second = picture(index), picture(index + 100)
        mean = np.rint((first.astype(float) + second) / 2).astype(np.uint8)
        noisy = (mean + np.random.default_rng(index).normal(0, 40, mean.shape)).clip(0, 255).astype(np.uint8)
        for folder, pixels in (("a", first), ("b", second), ("good", mean), ("bad", noisy)):
            write_image(tmp_path / folder / f"{index}.png", from_pixels(pixels))
    return tmp_path


def compared(folders, **more):
    methods = {"good": folders / "good", "bad": folders / "bad"}
    return compare([folders / "a", folders / "b"], methods, METRICS, **more)


def test_means_ranks_and_significance(folders):
    comparison = compared(folders)
    assert comparison.images == [str(index) for index in range(6)]
    values = [
        evaluate([folders / "a" / f"{i}.png", folders / "b" / f"{i}.png"], folders / "good" / f"{i}.png", ["psnr"])[
            "psnr"
        ]
        for i in range(6)
    ]
    assert comparison.values("good", "psnr") == values
    assert comparison.mean("good", "psnr") == pytest.approx(np.mean(values))
    assert comparison.std("good", "psnr") == pytest.approx(np.std(values, ddof=1))
    assert comparison.best("psnr") == comparison.best("ssim") == "good"
    assert comparison.significance("psnr") == {"bad": pytest.approx(2 / 2**6)}
    assert comparison.mean_rank("good") + comparison.mean_rank("bad") == pytest.approx(3)
    assert comparison.mean_rank("good") < comparison.mean_rank("bad")
    assert comparison.worst_cases() != comparison.images
    assert sorted(comparison.worst_cases()) == sorted(comparison.worst_images("bad")) == comparison.images
    worst = comparison.worst_images("bad", "psnr", "value")[0]
    assert comparison.ratings["bad"][worst]["psnr"]["value"] == min(comparison.values("bad", "psnr"))
    assert min(comparison.values("good", "psnr", "worst")) <= min(values)


def test_exact_randomization_test_is_the_enumeration():
    random = np.random.default_rng(3)
    first, second = random.normal(size=7), random.normal(size=7) + 0.4
    differences = first - second
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product((1, -1), repeat=7)]
    expected = np.mean([each >= abs(differences.sum()) - 1e-12 for each in sums])
    assert randomization_test(list(first), list(second)) == pytest.approx(expected)


def test_randomization_test_of_many_pairs():
    random = np.random.default_rng(5)
    first = random.normal(size=60)
    assert randomization_test(list(first), list(first + 1 + 0.1 * random.normal(size=60))) < 0.001
    assert randomization_test(list(first), list(first)) == 1.0
    assert randomization_test([math.inf, 1.0], [math.inf, 1.0]) == 1.0
    # An infinite difference is the largest: of five images that all speak for the first, two patterns are as extreme.
    assert randomization_test([math.inf] * 4 + [3.0], [1.0] * 5) == pytest.approx(2 / 2**5)
    assert randomization_test([math.inf, 0.0, 0.0], [0.0, 1.0, 1.0]) == 1.0
    # Under the null hypothesis p-values are uniform: about one in five lies below 0.2.
    p_values = [randomization_test(list(random.normal(size=30)), list(random.normal(size=30))) for _ in range(100)]
    assert 0.08 < np.mean(np.array(p_values) < 0.2) < 0.35


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_an_image_that_cannot_be_rated_is_left_out_for_all(folders):
    (folders / "bad" / "2.png").write_bytes(b"nothing")
    comparison = compared(folders)
    assert "2" not in comparison.images
    assert comparison.failed["2"].startswith("bad: ")
    assert "2.png" in comparison.failed["2"]
    assert len(comparison.values("good", "en")) == 5


def test_what_does_not_match(folders, tmp_path):
    with pytest.raises(InputError, match="files only, or folders only"):
        compare([folders / "a", folders / "b" / "1.png"], {"good": folders / "good"}, METRICS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image that could be rated"):
        compare([folders / "a", folders / "b"], {"none": tmp_path / "empty"}, METRICS)
    (folders / "good" / "3.png").unlink()
    (tmp_path / "names.txt").write_text("1.png\n3.png\n")
    with pytest.raises(InputError, match=r"lists 3, which .*good lacks"):
        compared(folders, names=str(tmp_path / "names.txt"))


def test_folders_are_matched_by_patterns(folders, tmp_path):
    plain = compared(folders)
    for folder in ("a", "b", "bad"):
        for path in (folders / folder).iterdir():
            path.rename(path.with_stem(f"{path.stem}_{folder}"))
    with pytest.raises(InputError, match=r"these match by --match '\{\}_a' --match '\{\}_b'"):
        compared(folders)
    # The fused images are called as what is common, or by patterns of their own.
    one = compare([folders / "a", folders / "b"], {"good": folders / "good"}, METRICS, match=["{}_a", "{}_b"])
    assert one.values("good", "psnr") == plain.values("good", "psnr")
    both = compared(folders, match=["{}_a", "{}_b", "{}", "{}_bad"])
    assert both.values("bad", "psnr") == plain.values("bad", "psnr")
    with pytest.raises(OptionError, match="--match is given once for 2 folders"):
        compared(folders, match=["{}_a", "{}_b", "{}"])
    sources = [folders / "a" / "1_a.png", folders / "b" / "1_b.png"]
    with pytest.raises(OptionError, match="leave it out, or give folders"):
        compare(sources, {"good": folders / "good" / "1.png"}, METRICS, match=["{}", "{}"])
    command = ["evaluate", folders / "a", folders / "b", "--match", "{}_a", "--match", "{}_b", "--metrics", "en"]
    assert run_cli([*command, "--fused", folders / "good"]).code == 0


def test_one_image_is_not_two_of_the_sources(folders):
    source, fused = folders / "a" / "1.png", {"good": folders / "good" / "1.png"}
    with pytest.raises(InputError, match=r"1\.png is given twice: an image has nothing to add to itself"):
        compare([source, source], fused, METRICS)


def test_methods_are_called_by_whole_names(folders):
    (folders / "good").rename(folders / "v1.5")
    (folders / "bad").rename(folders / "v1.6")
    command = ["evaluate", folders / "a", folders / "b", "--fused", folders / "v1.5", "--fused", folders / "v1.6"]
    code, out, err = run_cli([*command, "--metrics", "en", "--json"])
    assert (code, err) == (0, "")
    assert set(json.loads(out)["methods"]) == {"v1.5", "v1.6"}


def test_command(folders, tmp_path):
    arguments = ["evaluate", str(folders / "a"), str(folders / "b")]
    arguments += ["--fused", f"good={folders / 'good'}", "--fused", str(folders / "bad"), "--metrics", "psnr,ssim"]
    code, out, err = run_cli(
        [*arguments, "--per-source", "--csv", str(tmp_path / "t.csv"), "--html", str(tmp_path / "t.html")]
    )
    assert (code, err) == (0, "")
    assert "psnr ↑" in out
    assert "worse source" in out
    assert "copying" in out
    assert "mean rank" in out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert len(rows) == 12
    assert float(rows[0]["psnr (worse)"]) == min(float(rows[0]["psnr (source 1)"]), float(rows[0]["psnr (source 2)"]))
    assert (tmp_path / "t.html").read_text().startswith("<!doctype html>")
    code, out, _ = run_cli([*arguments, "--json"])
    data = json.loads(out)
    assert data["methods"]["good"]["mean"]["psnr"] > data["methods"]["bad"]["mean"]["psnr"]
    assert data["p_values"]["psnr"]["bad"] < 0.05
    assert data["p_values_worst"]["psnr"].keys() == {"bad"}
    assert data["made"]["command"].startswith("fusekit evaluate ")
    assert data["made"]["versions"]["fusekit"] == __version__
    assert data["about"]["psnr"]["direction"] == "higher"
    good = data["methods"]["good"]
    assert good["mean_rank_worst"] < data["methods"]["bad"]["mean_rank_worst"]
    assert 0 <= good["copying"] <= 1
    assert good["sharing"]["3"]["vif"][0] > 0
    assert good["mean_worst"]["psnr"] <= good["mean"]["psnr"]


def test_the_table_of_csv_holds_copying_and_what_tells_it(folders, tmp_path):
    sources, a = [folders / "a", folders / "b"], folders / "a"
    for metrics in (["psnr"], ["cc", "vif", "en"]):
        with pytest.warns(FusekitWarning, match="nearly a copy"):
            comparison = compare(sources, {"copy": a}, metrics)
        rows = list(csv.DictReader(io.StringIO(to_csv(comparison))))
        head = list(rows[0])
        assert len(head) == len(set(head)) == len(rows[0].values())
        for row in rows:
            assert float(row["copying"]) == pytest.approx(1)
            assert float(row["cc (source 1)"]) == pytest.approx(1)
            assert float(row["vif (worse)"]) == float(row["vif (source 2)"]) < float(row["vif (source 1)"])
    assert rows[0]["en (source 1)"] == rows[0]["en (worse)"] == ""


def test_progress_counts_every_value(folders):
    (folders / "bad" / "2.png").write_bytes(b"nothing")
    told = []
    comparison = compared(folders, report=lambda done, image: told.append((done, image)))
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[0] == (0, "0")
    # What a case that failed would have taken is counted as done.
    assert next(done for done, image in told if image == "3") == comparison.steps // 2
    assert told[-1] == (comparison.steps - 1, "5")


def test_what_methods_are_called(folders, tmp_path):
    for name in ("out.v1", "out.v2"):
        shutil.copytree(folders / "good", folders / name)
    arguments = ["evaluate", folders / "a", folders / "b", "--metrics", "en", "--json"]
    code, out, _ = run_cli([*arguments, "--fused", folders / "out.v1", "--fused", folders / "out.v2"])
    assert (code, list(json.loads(out)["methods"])) == (0, ["out.v1", "out.v2"])
    code, _, err = run_cli([*arguments, "--fused", f"={folders / 'out.v1'}"])
    assert code == 2
    assert "names no method; give --fused NAME=" in err


def test_command_on_one_triple_that_copies_a_source(folders):
    a, b = folders / "a" / "1.png", folders / "b" / "1.png"
    code, out, _ = run_cli(["evaluate", str(a), str(b), "--fused", str(a), "--metrics", "psnr", "--json"])
    assert code == 0
    rating = json.loads(out)["methods"]["1"]["ratings"]["1"]["psnr"]
    assert rating["value"] == "inf"
    assert rating["worst"] < 40


def test_command_errors(folders):
    a = str(folders / "a")
    for more, message in (
        (["--metrics", "psnrr"], "did you mean 'psnr'"),
        (["--fused", f"good={folders / 'bad'}"], "two fused results are called"),
        (["--csv", str(folders / "no" / "t.csv")], "does not exist"),
    ):
        code, out, err = run_cli(["evaluate", a, str(folders / "b"), "--fused", str(folders / "good"), *more])
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        assert message in err


class Fragile(FusedMetric):
    """The mean of the fused image; it breaks when it is called for the third time."""

    direction = "higher"
    broken = 0

    def measure(self, fused):
        type(self).broken += 1
        if self.broken == 3:
            raise ZeroDivisionError("too frail")
        return fused.mean((1, 2, 3))


def test_what_a_metric_raises_is_the_failure_of_its_image(folders, monkeypatch):
    registry = registries().metrics
    before = registry.snapshot()
    registry.registrar("strange")("fragile", f"{__name__}:Fragile", direction="higher")
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name: Fragile if name == "fragile" else load(name))
    try:
        comparison = compare([folders / "a", folders / "b"], {"good": folders / "good"}, ["fragile", "psnr"])
        assert comparison.failed == {"2": "good: the metric 'fragile' of strange failed: ZeroDivisionError: too frail"}
        assert comparison.images == ["0", "1", "3", "4", "5"]
        monkeypatch.setattr(Fragile, "broken", 2)
        with pytest.raises(PluginError, match="the metric 'fragile' of strange failed"):
            evaluate([folders / "a" / "0.png"], folders / "good" / "0.png", ["fragile"])
    finally:
        registry.restore(before)
