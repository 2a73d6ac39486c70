"""The tables in the terminal: any width, any number of methods and sources, any name."""

from __future__ import annotations

import io
import warnings

import pytest
from helpers.comparisons import write_folders
from rich.cells import cell_len
from rich.console import Console

from fusekit.errors import FusekitWarning
from fusekit.evaluation.compare import compare
from fusekit.evaluation.terminal import by_rank, number, print_comparison

NAMES = ["1", "2", "3"]


def compared(tmp_path, methods, sources=2, metrics=("standard",)):
    folders = write_folders(tmp_path, NAMES, dict.fromkeys(methods, NAMES), sources)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        return compare(folders, {method: tmp_path / method for method in methods}, list(metrics))


def printed(comparison, width=80, **more):
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=width), **more)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_value_is_there_at_any_width(tmp_path, width):
    methods = ["good", "noisy", "copy", *(f"method-{number}" for number in range(4))]
    comparison = compared(tmp_path, methods)
    text = printed(comparison, width, worst=True)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    for method in methods:
        for metric in comparison.metrics:
            assert number(comparison.mean(method, metric)) in text
            assert number(comparison.mean(method, metric, "worst")) in text
    # A table more where the width needs it, each with all metrics.
    tables = text.count("qabf ↑")
    assert tables == sum(line.lstrip().startswith("metric ") for line in text.splitlines())
    assert (tables > 1) == (width < 200)


def test_the_table_of_ranks(tmp_path):
    comparison = compared(tmp_path, ["good", "noisy", "copy"])
    text = printed(comparison)
    lines = [line.split() for line in text[text.index("copying") :].splitlines()]
    rows = {words[0]: words for words in lines if words and words[0] in comparison.methods}
    assert list(rows) == by_rank(comparison)
    assert next(iter(rows)) == "good"
    assert "1.00!" in rows["copy"]
    assert f"{comparison.mean_rank('noisy', 'worst'):.2f}" in rows["noisy"]
    for legend in ("by worse source", "copying: 0", "*: differs", "r: correlation", "±: standard", "bold: the best"):
        assert legend in text


def test_one_method_one_image_one_source(tmp_path):
    folders = write_folders(tmp_path, ["1"], {"good": ["1"]}, sources=1)
    text = printed(compare(folders, {"good": tmp_path / "good"}, ["ssim"]))
    for word in ("rank", "copying", "*", "±", "worse"):
        assert word not in text
    assert "ssim ↑" in text


def test_many_sources_show_the_best_and_the_worst(tmp_path):
    text = printed(compared(tmp_path, ["good"], sources=5, metrics=["ssim"]))
    assert "best / worst" in text
    assert max(map(cell_len, text.splitlines())) <= 80


def test_names_are_shown_as_they_are_and_long_ones_whole(tmp_path):
    comparison = compared(tmp_path, ["good", "noisy", "copy"], metrics=["ssim"])
    names = ["[/bold] [red]x", "\x1b]0;title\x07", "".join(f"{number:03}" for number in range(60))]
    for table in (comparison.fused, comparison.ratings, comparison.sharing):
        for method, name in zip(["good", "noisy", "copy"], names, strict=True):
            table[name] = table.pop(method)
    text = printed(comparison)
    assert not {"\x1b", "\x07"} & set(text)
    assert "[/bold] [red]x" in text
    assert "\\x1b]0;title\\x07" in text
    # It is folded into the first column of the table of ranks.
    starts = [line.split()[0] for line in text[text.index("copying") :].splitlines() if line.split()]
    assert names[2] in "".join(start for start in starts if start.isdigit())
    assert max(map(cell_len, text.splitlines())) <= 80
