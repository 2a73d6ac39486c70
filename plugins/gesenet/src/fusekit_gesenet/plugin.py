"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, WeightsSpec, hookimpl

PAPER = (
    "Li, Liu, Zhou, Zhang, Kasabov: GeSeNet: A General Semantic-Guided Network With Couple Mask Ensemble for Medical "
    "Image Fusion. IEEE Transactions on Neural Networks and Learning Systems 35(11), 2024, "
    "doi:10.1109/TNNLS.2023.3293274"
)

GESENET = ModelSpec(
    id="gesenet",
    factory="fusekit_gesenet.model:GeSeNet",
    summary="region masks in space and channels, edge blocks, refinement by the MRI's edges",
    rule_policy="joint",
    weights=(
        WeightsSpec(
            "authors",
            "authors.safetensors",
            sha256="f89440650801c74fb97f117c14b99bda67e48d677fe943f23d45664131ca3baa",
            licence="MIT",
            summary="the authors': CT, PET and SPECT with MRI of the Harvard Whole Brain Atlas",
            modalities=("ct/pet/spect", "mri"),
        ),
    ),
    n_sources=(2, 2),
    roles=("ct/pet/spect", "mri"),
    multiple=2,
    # The channel attention averages over the whole image.
    tiling="whole",
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(GESENET)
