"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, WeightsSpec, hookimpl

MSRPAN = ModelSpec(
    id="msrpan",
    factory="fusekit_msrpan.model:MSRPAN",
    summary="residual pyramid attention encoder, linear decoder",
    default_rule="energy",
    weights=(
        WeightsSpec(
            "harvard",
            "harvard.safetensors",
            sha256="7da4c64a406b7f527be909aa944adfacac30d74e9d5aca3163455ecf6d86e5c9",
            licence="Apache-2.0",
            summary="CT, PET and SPECT with MRI of the Harvard Whole Brain Atlas",
            modalities=("ct/pet/spect", "mri"),
        ),
    ),
    multiple=16,
    padding="replicate",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation="Fu, Li, Du, Huang: A multiscale residual pyramid attention network for medical image fusion. "
    "Biomedical Signal Processing and Control 66, 2021",
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(MSRPAN)
