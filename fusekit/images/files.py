"""Reading and writing image files of all registered formats.

The format is told by a file's content when it is read, and chosen by the name's extension when it is written. PNG,
TIFF, JPEG and BMP are tried first, so that no plugin's code is imported for them. Files are written atomically.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import NamedTuple, SupportsIndex

from fusekit.errors import (
    FusekitError,
    FusekitWarning,
    InputError,
    OptionError,
    OutputError,
    PluginError,
    one_line,
    size_text,
)
from fusekit.images.formats.base import Format
from fusekit.images.formats.foreign import called
from fusekit.images.formats.raster import Raster
from fusekit.images.image import DEPTHS, Image, check_finite
from fusekit.machine.files import check_regular, irregular, why
from fusekit.options import MAX_PIXELS
from fusekit.registry.contract import Component, calling, fault
from fusekit.registry.discovery import BUILTIN_OWNER, registries
from fusekit.registry.registry import Entry, import_target

#: First bytes of a file that formats tell their own by.
_START = 1024
_RASTER = "raster"


class _Found(NamedTuple):
    component: Component
    format: Format


def read_image(
    path: str | Path, *, finite: bool = True, page: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image:
    """Read one image file, or a folder that is one series.

    Args:
        path: a regular file, or such a folder.
        finite: whether values that are NaN or infinite are refused.
        page: which image of a file that holds several, counted from 1; a file of one image is read whatever it says.
        max_pixels: the most pixels that the image may have, checked before memory is taken; of more than four channels
            each four values count as a pixel.

    Raises:
        InputError: missing, empty, no regular file, of no format that is registered, damaged, of several images and no
            page was chosen or it has less, too large, too small, or with values that are not finite.
        PluginError: the format's own code fails, or gives what is no image.
    """
    path = Path(path)
    found = _reader_of(path, _start_of(path))
    with _blaming(found, f"cannot read {path}"):
        if isinstance(found.format, Raster):
            # Opened once, for the built-in formats are read by the thousand.
            with found.format.opened(path) as file:
                number, count = _chosen(path, file.pages(), page)
                check_size(path, file.shape_of(number), max_pixels)
                image = file.read_page(number)
        else:
            number, count = _chosen(path, _pages(found, path), page)
            check_size(path, _shape(found, path, number), max_pixels)
            image = found.format.read(path) if count == 1 else found.format.read_page(path, number)
    if not isinstance(found.format, Raster):
        image = _checked(found, path, image)
        check_size(path, (*image.size, 1), max_pixels)
    if finite:
        check_finite(image.pixels, image.name)
    if count == 1:
        return image
    origin = None if image.origin is None else replace(image.origin, page=number)
    return replace(image, origin=origin, notes=(*image.notes, f"page {number} of {count}"))


def is_page(image: Image) -> bool:
    """Return whether an image was read from a file that holds several."""
    return image.origin is not None and image.origin.page is not None


def check_page(page: int | None, paged: bool) -> None:
    """Raise `OptionError` where a page is asked for and no file that was read holds several."""
    if page is not None and not paged:
        raise OptionError(f"page {page} is asked for, and no file holds several pages; leave --page out")


def check_size(path: Path, shape: Sequence[int] | None, max_pixels: int) -> None:
    """Raise `InputError` where an image of this shape, its channels last, has more pixels than may be read."""
    if shape is None:
        return
    *sides, channels = shape
    if math.prod(sides) * max(channels, 4) > 4 * max_pixels:
        of_channels = f" of {channels} channels" if channels > 4 else ""
        raise InputError(
            f"{path} has {size_text(sides)} pixels{of_channels}, and no more than {max_pixels} are read; allow more by "
            "--max-pixels, or cut or resample it first"
        )


def _pages(found: _Found, path: Path) -> int:
    """Return how many images a file holds, as its format says.

    Raises:
        PluginError: it says something else than a number of 1 or more.
    """
    count: object = found.format.pages(path)
    if not isinstance(count, SupportsIndex) or index(count) < 1:
        raise fault(found.component, f"says that {path} holds {count!r} images", "pages returns 1 or more")
    return index(count)


def _shape(found: _Found, path: Path, page: int) -> tuple[int, ...] | None:
    """Return the shape of an image, as its format tells it before it is read.

    Raises:
        PluginError: it tells something else than whole numbers.
    """
    shape: object = found.format.shape_of(path, page)
    if shape is None:
        return None
    numbers = tuple(shape) if isinstance(shape, (tuple, list)) else ()
    if len(numbers) < 2 or not all(isinstance(each, SupportsIndex) and index(each) >= 0 for each in numbers):
        raise fault(found.component, f"says that {path} has the shape {shape!r}", "give its axes and channels")
    return tuple(map(index, numbers))


def _chosen(path: Path, count: int, page: int | None) -> tuple[int, int]:
    """Return which of the images of a file is to be read, counted from 1, and how many there are."""
    if count == 1:
        return 1, 1
    if page is None:
        raise InputError(
            f"{path} holds {count} pages; choose one by --page N (1 to {count}), or save it as a file of its own"
        )
    if not 1 <= page <= count:
        raise InputError(f"{path} has no page {page}: it holds {count} pages; choose --page 1 to {count}")
    return page, count


def write_image(path: Path, image: Image) -> None:
    """Write an image in the format of the extension.

    Raises:
        OutputError: no format has the extension, it does not hold such an image, or the file cannot be written.
        PluginError: the format's own code fails.
    """
    from fusekit.machine.files import atomic_path

    check_format(path, image.depth, image.color, len(image.size))
    with atomic_path(path) as partial:
        partial.write_bytes(encode_image(image, path))


def encode_image(image: Image, name: str | Path) -> bytes:
    """Return the bytes of an image file that is called, or whose name ends with, ``name``."""
    found, extension = _writer_of(Path(name))
    with _blaming(found, f"cannot write {name}"):
        data = found.format.encode(image, extension)
    if not isinstance(data, bytes):
        raise fault(found.component, f"encodes an image as {type(data).__name__}", "encode returns bytes")
    return data


def check_format(path: Path, depth: str | None = None, color: bool | None = None, axes: int | None = None) -> None:
    """Raise `OutputError` unless the extension names a format that holds such an image; ``None`` is not asked."""
    found, extension = _writer_of(path)
    with _blaming(found, f"cannot write {path}"):
        found.format.check(path, extension, depth, color, axes)


def known_extensions() -> dict[str, Entry]:
    """Return the extensions of all registered formats, the built-in ones first, with the format that writes each.

    Of two formats with one extension the built-in one writes, then the first by name.
    """
    found: dict[str, Entry] = {}
    for entry in sorted(registries().formats, key=lambda each: (each.owner != BUILTIN_OWNER, each.name)):
        for extension in _extensions_of(entry):
            found.setdefault(extension, entry)
    return found


def split_extension(name: str, extensions: dict[str, Entry]) -> tuple[str, str] | None:
    """Return a file's name without the extension of `known_extensions`, and that, or ``None`` where it has none."""
    lower = name.lower()
    extension = max((each for each in extensions if lower.endswith(each)), key=len, default="")
    return (name[: -len(extension)], extension) if extension else None


