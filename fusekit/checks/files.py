"""Checks of formats of image files and of aligners."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusekit.checks.base import Findings, check_json
from fusekit.errors import InputError, OutputError
from fusekit.images.align import Aligner, aligned
from fusekit.images.formats.base import Format
from fusekit.images.grid import PICTURE_AXES, Grid
from fusekit.images.image import DEPTHS, Image, from_pixels, full_scale
from fusekit.registry.contract import Component, registered
from fusekit.registry.discovery import registries

#: Bytes of a file that `Format.sniff` is given.
_START = 1024
_FOREIGN = (b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"\x00" * _START)
#: Extensions of pictures that are written with loss.
_LOSSY = (".jpg", ".jpeg")
#: Share of the full scale by which what was written with loss may differ, on the average.
_LOSS = 0.03


def check_format(name: str, files: Sequence[str | Path] = ()) -> list[str]:
    """Check a format of image files against its contract.

    It takes the files given, and no others; they can be read, again and again alike, hold as many images and values as
    it says before, and are refused when they are cut short; images of all depths that it says it holds come back as
    they were, on their grid; others are refused.

    Args:
        name: as registered.
        files: examples, from as many programs as can be had; folders that are one series too.

    Returns:
        what is wrong, one line a finding that names the format; nothing where all is well.

    Raises:
        UnknownNameError: there is no such format.
    """
    registry = registries().formats
    findings = Findings(registered(registry, name))
    extensions = registry.entry(name).details.get("extensions", ())
    with findings.during("to be made"):
        made = registry.load(name)
        if not isinstance(made, type) or not issubclass(made, Format):
            findings.add("is no fusekit.extend.Format; derive from it")
            return findings.found
        given = made()
        if not extensions or not all(each.startswith(".") and each == each.lower() for each in extensions):
            findings.add(f"is registered with extensions={extensions!r}; give lower-case ones with their dot")
            return findings.found
        for path in map(Path, files):
            with findings.during(f"with the file {path.name}"):
                _check_file(findings, given, name, path)
        with tempfile.TemporaryDirectory() as folder:
            _check_foreign(findings, given, Path(folder), extensions)
            for extension in extensions:
                with findings.during(f"with {extension} files"):
                    _check_writing(findings, given, Path(folder), extension)
    return findings.found


def _start_of(path: Path) -> bytes:
    return b"" if path.is_dir() else path.read_bytes()[:_START]


def _check_file(findings: Findings, given: Format, name: str, path: Path) -> None:
    if given.sniff(path, _start_of(path)) is not True:
        findings.add(f"does not take {path.name} for one of its files; sniff returns True for them")
        return
    image = given.read(path)
    if not _check_image(findings, given, image, path.name):
        return
    _check_pages(findings, given, path, image)
    origin = image.origin
    if origin is None or not origin.files or len(origin.sha256) != 64 or origin.format != name:
        findings.add(f"reads {path.name} without its origin; give Origin((path,), SHA-256 digest, {name!r})")
    again = given.read(path)
    if not np.array_equal(again.pixels, image.pixels) or again.grid != image.grid:
        findings.add(f"reads {path.name} otherwise the second time")
    if path.is_file():
        _check_cut(findings, given, path)
    extension = max((each for each in _extensions(name) if path.name.lower().endswith(each)), key=len, default="")
    if extension and image.depth in given.depths(extension) and extension not in _LOSSY:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / f"copy{extension}"
            copy.write_bytes(given.encode(image, extension))
            back = given.read(copy)
        differs = image.grid.differs_from(back.grid, (path.name, "what was written of it"))
        if differs is not None or not np.array_equal(back.pixels, image.pixels):
            findings.add(f"writes {path.name} so that another image comes back{': ' + differs if differs else ''}")


def _check_pages(findings: Findings, given: Format, path: Path, first: Image) -> None:
    """Find what a format tells of a file before it reads it and is not so: how many images, and how large each is."""
    count: Any = given.pages(path)
    if not isinstance(count, int) or count < 1:
        findings.add(f"says that {path.name} holds {count!r} images; pages returns 1 or more")
        return
    for page in sorted({1, count}):
        image = given.read_page(path, page) if count > 1 else first
        if not _check_image(findings, given, image, f"page {page} of {path.name}"):
            return
        if page == 1 and not np.array_equal(image.pixels, first.pixels):
            findings.add(f"reads {path.name} otherwise than its first page; read gives the first image of several")
        shape: Any = given.shape_of(path, page)
        # As they are stored: turned images have their sides exchanged.
        if shape is not None and sorted(shape[:-1]) != sorted(image.size):
            findings.add(f"says that {path.name} has the shape {shape!r}, and reads {image.size}; channels come last")


def _extensions(name: str) -> Sequence[str]:
    given: Sequence[str] = registries().formats.entry(name).details.get("extensions", ())
    return given


def _check_image(findings: Findings, given: Format, image: Any, called: str) -> bool:
    """Find what was read and is no image, or not one that the format says it holds; return whether it is one."""
    if not isinstance(image, Image):
        findings.add(f"reads {called} as {type(image).__name__}; read returns a fusekit.extend.Image")
        return False
    if image.depth not in DEPTHS:
        findings.add(f"reads {called} as {image.depth}; an image holds {', '.join(DEPTHS)}")
    elif not np.isfinite(image.pixels).all():
        findings.add(f"reads {called} with values that are not finite; refuse the file by InputError")
    if len(image.size) not in given.axes:
        findings.add(f"reads {called} with {len(image.size)} axes, and says that its files have {given.axes}")
    if image.color and not given.colors:
        findings.add(f"reads {called} in colour, and says that its files have none")
    return True


def _check_cut(findings: Findings, given: Format, path: Path) -> None:
    """Find a reader that does not refuse what is left of a damaged file."""
    data = path.read_bytes()
    for share in (0.3, 0.7):
        with tempfile.TemporaryDirectory() as folder:
            cut = Path(folder) / path.name
            cut.write_bytes(data[: int(len(data) * share)])
            try:
                given.read(cut)
            except InputError as error:
                if path.name not in str(error):
                    findings.add(f"refuses what is left of {path.name} without naming the file: {error}")
                continue
            except Exception as error:
                findings.add(f"fails at what is left of {path.name} by {type(error).__name__}; refuse it by InputError")
                continue
            findings.add(f"reads {path.name} though it was cut short; refuse it by InputError")


def _check_foreign(findings: Findings, given: Format, folder: Path, extensions: Sequence[str]) -> None:
    for number, data in enumerate(_FOREIGN):
        path = folder / f"foreign-{number}{extensions[0]}"
        path.write_bytes(data)
        with findings.during("with a file of no format"):
            # The start of another format is that format's to take.
            if given.sniff(path, data) and not data.startswith(b"\x89PNG"):
                findings.add(f"takes a file for its own that begins {data[:15]!r}; tell files by their content")
    with findings.during("with an empty folder"):
        empty = folder / "empty"
        empty.mkdir()
        if given.sniff(empty, b""):
            findings.add("takes an empty folder for one of its series")


def _pictures(given: Format) -> Iterator[tuple[str, Image]]:
    """Yield images of all depths, axes and colours, with what to call each."""
    for axes in given.axes:
        shape = (7, 12, 10)[-axes:] if axes <= 3 else (3,) * (axes - 3) + (7, 12, 10)
        grid = Grid(shape) if axes == 2 else _volume(shape)
        for depth in DEPTHS:
            for color in (False, True):
                # Slopes, which are kept with loss too.
                slope = np.indices((*shape, 3) if color else shape).sum(0)
                unit = slope / slope.max()
                pixels = unit.astype(np.float32) if depth == "float32" else (unit * full_scale(depth)).astype(depth)
                called = f"{'colour' if color else 'grey'} {depth} image of {axes} axes"
                yield called, from_pixels(pixels, color=color, grid=grid)


def _volume(shape: Sequence[int]) -> Grid:
    axes = ("slice", *PICTURE_AXES) if len(shape) == 3 else tuple(f"axis {number}" for number in range(len(shape)))
    return Grid(tuple(shape), axes=axes)


def _check_writing(findings: Findings, given: Format, folder: Path, extension: str) -> None:
    path, allowed = folder / f"written{extension}", given.depths(extension)
    for called, image in _pictures(given):
        holds = image.depth in allowed and (given.colors or not image.color)
        try:
            given.check(path, extension, image.depth, image.color, len(image.size))
        except OutputError:
            if holds:
                findings.add(f"refuses a {called} in {extension} files, which it says they hold")
            continue
        if not holds:
            findings.add(f"does not refuse a {called} in {extension} files, which it says they do not hold")
            continue
        _check_return(findings, given, path, extension, called, image)


def _check_return(findings: Findings, given: Format, path: Path, extension: str, called: str, image: Image) -> None:
    before = image.pixels.copy()
    data: Any = given.encode(image, extension)
    if not isinstance(data, bytes):
        findings.add(f"encodes a {called} as {type(data).__name__}; encode returns bytes")
        return
    if not np.array_equal(before, image.pixels):
        findings.add("changes the image that it writes; work on copies")
    path.write_bytes(data)
    if given.sniff(path, data[:_START]) is not True:
        findings.add(f"does not take the {extension} file for its own that it wrote itself")
        return
    back = given.read(path)
    if not _check_image(findings, given, back, f"the {called} that it wrote"):
        return
    if (back.depth, back.color, back.size) != (image.depth, image.color, image.size):
        findings.add(f"gives back a {back.depth} image of {back.size} for a {called} of {image.size} in {extension}")
        return
    far = np.abs(back.pixels.astype(np.float64) - image.pixels) / full_scale(image.depth)
    if (far.mean() > _LOSS) if extension in _LOSSY else far.any():
        findings.add(f"gives back other values of a {called} in {extension} files")


def check_aligner(name: str, pairs: Sequence[tuple[Image, Image]] = ()) -> list[str]:
    """Check an aligner against its contract.

    What it gives lies on the fixed image's grid, keeps depth and colour, is the same every time, and comes with a
    transform that JSON can hold; neither image is changed. An aligner may refuse a pair with `InputError`, though not
    all of them.

    Args:
        name: as registered.
        pairs: further images (moving, fixed) to try beside small pictures of one size and of two.

    Returns:
        what is wrong, one line a finding that names the aligner; nothing where all is well.

    Raises:
        UnknownNameError: there is no such aligner.
    """
    component = registered(registries().aligners, name)
    findings = Findings(component)
    with findings.during("to be made"):
        made = registries().aligners.load(name)
        if not isinstance(made, type) or not issubclass(made, Aligner):
            findings.add("is no fusekit.extend.Aligner; derive from it")
            return findings.found
        tried = [*_small_pairs(), *pairs]
        refused = sum(_refuses(findings, component, moving, fixed) for moving, fixed in tried)
        if refused == len(tried):
            findings.add("refuses every pair of images; try it with pairs that it takes")
    return findings.found


def _small_pairs() -> list[tuple[Image, Image]]:
    generator = np.random.default_rng(0)

    def picture(*shape: int, depth: str = "uint8") -> Image:
        unit = generator.random(shape)
        return from_pixels(unit.astype(np.float32) if depth == "float32" else (unit * full_scale(depth)).astype(depth))

    fixed = picture(24, 20)
    return [
        (picture(24, 20), fixed),
        (picture(48, 40), fixed),
        (picture(13, 17, 3), fixed),
        (picture(30, 21, depth="uint16"), fixed),
        (picture(30, 21, depth="float32"), fixed),
        (fixed, fixed),
    ]


def _refuses(findings: Findings, component: Component, moving: Image, fixed: Image) -> bool:
    """Try one pair; return whether the aligner refuses it."""
    before = moving.pixels.copy(), fixed.pixels.copy()
    sizes = "×".join(map(str, moving.size)), "×".join(map(str, fixed.size))
    with findings.during(f"with {sizes[0]} pixels to be aligned to {sizes[1]}"):
        try:
            first, again = (aligned([fixed, moving], component.name) for _ in range(2))
        except InputError:
            return True
        if not np.array_equal(first.images[1].pixels, again.images[1].pixels):
            findings.add("gives another image every time; draw random numbers from a fixed seed")
        if not np.isfinite(first.images[1].pixels).all():
            findings.add("gives values that are not finite; fill what lies outside the moving image with 0")
        check_json(findings, first.transforms[1], "a transform")
    if not (np.array_equal(before[0], moving.pixels) and np.array_equal(before[1], fixed.pixels)):
        findings.add("changes its inputs; work on copies, since others read them too")
    return False
