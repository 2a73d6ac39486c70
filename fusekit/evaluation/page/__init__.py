"""A comparison as one self-contained HTML page; `build` makes it of the other modules, ``page.css`` and ``page.js``."""
