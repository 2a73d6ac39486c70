"""Print how the house is laid out, counted from the imports of every file: ``python scripts/house.py [ROOT]``.

Imports inside functions and those for types only count like the others. A room is a folder of ``fusekit/`` or a file
beside it. The order of the rooms is that of the layers in ``pyproject.toml`` (import-linter); without one, nothing is
said of arrows that go up. Nothing of the checkout is imported.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CORE = "fusekit"
ENTRY_FILES = ("__init__", "__main__")


class File(NamedTuple):
    """A module: where it stands, its lines, and the modules of the house that it imports."""

    path: Path
    lines: int
    imports: frozenset[str]


Files = Mapping[str, File]


def read_files(root: Path) -> dict[str, File]:
    """Return the modules of the core and of the plugins' sources, by their dotted names."""
    packages = [root / CORE, *sorted(root.glob("plugins/*/src/*"))]
    paths = {
        _module_name(path.relative_to(package.parent)): path
        for package in packages
        for path in sorted(package.rglob("*.py"))
    }
    files = {}
    for name, path in paths.items():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        files[name] = File(path, lines, imports_of(path, paths, name) - {name})
    return files


def imports_of(path: Path, known: Collection[str], name: str = "") -> frozenset[str]:
    """Return the ``known`` modules that the file at ``path``, the module ``name``, imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(_imported(tree, name, path.stem == "__init__", known))


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.AST, name: str, is_package: bool, known: Collection[str]) -> Iterator[str]:
    """Yield the known modules that the statements of a module import, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = name.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                found = [each for each in (f"{base}.{alias.name}", base) if each in known]
                yield from found[:1]


def circles(imports: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the groups of names of which each imports each, directly or through others."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen: set[str] = set()
        ahead = list(imports[start])
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead.extend(imports[name])
        reached[start] = seen
    groups = {frozenset(b for b in reached[a] if a in reached[b]) for a in imports if a in reached[a]}
    return sorted(sorted(group) for group in groups)


def room_of(module: str) -> str:
    """Return the room of a module: the part below ``fusekit``, or the plugin's package."""
    parts = module.split(".")
    if parts[0] != CORE:
        return parts[0]
    return parts[1] if len(parts) > 1 else CORE


def arrows(files: Files) -> dict[tuple[str, str], list[str]]:
    """Return the pairs of rooms of which the first imports the second, with the imports ``file -> file``."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, file in files.items():
        for other in sorted(file.imports):
            if room_of(name) != room_of(other):
                found.setdefault((room_of(name), room_of(other)), []).append(f"{name} -> {other}")
    return dict(sorted(found.items()))


def read_floors(root: Path) -> dict[str, int]:
    """Return the floor of each room, 0 at the bottom; empty if ``pyproject.toml`` tells of no layers."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings.get("tool", {}).get("importlinter", {}).get("contracts", [])
    layers: list[str] = next((each["layers"] for each in contracts if each.get("type") == "layers"), [])
    return {
        room.strip(): floor
        for floor, layer in enumerate(reversed(layers))
        for room in layer.replace(":", "|").split("|")
    }


def upward(rooms: Mapping[tuple[str, str], list[str]], floors: Mapping[str, int]) -> list[str]:
    """Return the imports that do not go down: up, or to a room on the same floor."""
    return [
        each
        for (room, other), imports in rooms.items()
        if room in floors and other in floors and floors[room] <= floors[other]
        for each in imports
    ]


def report(root: Path) -> Iterator[str]:
    """Yield the lines of the report on the checkout at ``root``."""
    files = read_files(root)
    core = {name: file for name, file in files.items() if name.split(".")[0] == CORE}
    loose = sorted(path.stem for path in (root / CORE).glob("*.py") if path.stem not in ENTRY_FILES)
    yield f"loose modules at the top of {CORE}/: {len(loose)}, beside {' and '.join(ENTRY_FILES)}: {' '.join(loose)}"
    all_rooms = arrows(files)
    between = {room: [to for start, to in all_rooms if start == room] for pair in all_rooms for room in pair}
    yield from _group("circles of files", circles({name: file.imports for name, file in files.items()}))
    yield from _group("circles of rooms and plugins", circles(between))
    floors, rooms = read_floors(root), arrows(core)
    if floors:
        yield f"arrows between the rooms of {CORE}: {len(rooms)}, over {len(set(floors.values()))} floors"
        yield from _group("arrows that do not go down", [[each] for each in upward(rooms, floors)])
    else:
        yield f"arrows between the rooms of {CORE}: {len(rooms)}"
        yield "arrows that do not go down: unknown, as pyproject.toml gives the rooms no order"
    yield "modules of the core that each plugin imports:"
    plugins = sorted({room_of(name) for name in files} - {room_of(name) for name in core})
    for plugin in plugins:
        used = {
            each for name, file in files.items() if room_of(name) == plugin for each in file.imports if each in core
        }
        yield f"  {plugin:<20}{len(used):>4}  {' '.join(sorted(used))}"
    yield "files and lines by room:"
    for room in sorted({room_of(name) for name in core} - {CORE}, key=lambda each: (-floors.get(each, 99), each)):
        yield _size(room, files)
    total = sum(file.lines for file in core.values())
    yield f"  {f'all of {CORE}':<20}{len(core):>4} files {total:>7,} lines"
    yield from (_size(plugin, files) for plugin in plugins)


def _group(title: str, groups: list[list[str]]) -> list[str]:
    return [f"{title}: {len(groups)}", *(f"  {' <-> '.join(group)}" for group in groups)]


def _size(room: str, files: Files) -> str:
    here = [file for name, file in files.items() if room_of(name) == room]
    return f"  {room:<20}{len(here):>4} files {sum(file.lines for file in here):>7,} lines"


def main() -> None:
    """Print the report on a checkout, by default the one that this file stands in."""
    parser = argparse.ArgumentParser(description="Print how the house is laid out.")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parents[1], metavar="ROOT")
    print("\n".join(report(parser.parse_args().root.resolve())))


if __name__ == "__main__":
    main()
