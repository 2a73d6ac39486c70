"""The page that lists all metrics is what the script makes of the registry."""

from __future__ import annotations

import importlib.util

import pytest
from helpers.paths import ROOT

SCRIPT = ROOT / "docs" / "generate" / "metric_list.py"


def test_the_page_is_up_to_date() -> None:
    if not SCRIPT.is_file():
        pytest.skip("the scripts are not beside the tests")
    spec = importlib.util.spec_from_file_location("metric_list", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.page()
    assert module.PAGE.read_text(encoding="utf-8") == text, "run python docs/generate/metric_list.py"
    assert "| [`qabf`](#qabf) | ↑ |" in text
    assert "mean, at most" not in text
    assert all(f"\n## {name}\n" in text for name in ("ssim.sum", "nabf", "lpips.vgg16"))
