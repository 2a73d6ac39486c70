"""Writing PNG, TIFF, JPEG and BMP, atomically."""

from __future__ import annotations

from pathlib import Path

from fusekit.errors import OutputError
from fusekit.files import atomic_path
from fusekit.io.image import Array

_DEPTHS_OF = {
    ".png": ("uint8", "uint16"),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".bmp": ("uint8",),
}
_OPTION = {"uint8": "8", "uint16": "16", "float32": "float"}


def check_format(path: Path, depth: str | None = None) -> None:
    """Raise `OutputError` unless the extension names a format that holds this depth (any, where ``None``)."""
    allowed = _DEPTHS_OF.get(path.suffix.lower())
    if allowed is None:
        raise OutputError(f"cannot write {path}: name the output .png, .tif, .tiff, .jpg, .jpeg or .bmp")
    if depth is not None and depth not in allowed:
        raise OutputError(
            f"cannot write {path}: {path.suffix} files do not hold {depth} images; write "
            f"{'.tif' if depth == 'float32' else '.png or .tif'}, or choose --bit-depth "
            f"{' or '.join(_OPTION[each] for each in allowed)}"
        )


def write_image(path: Path, pixels: Array) -> None:
    """Write (H, W) or (H, W, 3) pixels of type uint8, uint16 or float32 in the format of the extension.

    Raises:
        OutputError: the format does not hold the depth, or the file cannot be written.
    """
    check_format(path, str(pixels.dtype))
    with atomic_path(path) as partial:
        partial.write_bytes(encode_image(pixels, path.suffix))


def encode_image(pixels: Array, extension: str) -> bytes:
    """Return the bytes of an image file of this extension."""
    import io

    extension = extension.lower()
    buffer = io.BytesIO()
    if extension in (".tif", ".tiff"):
        import tifffile

        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(buffer, pixels, photometric=photometric, compression="zlib", software="fusekit")
    elif extension == ".png" and pixels.dtype == "uint16":
        import imagecodecs

        buffer.write(imagecodecs.png_encode(pixels))
    else:
        from PIL import Image as Pillow

        if extension in (".jpg", ".jpeg"):
            Pillow.fromarray(pixels).save(buffer, "JPEG", quality=95, subsampling=0)
        else:
            Pillow.fromarray(pixels).save(buffer, extension[1:].upper())
    return buffer.getvalue()
