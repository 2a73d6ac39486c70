"""What is fused, trained on or rated: the sources that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fusekit.errors import InputError
from fusekit.machine.files import irregular, stat_of


@dataclass(frozen=True)
class Case:
    """The registered images of one scene, one a role: what a batch fuses, training samples and evaluation rates.

    Attributes:
        name: the sources' common file name without extension.
        sources: one path a role, in the order of ``roles``; ``None`` where a folder lacks it.
        roles: what each source shows, such as ``CT``; the name of its folder where nothing else is known.
        series: the patient (or other series of images) that it is of; a case of none other is a series of its own.
        output: file that the fused image is written to, ``None`` where none is.
    """

    name: str
    sources: tuple[Path | None, ...]
    roles: tuple[str, ...]
    series: str
    output: Path | None = None

    def __post_init__(self) -> None:
        if len(self.roles) != len(self.sources):
            raise InputError(
                f"the case {self.name!r} has {len(self.sources)} sources and {len(self.roles)} roles; give each a role"
            )

    @property
    def complete(self) -> bool:
        """Whether no source is missing."""
        return None not in self.sources

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths of all sources.

        Raises:
            InputError: a folder lacks one.
        """
        lacking = [str(index) for index, path in enumerate(self.sources, start=1) if path is None]
        if len(lacking) == len(self.sources) > 1:
            raise InputError(f"in none of the {len(lacking)} folders")
        if lacking:
            raise InputError(f"missing from folder {', '.join(lacking)} of {len(self.sources)}")
        return tuple(path for path in self.sources if path is not None)

    @property
    def target(self) -> Path:
        """The file that the fused image is written to.

        Raises:
            InputError: the case states none.
        """
        if self.output is None:
            raise InputError(f"the case {self.name!r} states no output; give it one")
        return self.output


def check_distinct_files(sources: Sequence[Any]) -> None:
    """Raise `InputError` where one file is two of the sources, by whatever path; what are no paths are not compared."""
    seen: dict[tuple[int, int], Path] = {}
    for path in (Path(source) for source in sources if isinstance(source, (str, Path))):
        try:
            there = stat_of(path)
        except OSError:
            continue
        # Devices and pipes are refused where they are read.
        other = (
            path
            if there is None or irregular(path) not in (None, "a folder")
            else seen.setdefault((there.st_dev, there.st_ino), path)
        )
        if other is not path:
            are = f"{path} is given twice" if path == other else f"{other} and {path} are one file"
            raise InputError(f"{are}: an image has nothing to add to itself; name the image of another modality")