def _start_of(path: Path) -> bytes:
    """Return the first bytes of a file; none of a folder, which may be a series."""
    if irregular(path) == "a folder":
        return b""
    check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; check the path") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {why(error)}") from error
    if not start:
        raise InputError(f"{path} is empty (0 bytes); restore it from the original")
    return start


def _reader_of(path: Path, start: bytes) -> _Found:
    """Return the format that takes the file for its own: the built-in ones first, then those of its extension."""
    raster = _Found(Component("format", _RASTER, BUILTIN_OWNER), Raster())
    if raster.format.sniff(path, start):
        return raster
    others = [entry for entry in registries().formats if entry.name != _RASTER]
    others.sort(key=lambda entry: not _claims(entry, path))
    failures: list[tuple[Entry, FusekitError]] = []
    taken: _Found | None = None
    for entry in others:
        try:
            found = _loaded(entry)
            with _blaming(found, f"cannot tell whether {path} is one of its files"):
                if found.format.sniff(path, start):
                    taken = found
                    break
        except FusekitError as error:
            failures.append((entry, error))
    if taken is None:
        for entry, failure in failures:
            if _claims(entry, path):
                raise failure
    for _, failure in failures:
        warnings.warn(one_line(failure), FusekitWarning, stacklevel=3)
    if taken is not None:
        return taken
    if not start:
        raise InputError(f"{path} is not a regular file but a folder; name an image file, or fuse folders with --pairs")
    known = ", ".join(["PNG, TIFF, JPEG, BMP", *(entry.name for entry in others)])
    foreign = called(start)
    if foreign is not None:
        raise InputError(f"{path} is {foreign}, which fusekit does not read ({known}); save it as PNG or TIFF")
    raise InputError(f"{path} is not an image that fusekit reads ({known}); check the file")


