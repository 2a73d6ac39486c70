"""The reference page holds every name of the doors, and no other name under theirs."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
from helpers.paths import ROOT

import fusekit
from fusekit import extend, testing


@pytest.mark.parametrize("door", [fusekit, extend, testing], ids=lambda door: door.__name__)
def test_every_name_of_the_doors_stands_in_the_reference(door: ModuleType) -> None:
    page = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    found = re.findall(rf"^::: {re.escape(door.__name__)}\.(\w+)$", page, re.MULTILINE)
    assert sorted(found) == sorted(door.__all__)
