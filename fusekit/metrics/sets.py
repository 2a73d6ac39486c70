"""Named sets of metrics."""

from __future__ import annotations

#: What we recommend: 8-bit definitions of the defining papers, several views of fusion quality, fast.
STANDARD = (
    "en", "sd", "sf", "ag", "mi", "cc", "psnr", "ssim", "ms-ssim", "vif", "scd", "fmi.gradient",
    "qabf", "nabf", "qcb", "qcv",
)  # fmt: skip

#: The definitions by which the EH-DRAN authors computed their tables (Zhou et al., BIBM 2024).
PAPER = ("psnr", "ssim.padded", "fmi.edge", "fsim.ehdran", "en.float")

SETS = {"standard": STANDARD, "paper": PAPER}


def expand(names: list[str], known: list[str]) -> list[str]:
    """Replace names of sets (``standard``, ``paper``, ``all``) by their members, keeping the order, each name once."""
    members = {**SETS, "all": tuple(known)}
    expanded = [member for name in names for member in members.get(name, (name,))]
    return list(dict.fromkeys(expanded))
