"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

PAPER = (
    "Xie, Zhang, Tang, Zhao, Xiong, Ouyang, Yang, Zhou, Ling, Teo: MACTFusion: Lightweight Cross Transformer for "
    "Adaptive Multimodal Medical Image Fusion. IEEE Journal of Biomedical and Health Informatics, 2024, "
    "doi:10.1109/JBHI.2024.3391620"
)

MACTFUSION = ModelSpec(
    id="mactfusion",
    factory="fusekit_mactfusion.model:MACTFusion",
    summary="gradient blocks, attention in windows and on a grid, each source asking the other",
    rule_policy="joint",
    n_sources=(2, 2),
    roles=("mri", "ct/pet/spect"),
    multiple=8,
    padding="mirror",
    # Grid attention, SimAM and the norms of single channels look at the whole image.
    tiling="whole",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(MACTFUSION)