def _writer_of(path: Path) -> tuple[_Found, str]:
    """Return the format of the extension, and the extension in lower case.

    Raises:
        OutputError: no format has it.
        PluginError: the format cannot be loaded.
    """
    extensions = known_extensions()
    split = split_extension(path.name, extensions)
    if split is None:
        *most, last = extensions
        raise OutputError(f"cannot write {path}: name the output {', '.join(most)} or {last}")
    return _loaded(extensions[split[1]]), split[1]


def _claims(entry: Entry, path: Path) -> bool:
    return path.name.lower().endswith(_extensions_of(entry))


def _extensions_of(entry: Entry) -> tuple[str, ...]:
    """Return a format's extensions as registered; one that registers no such thing is warned of and has none."""
    given = entry.details.get("extensions", ())
    if isinstance(given, (tuple, list)) and given and all(_is_extension(each) for each in given):
        return tuple(given)
    warnings.warn(
        f"the format {entry.name!r} of {entry.owner} is registered with extensions={given!r}; give a tuple of "
        "lower-case extensions with their dot, such as ('.nii', '.nii.gz')",
        FusekitWarning,
        stacklevel=3,
    )
    return ()


def _is_extension(given: object) -> bool:
    return isinstance(given, str) and given.startswith(".") and given == given.lower() and len(given) > 1


def _loaded(entry: Entry) -> _Found:
    """Import and make a format.

    Raises:
        PluginError: it cannot be imported or made, or is no `Format`.
    """
    component, made = Component("format", entry.name, entry.owner), import_target(entry, "format")
    if not isinstance(made, type) or not issubclass(made, Format):
        raise fault(component, f"is no fusekit.extend.Format ({entry.target!r})", "derive from it")
    with calling(component, fact="cannot be made"):
        return _Found(component, made())


@contextlib.contextmanager
def _blaming(found: _Found, what: str) -> Iterator[None]:
    """Turn what a format raises by mistake into a `PluginError` that names it; what it raises on purpose passes."""
    try:
        with calling(found.component, lambda error: isinstance(error, OSError), what):
            yield
    except OSError as error:
        raise InputError(f"{what}: {error.strerror or error}") from error
    except MemoryError as error:
        raise InputError(f"{what}: the memory does not suffice") from error


def _checked(found: _Found, path: Path, image: object) -> Image:
    """Return what a format read.

    Raises:
        PluginError: it is no image whose parts are as `Image` says.
    """
    if not isinstance(image, Image):
        given = "None" if image is None else type(image).__name__
        raise fault(found.component, f"reads {path} as {given}", "read returns a fusekit.extend.Image")
    if image.depth not in DEPTHS:
        wrong = f"values of type {image.depth}; give {', '.join(DEPTHS)}"
    elif image.origin is None or not image.origin.files:
        wrong = "no origin; give Origin((path,), digest, name)"
    elif min(image.size) < 2:
        wrong = f"the size {image.size}; refuse the file by an InputError"
    else:
        return image
    raise PluginError(f"{found.component} reads {path} with {wrong} (from_pixels does so)")
