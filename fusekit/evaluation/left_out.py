"""What there is and is not rated: cases without a fused image, fused images and sources that belong to no case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusekit.cases.case import Case
from fusekit.cases.patterns import proposed
from fusekit.errors import count_of, some

#: Named in a line of the terminal; the page and JSON have all.
_NAMED = 5


@dataclass
class LeftOut:
    """What there is and is not rated.

    Attributes:
        cases: how many the sources have, of those that were asked for.
        lacking: method → names of the cases that it has no fused image for; such a case is rated for no method.
        unmatched: method → files of its folder that are the fused images of no case.
        incomplete: source folder → names that it lacks and another source folder has.
    """

    cases: int
    lacking: dict[str, list[str]] = field(default_factory=dict)
    unmatched: dict[str, list[str]] = field(default_factory=dict)
    incomplete: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> list[tuple[str, list[str]]]:
        """Return what a reader must know: sentences, each with all the names that it tells the first of."""
        whole = count_of(range(self.cases), "case")
        found = [
            (f"{method} lacks {len(names)} of {whole}, which are not rated: {_some(names)}; {_FUSE}", names)
            for method, names in self.lacking.items()
            if names
        ]
        if found and len(self.lacking) > 1:
            common = self.cases - len(set().union(*self.lacking.values()))
            found.append((f"all methods are rated on the {count_of(range(common), 'case')} that each of them has", []))
        found += [
            (f"{method} holds {count_of(names, 'image')} of no case, not rated: {_some(names)}; {_CALLED}", names)
            for method, names in self.unmatched.items()
            if names
        ]
        found += [
            (f"{folder} lacks {count_of(names, 'image')} that another source has: {_some(names)}", names)
            for folder, names in self.incomplete.items()
            if names
        ]
        return found


_FUSE = "fuse them too, or choose cases by --names"
_CALLED = "a fused image is called as its sources are"


def _some(names: Sequence[str]) -> str:
    return some(names, _NAMED)


def left_out(
    asked: Sequence[Case],
    folders: Sequence[str],
    holdings: Mapping[str, Mapping[str, Path]],
    images: Mapping[str, Iterable[Path]],
    known: Iterable[str],
) -> LeftOut:
    """Say what is not rated.

    Args:
        asked: the cases that are asked for, whether or not a source is missing.
        folders: what the folders of their sources are called.
        holdings: method → name → fused image, of those whose names fit the method's pattern.
        images: method → all images of its folder.
        known: all names that a source has, asked for or not.
    """
    cases, known = [case.name for case in asked if case.complete], set(known)
    lacking = {method: [name for name in cases if name not in held] for method, held in holdings.items()}
    unmatched = {}
    for method, held in holdings.items():
        ours = {path for name, path in held.items() if name in known}
        unmatched[method] = [path.name for path in images[method] if path not in ours]
    incomplete = {
        folder: [case.name for case in asked if case.sources[place] is None] for place, folder in enumerate(folders)
    }
    return LeftOut(len(cases), lacking, unmatched, incomplete)


def nothing_in_common(
    cases: Mapping[str, Case], fused: Mapping[str, Path], holdings: Mapping[str, Mapping[str, Path]]
) -> str:
    """Say why no case has a fused image of every method, and by which patterns they would match."""
    for method, held in holdings.items():
        if set(held) & set(cases):
            continue
        if not held:
            return f"{fused[method]} holds no image that could be rated; name the folder of the fused images"
        fact = f"{fused[method]} has a fused image of none of the {count_of(list(cases), 'case')}"
        examples = f"it holds {_some([repr(path.name) for path in list(held.values())[:2]])}, and the sources "
        examples += _some([repr(path.name) for path in next(iter(cases.values())).files])
        remedy = "images are matched by file name without extension"
        found = proposed([cases, held])
        if found is not None:
            of_sources, of_fused = (f"--match '{pattern}'" for pattern in found)
            count = len(next(iter(cases.values())).sources)
            remedy += f"; these match by {' '.join([of_sources] * count)} and {of_fused}"
        return f"{fact}: {examples}; {remedy}"
    some_of_each = "; ".join(
        f"{method} has {_some([name for name in cases if name in held])}" for method, held in holdings.items()
    )
    return f"no case has a fused image of every method: {some_of_each}; fuse the same cases by each"
