"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fusekit import ModelSpec, WeightsSpec, hookimpl

PAPER = (
    "Zhang, Liu, Sun, Yan, Zhao, Zhang: IFCNN: A General Image Fusion Framework Based on Convolutional Neural Network. "
    "Information Fusion 54, 2020"
)


def _of_harvard(sha256: str) -> tuple[WeightsSpec]:
    """Return the bundled weights that were trained on the Harvard Whole Brain Atlas."""
    return (
        WeightsSpec(
            "harvard",
            "harvard.safetensors",
            sha256=sha256,
            licence="Apache-2.0",
            summary="CT, PET and SPECT with MRI of the Harvard Whole Brain Atlas",
            modalities=("ct/pet/spect", "mri"),
        ),
    )


IFCNN = ModelSpec(
    id="ifcnn",
    factory="fusekit_ifcnn.model:IFCNN",
    summary="two convolutions each way, trained with the maximum of the features",
    default_rule="max",
    weights=_of_harvard("afcf99a227c2832cbd005bb85a0419abf3cf010580be1368952e4039e7e138e9"),
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)
IFCNN_MEAN = replace(
    IFCNN,
    id="ifcnn-mean",
    factory="fusekit_ifcnn.model:IFCNNMean",
    summary="two convolutions each way, trained with the mean of the features",
    default_rule="mean",
    weights=(),
)
IFCNN_SUM = replace(
    IFCNN,
    id="ifcnn-sum",
    factory="fusekit_ifcnn.model:IFCNNSum",
    summary="two convolutions each way, trained with the sum of the features",
    default_rule="sum",
    weights=(),
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(IFCNN)
    register(IFCNN_MEAN)
    register(IFCNN_SUM)
