"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

SWINFUSION = ModelSpec(
    id="swinfusion",
    factory="fusekit_swinfusion.model:SwinFusion",
    summary="joint: windowed attention within each source and across the two",
    rule_policy="joint",
    n_sources=(2, 2),
    roles=("mri", "other"),
    multiple=8,
    padding="mirror",
    tiling="discouraged",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation="Ma, Tang, Fan, Huang, Mei, Ma: SwinFusion: Cross-domain Long-range Learning for General Image Fusion via "
    "Swin Transformer. IEEE/CAA Journal of Automatica Sinica 9(7), 2022",
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(SWINFUSION)
