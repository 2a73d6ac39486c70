"""What lies where weights should lie: a web page, a pointer of Git LFS, half a download; told by the first bytes."""

from __future__ import annotations

import html
import re
import zipfile
from pathlib import Path

from fusekit.errors import WeightsError, memory_text
from fusekit.machine.files import check_regular, why

_HEAD = 1 << 14
_AGAIN = "download it again"
_OF_THE_FILE_ITSELF = "see what it says, and download the file itself, by its 'download' or 'raw' link"
_UNPACK = "unpack it, and name the file in it"
_GIT_LFS = re.compile(rb"version https://(git-lfs|hawser)\.github\.com/spec/")
_ANNEX = re.compile(rb"/annex/objects/|(\.\./)*\.git/annex/objects/")
_HTML = re.compile(rb"(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|title|meta|script)\b", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<(?:title|h1)[^>]*>(.*?)</", re.IGNORECASE | re.DOTALL)
_MESSAGE = re.compile(r"<(?:Message|Code)>(.*?)</", re.DOTALL)

#: What files of other kinds begin with, and what messages call them.
_OTHERS = {
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\0": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file, as Keras, TensorFlow and MATLAB write",
    b"MATLAB 5.0 MAT-file": "a MATLAB file",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a single NumPy array",
    b"%PDF-": "a PDF document",
    b"\x89PNG\r\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x7fELF": "a program",
}


def kind_of(path: Path) -> str:
    """Return what a file of weights is by its content, whatever its name.

    Returns:
        ``safetensors``, ``pickle`` (torch's own, of any age), ``script`` (TorchScript), ``npz``, or an empty text where
        the bytes do not tell.

    Raises:
        WeightsError: there is no such file, it cannot be read, or it is something else than weights; the message says
            what it is, and what to do.
    """
    head = _head_of(path)
    mistaken = _mistaken(path, head)
    if mistaken is not None:
        fact, remedy = mistaken
        raise WeightsError(f"{path} is no file of weights: it is {fact}; {remedy}")
    if head.startswith(b"PK\x03\x04"):
        return _in_archive(path)
    # A pickle begins with its protocol, which may be the length of a header too, though of a short one only.
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and any(head[3:8]):
        return "pickle"
    return "safetensors" if head[8:9] == b"{" else ""


def _head_of(path: Path) -> bytes:
    try:
        if path.is_symlink() and not path.exists():
            target = path.readlink()
            remedy = f"run: git annex get {path.name}" if "annex" in target.parts else "restore that file"
            raise WeightsError(f"{path} is a link to {target}, which is not there; {remedy}")
        if not path.exists():
            raise WeightsError(f"there is no weights file {path}; check the path, or see 'fusekit list weights'")
        check_regular(path, WeightsError)
        with path.open("rb") as file:
            return file.read(_HEAD)
    except ValueError as error:
        raise WeightsError(f"there is no weights file {str(path)!r}: {error}; check the path") from error
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {why(error)}; check the path and its permissions") from error


def _mistaken(path: Path, head: bytes) -> tuple[str, str] | None:
    """Return what a file is that holds no weights, and what to do; ``None`` for one that may hold some."""
    if not head:
        return "empty", _AGAIN
    if _GIT_LFS.match(head):
        size = re.search(rb"^size (\d{1,18})$", head, re.MULTILINE)
        of = f" of {memory_text(int(size[1]))}" if size else ""
        return (
            f"a pointer of Git LFS, which stands for the file{of}",
            f"in its repository run: git lfs pull (or {_AGAIN})",
        )
    if _ANNEX.match(head):
        return "a pointer of git-annex, which stands for the file", f"in its repository run: git annex get {path.name}"
    for begin, name in _OTHERS.items():
        if head.startswith(begin):
            return name, _UNPACK if "archive" in name else "get the weights as PyTorch's state dict or as safetensors"
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    return _as_text(head)


def _as_text(head: bytes) -> tuple[str, str] | None:
    """Return what a text is; ``None`` for bytes that are none."""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML.match(begin):
        title = _TITLE.search(head.decode("utf-8", "replace"))
        return f"a web page{_quoted(title[1] if title else '')}", _OF_THE_FILE_ITSELF
    if begin.startswith(b"<?xml"):
        message = _MESSAGE.search(head.decode("utf-8", "replace"))
        return f"an XML document{_quoted(message[1] if message else '')}, as servers answer", _OF_THE_FILE_ITSELF
    # The end may be cut within a character.
    text = head.decode("utf-8", "ignore")
    if len(text.encode()) < len(head) - 3 or not all(each.isprintable() or each in "\t\r\n\f\x1b" for each in text):
        return None
    if '"weight_map"' in text:
        return "the index of weights that lie in several files", "join them to one file of safetensors, and name that"
    if begin[:1] in (b"{", b"["):
        return f"JSON{_quoted(text)}, as servers answer", _OF_THE_FILE_ITSELF
    return f"text{_quoted(text)}", _OF_THE_FILE_ITSELF


def _quoted(text: str) -> str:
    words = " ".join("".join(each if each.isprintable() else " " for each in html.unescape(text)).split())
    return f" ({words[:80] + '…' if len(words) > 80 else words!r})" if words else ""


def _in_archive(path: Path) -> str:
    """Return what a zip archive holds, which PyTorch and NumPy write.

    Raises:
        WeightsError: it is cut off, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, OverflowError) as error:
        raise WeightsError(
            f"{path} is no file of weights: it is an archive whose end is missing or damaged, as of a download that "
            f"was cut off; {_AGAIN}"
        ) from error
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return "script"
    if "data.pkl" in inner:
        return "pickle"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    first = f", with {names[0]!r} in it" if names else ""
    raise WeightsError(f"{path} is no file of weights: it is a zip archive{first}; {_UNPACK}")
