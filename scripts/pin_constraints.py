"""Write constraints.txt from what is installed: ``python scripts/pin_constraints.py > constraints.txt``.

Run it in a virtual environment that holds the extras to pin. Distributions that need a newer Python than the oldest one
that fusekit supports are pinned for newer Pythons only.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions

from packaging.specifiers import SpecifierSet

OLDEST = "3.10"
NEWER = "3.11"
OURS = "fusekit-"
TOOLS = {"pip", "setuptools"}
# PyTorch's build for CUDA asks for one Triton itself; another here would leave no version that fits both.
LEFT_OPEN = {"triton"}


def main() -> None:
    """Print one line a distribution, in alphabetical order."""
    print(
        "# Versions that the tests ran with; made by scripts/pin_constraints.py. A `+cpu` build satisfies its version."
    )
    lines = {}
    for found in distributions():
        name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
        if name.startswith(OURS) or name in TOOLS | LEFT_OPEN:
            continue
        needs = SpecifierSet(found.metadata["Requires-Python"] or "")
        marker = "" if needs.contains(f"{OLDEST}.99") else f' ; python_version >= "{NEWER}"'
        lines[name] = f"{name}=={found.version.partition('+')[0]}{marker}"
    print("\n".join(lines[name] for name in sorted(lines)))


if __name__ == "__main__":
    main()
