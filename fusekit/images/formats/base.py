"""What a format of image files is: the contract of ``register_formats``.

A file is read in three steps: how many images it holds (`Format.pages`); how large the one to read is, which is held
against ``max_pixels`` before memory is taken (`Format.shape_of`); and its pixels (`Format.read`). A format that defines
the last one alone has files of one image, whose size is checked when they have been read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from fusekit.errors import OutputError
from fusekit.images.image import DEPTHS, Image

#: What --bit-depth calls each depth.
_OPTION = {"uint8": "8", "uint16": "16", "float32": "float"}


class Format(ABC):
    """A format of image files, registered with the extensions of its files' names.

    Extensions are lower case with their dot (``.png``, ``.nii.gz``); they choose the format when a file is written,
    and which files of a folder are images. What is read is told by its content. The class is made without arguments.

    Attributes:
        axes: numbers of spatial axes that its files hold.
        colors: whether its files hold colour.
    """

    axes: tuple[int, ...] = (2,)
    colors: bool = True

    @abstractmethod
    def sniff(self, path: Path, start: bytes) -> bool:
        """Return whether this is a file of the format.

        Args:
            path: of a file, or of a folder that may be one series.
            start: the file's first bytes, at most 1024; none of a folder.
        """

    def pages(self, path: Path) -> int:
        """Return how many images a file holds, of which ``--page`` chooses one; thumbnails are none.

        A format of files that hold several defines this, and `read_page`.

        Raises:
            InputError: it is damaged.
        """
        return 1

    def shape_of(self, path: Path, page: int = 1) -> tuple[int, ...] | None:
        """Return how many values an image has along each spatial axis and, last, how many channels, as they are stored.

        Only the header is read for it. ``None`` where the format does not tell; the size is then checked afterwards. A
        format that tells it takes no more memory in `read` than the shape needs, whatever the file holds.

        Args:
            path: what `sniff` took.
            page: which of its images, counted from 1.

        Raises:
            InputError: it is damaged.
        """
        return None

    @abstractmethod
    def read(self, path: Path) -> Image:
        """Read what `sniff` took; `from_pixels` makes the image, with an `Origin` that names files and digest.

        Of a file that holds several images it is the first.

        Raises:
            InputError: it is damaged, or not an image.
        """

    def read_page(self, path: Path, page: int) -> Image:
        """Read one of the several images that `pages` counts, from 1; errors as of `read`."""
        raise NotImplementedError(f"{type(self).__name__} must define read_page(path, page), as it counts pages")

    def depths(self, extension: str) -> tuple[str, ...]:
        """Return which of ``uint8``, ``uint16`` and ``float32`` files of this extension hold; none if only read."""
        return DEPTHS

    @abstractmethod
    def encode(self, image: Image, extension: str) -> bytes:
        """Return the bytes of a file of this extension that holds the image, its place and its origin's header."""

    def check(
        self, path: Path, extension: str, depth: str | None = None, color: bool | None = None, axes: int | None = None
    ) -> None:
        """Raise `OutputError` unless a file of this extension holds such an image; what is ``None`` is not asked."""
        allowed = self.depths(extension)
        if not allowed:
            raise OutputError(
                f"cannot write {path}: fusekit reads {extension} files only; name the output .png or .tif"
            )
        if depth is not None and depth not in allowed:
            raise OutputError(
                f"cannot write {path}: {extension} files do not hold {depth} images; write "
                f"{'.tif' if depth == 'float32' else '.png or .tif'}, or choose --bit-depth "
                f"{' or '.join(_OPTION[each] for each in allowed)}"
            )
        if color and not self.colors:
            raise OutputError(
                f"cannot write {path}: {extension} files do not hold colour; write .png or .tif, or choose --color gray"
            )
        if axes is not None and axes not in self.axes:
            raise OutputError(
                f"cannot write {path}: {extension} files hold images of {' or '.join(map(str, self.axes))} axes, and "
                f"this one has {axes}; name the output by a format that holds it"
            )
