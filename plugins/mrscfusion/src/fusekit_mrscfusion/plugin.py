"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

PAPER = (
    "Xie et al.: MRSCFusion: Joint Residual Swin Transformer and Multiscale CNN for Unsupervised Multimodal Medical "
    "Image Fusion. IEEE Transactions on Instrumentation and Measurement 72, 2023, 5026917"
)

AUTOENCODER = ModelSpec(
    id="mrscfusion-autoencoder",
    factory="fusekit_mrscfusion.model:Autoencoder",
    summary="four scales of features, nested decoder: what mrscfusion is trained on",
    default_rule="l1-local",
    # Two pixels at the coarsest scale, so that its border can be mirrored.
    min_size=16,
    tiling="whole",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)
MRSCFUSION = ModelSpec(
    id="mrscfusion",
    factory="fusekit_mrscfusion.model:MRSCFusion",
    summary="a fusion network at four scales: attention in shifted windows beside gradient blocks",
    rule_policy="bound",
    base="mrscfusion-autoencoder",
    n_sources=(2, 2),
    roles=("mri", "ct/pet/spect"),
    # Windows of 8 pixels at the coarsest of four scales.
    multiple=64,
    padding="mirror",
    tiling="whole",
    normalization="unit",
    # The objective stretches the fused image before it looks at it: the scale of the raw one means nothing.
    output="minmax",
    licence="Apache-2.0",
    citation=PAPER,
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(AUTOENCODER)
    register(MRSCFUSION)
