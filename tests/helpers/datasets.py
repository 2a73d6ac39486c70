"""Tiny datasets: three series of three pairs, the first source in colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.cli import write_texture

FACTS: dict[str, Any] = {
    "title": "Tiny",
    "folders": ["pet", "mri"],
    "roles": ["PET", "MRI"],
    "train": "lists.json#/train",
    "test": "lists.json#/test",
    "series": r"(\d+)\d{3}",
    "weights": "ct-mri",
    "draw": 2,
    "paper": "MRI-CT",
}


def write_data(root: Path, **changes: Any) -> Path:
    """Write images, lists and ``datasets.json``, with the dataset ``tiny`` changed by ``changes``; return ``root``."""
    names = [f"{series}00{number}" for series in (1, 2, 3) for number in range(3)]
    for seed, name in enumerate(names):
        write_texture(root / "pet" / f"{name}.png", seed, 25, 22, 3)
        write_texture(root / "mri" / f"{name}.png", 50 + seed, 25, 22)
    (root / "lists.json").write_text(json.dumps({"train": names[:6], "test": names[6:]}))
    facts = {key: value for key, value in {**FACTS, **changes}.items() if value is not None}
    (root / "datasets.json").write_text(json.dumps({"tiny": facts}))
    return root
