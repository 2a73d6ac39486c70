"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

PAPER = (
    "Li, Peng, Fu, Wang, Huang, Chao: A multiscale double-branch residual attention network for anatomical–functional "
    "medical image fusion. Computers in Biology and Medicine 141, 2022"
)

MSDRA = ModelSpec(
    id="msdra",
    factory="fusekit_msdra.model:MSDRA",
    summary="double-branch residual attention encoder, normalised by each image's statistics, linear decoder",
    config={"statistics": "image"},
    default_rule="msdra",
    # The statistics are those of the whole image.
    tiling="whole",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(MSDRA)


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    register(
        "msdra",
        "fusekit_msdra.rules:Magnitude",
        summary="a weight an element: its share of the magnitudes, 0/0 = 0",
        citation=PAPER,
    )
    register(
        "msdra-signed",
        "fusekit_msdra.rules:MagnitudeSigned",
        summary="a weight an element: its magnitude over that of the sum, as MSDRA's authors program it; float32",
        citation=PAPER,
    )
