"""Files that are images and are not read: what they are, by their first bytes, so that messages name them."""

from __future__ import annotations

#: Where in a file which bytes stand, and what it then is.
_BEGINNINGS = (
    (0, b"\0\0\0\x0cjP  \r\n", "a JPEG 2000 file"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (0, b"\0\0\0\x0cJXL \r\n", "a JPEG XL file"),
    (0, b"\xff\x0a", "a JPEG XL codestream"),
    (0, b"II\xbc\x01", "a JPEG XR file"),
    (0, b"GIF8", "a GIF file"),
    (8, b"WEBP", "a WebP file"),
    (4, b"ftyp", "a HEIF, AVIF or video file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR file"),
    (0, b"\0\0\x01\0", "a Windows icon"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"DDS ", "a DDS file"),
    (0, b"NRRD0", "an NRRD file"),
    (128, b"DICM", "a DICOM file"),
    (344, b"n+1\0", "a NIfTI file"),
    (344, b"ni1\0", "a NIfTI header"),
    (4, b"n+2\0\r\n\x1a\n", "a NIfTI file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as MINC and MATLAB write"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, which stands for the file (git lfs pull)"),
    *((0, b"P%d%c" % (kind, space), "a portable pixmap") for kind in range(1, 8) for space in b"\n\r\t #"),
)


def called(start: bytes) -> str | None:
    """Return what a file that begins with ``start`` is, of those that are known by name, or ``None``."""
    return next((name for at, mark, name in _BEGINNINGS if start[at : at + len(mark)] == mark), None)
