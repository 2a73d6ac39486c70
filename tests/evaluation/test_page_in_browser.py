"""The page in a real browser: nothing goes wrong in it, its tables sort, its curtains move, and it fits a telephone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.browser import Page, browser, chromium
from helpers.comparisons import write_folders

from fusekit.errors import FusekitWarning
from fusekit.evaluation.compare import compare
from fusekit.evaluation.page.build import to_html

pytestmark = [pytest.mark.slow, pytest.mark.process]

NAMES = [f"{number:02}" for number in range(16)]
METHODS = ["good", "noisy", "copy"]
LONG = "a-method-with-a-name-that-does-not-end-" * 3


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of three methods, one of a name that is long and no word, on sixteen cases."""
    root = tmp_path_factory.mktemp("report")
    folders = write_folders(root, NAMES, dict.fromkeys(METHODS, NAMES))
    fused = {LONG if method == "noisy" else method: root / method for method in METHODS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        comparison = compare(folders, fused, ["standard"])
    path = root / "page.html"
    path.write_text(to_html(comparison, f"fusekit evaluate {'very/long/path' * 30}"), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    executable = chromium()
    if executable is None:
        pytest.skip("there is no browser: install chromium, or name one by CHROME")
    with browser(executable, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(running: Page, report: Path) -> Iterator[Page]:
    """Open the page anew at 1280 pixels, and check afterwards that nothing went wrong and nothing was asked for."""
    running.problems.clear()
    running.requests.clear()
    running.resize(1280)
    running.prefer("light")
    running.open(report)
    running.run("localStorage.clear()")
    yield running
    assert running.problems == []
    assert {address.partition(":")[0] for address in running.requests} <= {"file", "data"}


def column(page: Page, table: str, number: int) -> list[str]:
    code = f"[...document.querySelectorAll('{table} tbody tr')].map(row => row.cells[{number}].textContent)"
    return [str(each) for each in page.run(code)]


def sorting(page: Page, table: str) -> list[str | None]:
    return list(page.run(f"[...document.querySelectorAll('{table} thead th')].map(e => e.getAttribute('aria-sort'))"))


def test_a_click_on_a_head_sorts(page):
    before = column(page, "#cases", 3)
    assert sorting(page, "#cases") == [None] * (3 + 16)
    page.click("#cases thead th:nth-child(4) button")
    assert column(page, "#cases", 3) == sorted(before, key=float)
    assert sorting(page, "#cases")[3] == "ascending"
    page.click("#cases thead th:nth-child(4) button")
    assert column(page, "#cases", 3) == sorted(before, key=float, reverse=True)
    assert sorting(page, "#cases")[3] == "descending"
    # Infinite values are numbers too: the copy's PSNR is the greatest.
    page.click("#cases thead th:nth-child(10) button")
    assert column(page, "#cases", 9)[-16:] == ["inf"] * 16
    assert [each for each in sorting(page, "#cases") if each] == ["ascending"]


def test_the_keyboard_sorts(page):
    page.run("document.querySelector('#ranks thead th button').focus()")
    page.press("Enter", 13, "\r")
    names = column(page, "#ranks", 0)
    assert names == sorted(names)
    page.press(" ", 32, " ")
    assert column(page, "#ranks", 0) == names[::-1]
    page.press("Tab", 9)
    assert page.run("document.activeElement.closest('th').cellIndex") == 1


def test_the_curtain_moves_and_its_pictures_can_be_chosen(page):
    def at() -> str:
        return str(page.run("getComputedStyle(document.querySelector('.curtain')).getPropertyValue('--at')"))

    def clip() -> str:
        return str(page.run("getComputedStyle(document.querySelector('.curtain .left')).clipPath"))

    assert page.run("[...document.querySelectorAll('.curtain img')].every(e => e.complete && e.naturalWidth > 0)")
    middle = clip()
    page.click(".curtain input", 0.25)
    assert float(at().removesuffix("%")) == pytest.approx(25, abs=2)
    assert clip() != middle
    page.press("ArrowRight", 39)
    assert float(at().removesuffix("%")) == pytest.approx(26, abs=2)
    options = page.run("[...document.querySelector('.picks select').options].map(e => e.text)")
    assert len(options) == 2 + 3 * 3
    chosen = options.index("|good − source-1|")
    page.run(
        f"(() => {{ const e = document.querySelector('.picks select'); e.selectedIndex = {chosen};"
        "e.dispatchEvent(new Event('change')); })()"
    )
    assert page.run("document.querySelector('.curtain .left').alt") == "|good − source-1|"
    assert page.run(
        f"document.querySelector('.curtain .left').src === document.querySelectorAll('.strip img')[{chosen}].src"
    )
    plain = page.run("getComputedStyle(document.querySelector('.curtain .left')).filter")
    page.click(".brighten input")
    assert (plain, page.run("getComputedStyle(document.querySelector('.curtain .left')).filter")) == (
        "none",
        "brightness(4)",
    )


@pytest.mark.parametrize("width", [320, 390, 1280, 2560])
def test_the_page_fits_its_width(page, width):
    page.resize(width)
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg') && "
    wide += "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    assert page.run(wide) == []
    assert page.run("document.documentElement.scrollWidth") == width
    # The wide table scrolls in its own box, and the column of names stays.
    if width == 390:
        page.run("document.querySelector('#cases .scroll').scrollLeft = 300")
        assert page.run("document.querySelector('#cases .scroll').scrollLeft") == 300
        assert page.run("document.querySelector('#cases tbody th').getBoundingClientRect().left") < 40
    # A wide window is used.
    if width == 2560:
        assert page.run("document.querySelector('#metrics .scroll').getBoundingClientRect().width") > 2300


def background(page: Page) -> list[int]:
    return [int(each) for each in page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")]


def test_light_and_dark(page, report):
    def contrast(selector: str) -> float:
        """Return the ratio of luminances of text and ground, by WCAG 2."""
        pair = page.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "return [getComputedStyle(e).color, getComputedStyle(document.body).backgroundColor]"
            ".map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number)); })()"
        )
        lights = []
        for color in pair:
            parts = [each / 255 for each in color]
            linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
            lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
        return (max(lights) + 0.05) / (min(lights) + 0.05)

    assert min(background(page)) > 240
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        for selector in ("body", ".note", "small", "nav a", ".flag", ".warning b", "figcaption"):
            assert contrast(selector) >= 4.5, (scheme, selector)
    assert max(background(page)) < 60
    assert page.run("document.getElementById('theme').textContent") == "Theme: automatic"
    page.click("#theme")
    page.click("#theme")
    assert page.run("document.getElementById('theme').textContent") == "Theme: light"
    assert min(background(page)) > 240
    # The choice outlasts the page.
    page.open(report)
    assert min(background(page)) > 240
    page.click("#theme")
    assert max(background(page)) < 60


def test_on_paper_there_are_no_controls(page):
    page.call("Emulation.setEmulatedMedia", media="print")
    hidden = page.run(
        "[...document.querySelectorAll('nav, #theme, .viewer, .brighten')].every(e => e.getClientRects().length === 0)"
    )
    assert hidden
    assert page.run("getComputedStyle(document.querySelector('#cases .scroll')).overflowX") == "visible"
    page.call("Emulation.setEmulatedMedia", media="")


def test_without_the_script_everything_but_the_controls_is_there(page, report):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report)
        assert page.run("document.querySelectorAll('.strip img').length") > 0
        assert page.run("[...document.querySelectorAll('.viewer')].every(e => e.getClientRects().length === 0)")
        assert page.run("document.getElementById('theme').hidden")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
