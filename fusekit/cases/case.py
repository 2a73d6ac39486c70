"""What is fused, trained on or rated: the sources that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One set of sources with its output.

    Attributes:
        name: the sources' common file name without extension.
        sources: one path a folder, ``None`` where a folder lacks it.
        output: file to write.
    """

    name: str
    sources: list[Path | None]
    output: Path
