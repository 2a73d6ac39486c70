"""Where the tests find the repository, and the data that may lie beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("FUSEKIT_SHARED") or ROOT.parent / "shared")
