"""Signs that an encoding lacks: replaced where text is written, so that no terminal and no pipe stops a command."""

from __future__ import annotations

import codecs
import contextlib
from typing import TextIO

#: The error handler of streams, by its name.
REPLACE = "fusekit.signs"

_LIKE = {
    **dict.fromkeys("×✕", "x"),
    **dict.fromkeys("–—−‐‑", "-"),
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("·•∙", "*"),
    **dict.fromkeys("µμ", "u"),
    **{"…": "...", "→": "->", "←": "<-", "↑": "^", "↓": "v", "±": "+-", "≤": "<=", "≥": ">=", "≈": "~", "∞": "inf"},
    **{"²": "^2", "³": "^3", "°": "deg", "σ": "sigma", "∇": "grad", "\N{NO-BREAK SPACE}": " "},
}


def in_signs_of(encoding: str | None, text: str) -> str:
    """Return text with every sign that an encoding lacks replaced by one like it, or by a question mark."""
    name = encoding or "utf-8"
    return text.encode(name, REPLACE).decode(name)


def write_any_text(stream: TextIO | None) -> None:
    """Let a stream replace the signs that its encoding lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        # A stream that was closed or is not one of files stays as it is.
        with contextlib.suppress(ValueError, OSError):
            reconfigure(errors=REPLACE)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LIKE.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


codecs.register_error(REPLACE, _replaced)
