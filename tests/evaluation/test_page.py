"""The page of a comparison, as text: it is one file, it shows what others wrote as text, and it stays small."""

from __future__ import annotations

import base64
import io
import json
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.comparisons import mean, picture, write_folders
from PIL import Image as Pillow

from fusekit.errors import FusekitWarning
from fusekit.evaluation.compare import compare
from fusekit.evaluation.export import to_json
from fusekit.evaluation.page import pictures, plots, tables
from fusekit.evaluation.page.build import to_html
from fusekit.evaluation.page.pictures import difference_map, shown
from fusekit.evaluation.ratings import Comparison
from fusekit.images.files import write_image
from fusekit.images.image import Array, from_pixels
from fusekit.registry.discovery import registries

METRICS = ["psnr", "en", "ssim"]
NAMES = [f"{number:02}" for number in range(6)]
VOID = {"meta", "img", "input", "br", "link"}


class Structure(HTMLParser):
    """Checks that elements nest, and keeps their attributes and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def pictures(self) -> list[str]:
        return [attributes["src"] for tag, attributes in self.found if tag == "img" and "src" in attributes]


def decoded(address: str) -> Array:
    return np.asarray(Pillow.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def parsed(page: str) -> Structure:
    structure = Structure()
    structure.feed(page)
    structure.close()
    assert structure.open == []
    return structure


def compared(tmp_path, methods=("good", "noisy", "copy"), sources=2, metrics=METRICS, names=NAMES) -> Comparison:
    folders = write_folders(tmp_path, names, dict.fromkeys(methods, names), sources)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        return compare(folders, {method: tmp_path / method for method in methods}, metrics)


def test_difference_map():
    dark, bright = np.zeros((4, 4)), np.full((4, 4), 200 / 255)
    assert (difference_map(dark, bright) == 200).all()
    assert (difference_map(bright, dark) == 200).all()


def test_pictures_show_the_range_that_was_rated(tmp_path):
    """Twelve bits in sixteen are no darker than the same picture in eight, and floats are not cut at 1."""
    eight = [picture(1), picture(2)]
    pages = {}
    for depth in ("eight", "twelve", "float"):
        (tmp_path / depth).mkdir()
        paths = [tmp_path / depth / f"{name}.tif" for name in ("a", "b", "f")]
        for path, pixels in zip(paths, [*eight, mean(eight)], strict=True):
            unit = pixels / 255
            stored = {
                "eight": pixels,
                "twelve": np.rint(unit * 4095).astype(np.uint16),
                "float": (unit * 2000 - 1000).astype(np.float32),
            }[depth]
            write_image(path, from_pixels(stored))
        chosen = ["-1000:1000", "fused=-1000:1000"] if depth == "float" else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FusekitWarning)
            comparison = compare(paths[:2], {"f": paths[2]}, ["ssim"], data_range=chosen)
        pages[depth] = [decoded(each) for each in parsed(to_html(comparison)).pictures]
    for depth in ("twelve", "float"):
        for ours, theirs in zip(pages[depth], pages["eight"], strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 1
    # It is said, in JSON too.
    assert comparison.ranges["f"]["f"] == [(-1000.0, 1000.0)] * 3
    assert json.loads(to_json(comparison))["methods"]["f"]["ranges"]["f"] == [[-1000.0, 1000.0]] * 3
    assert json.loads(to_json(comparison))["data_range"] == ["-1000:1000", "fused=-1000:1000"]


def test_a_doubt_about_the_range_stands_on_the_page_and_in_json(tmp_path):
    paths = [tmp_path / f"{name}.tif" for name in ("a", "b", "f")]
    for path, seed in zip(paths, (1, 2, 3), strict=True):
        write_image(path, from_pixels(picture(seed).astype(np.uint16) * 16))
    with pytest.warns(FusekitWarning, match="is taken for 12 bits"):
        comparison = compare(paths[:2], {"f": paths[2]}, ["ssim"])
    assert "is taken for 12 bits" in to_html(comparison)
    assert "is taken for 12 bits" in json.loads(to_json(comparison))["doubts"]["bits"]


def test_the_page_loads_nothing(tmp_path):
    found = parsed(to_html(compared(tmp_path))).found
    for tag, attributes in found:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert not any(name.startswith("on") for name in attributes)
    policies = [attributes["content"] for _, attributes in found if "http-equiv" in attributes]
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; img-src data:;")
    style = to_html(compared(tmp_path)).partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize(("sources", "methods"), [(1, ["good"]), (2, ["good"]), (3, ["good", "copy"]), (5, ["noisy"])])
def test_any_number_of_sources_and_methods(tmp_path, sources, methods):
    comparison = compared(tmp_path, methods, sources)
    structure = parsed(to_html(comparison))
    assert len(structure.pictures) == 6 * (sources + len(methods) * (1 + sources))
    text = " ".join(structure.text)
    assert ("copying" in text) == (sources > 1)
    assert ("mean rank" in text) == (len(methods) > 1)


def test_one_case_has_neither_spread_nor_stars(tmp_path):
    page = to_html(compared(tmp_path, names=["01"]))
    text = " ".join(parsed(page).text)
    for word in ("±", "<svg", "Every case", "Other cases", "randomisation"):
        assert word not in text + page
    assert "3 methods rated on 1 case" in page


@pytest.mark.slow
def test_the_page_says_how_it_was_made_and_what_the_metrics_are(tmp_path):
    page = to_html(compared(tmp_path, metrics=["standard"]), "fusekit evaluate a b --fused 'x y'")
    text = " ".join(" ".join(parsed(page).text).split())
    assert "fusekit evaluate a b --fused 'x y'" in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
    assert "paired randomisation test" in text
    for metric in compared(tmp_path, metrics=["standard"]).metrics:
        entry = registries().metrics.entry(metric)
        assert f'id="m-{metric}"' in page
        assert " ".join(entry.citation.split()) in text
        assert f"{entry.details['direction'].capitalize()} is better." in text
    assert page.count('href="https://search.crossref.org/') == text.count("find it") == 16


@pytest.mark.parametrize(
    ("citation", "address"),
    [
        ("Doe: A metric. doi:10.1109/TIP.2003.819861.", "https://doi.org/10.1109/TIP.2003.819861"),
        ("Doe, https://example.org/a?b=1&c=2, 2020", "https://example.org/a?b=1&amp;c=2"),
        ("Doe: A \"metric\" & more", "https://search.crossref.org/search/works?q=Doe%3A+A+%22metric%22+%26+more&amp;from_ui=yes"),
    ],
)  # fmt: skip
def test_links_to_papers(citation, address):
    assert f'href="{address}"' in tables._cited(citation)


NASTY = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "[/bold]", "\x1b]0;title\x07", "a\nb"]


def test_names_are_text(tmp_path):
    methods = ["good", "noisy", "copy", "four", "five"]
    comparison = compared(tmp_path, methods, names=NAMES[:2])
    old_images, names = list(comparison.cases), ["<b>one</b>", "</script>'\""]
    renamed = dict(zip(methods, NASTY, strict=True))
    held: list[dict] = [comparison.fused, comparison.ratings, comparison.sharing, comparison.ranges]
    for table in held:
        for method, name in renamed.items():
            table[name] = {new: table[method][old] for new, old in zip(names, old_images, strict=True)}
            del table[method]
    comparison.cases = {new: comparison.cases[old] for new, old in zip(names, old_images, strict=True)}
    comparison.failed = {"<i>x</i>": "\x1b[31mred & <b>"}
    page = to_html(comparison, "fusekit evaluate '<script>' \x1b[0m")
    structure = parsed(page)
    assert [tag for tag, _ in structure.found].count("script") == 1
    assert not {"b>one", "onerror"} & {tag for tag, _ in structure.found}
    assert "\x1b" not in page
    assert "\x07" not in page
    text = "".join(structure.text)
    for name in (*NASTY[:3], *names, r"\x1b]0;title\x07", r"a\nb", "<i>x</i>: \\x1b[31mred & <b>"):
        assert name in text


def test_large_folders_show_the_worst_of_each_method_and_thumbnails(tmp_path):
    comparison = compared(tmp_path, ["good", "noisy"], names=[f"{number:03}" for number in range(40)])
    which = shown(comparison)
    assert which.each == 6
    for method in comparison.methods:
        assert set(comparison.worst_images(method)[:6]) <= set(which.worst)
    assert len(which.worst) <= 12
    assert len(which.worst) + len(which.others) == which.steps == 40
    told = []
    page = to_html(comparison, "", which, lambda done, image: told.append((done, image)))
    assert told == list(enumerate([*which.worst, *which.others]))
    assert "The 6 worst cases of each method" in page
    assert page.count("data:image/jpeg") == 2 * len(which.others)


def test_what_would_fill_the_page_is_left_out_and_said(tmp_path, monkeypatch):
    comparison = compared(tmp_path, ["good", "noisy"], names=[f"{number:02}" for number in range(20)])
    full = to_html(comparison)
    monkeypatch.setattr(pictures, "MOST_BYTES", 60_000)
    monkeypatch.setattr(pictures, "MOST_THUMBNAILS", 6)
    monkeypatch.setattr(tables, "MOST_ROWS", 15)
    monkeypatch.setattr(plots, "MOST_DOTS", 1)
    small = to_html(comparison)
    assert len(small) < len(full) - 40_000
    assert re.search(r"\d+ of them are left out, so that the page stays below", small)
    assert re.search(r"3 of \d+ other cases, the worst first", small)
    assert "These are the first 15 of 40 rows" in small
    assert "Each row shows 12 of 20 images" in small
    for text in ("are left out, so that", "other cases, the worst first:", "These are the first", "Each row shows"):
        assert (text in full) == (text == "other cases, the worst first:")


def test_large_images_are_thinned(tmp_path):
    assert pictures._thinned(np.zeros((3000, 2000), np.uint8), 1024).shape == (1000, 667)
    assert pictures._thinned(np.zeros((30, 20, 3), np.uint8), 1024).shape == (30, 20, 3)
    # Each pixel is the mean of a square, not one of it.
    board = np.indices((200, 200)).sum(0).astype(np.uint8) % 2 * 200
    assert set(np.unique(pictures._thinned(board, 100))) == {100}
