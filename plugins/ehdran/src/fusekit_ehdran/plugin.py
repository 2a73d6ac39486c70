"""What this package adds to fusekit. Importing it is cheap: everything else is named by strings."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, WeightsSpec, hookimpl

PAPER = (
    "Zhou, Zhang, Xu, Wang, Khalvati: Edge-Enhanced Dilated Residual Attention Network for Multimodal Medical Image "
    "Fusion. IEEE BIBM 2024, arXiv:2411.11799"
)
DILRAN_PAPER = (
    "Zhou, Xu, Zhang, et al.: An Attention-based Multi-Scale Feature Learning Network for Multimodal Medical Image "
    "Fusion. 2022, arXiv:2212.04661"
)


def _of_harvard(tag: str, sha256: str) -> WeightsSpec:
    """Return the bundled weights that were trained on two modalities of the Harvard Whole Brain Atlas."""
    modalities = tuple(tag.split("-"))
    shown = " and ".join("FDG-PET" if each == "pet" else each.upper() for each in modalities)
    return WeightsSpec(
        tag,
        f"{tag}.safetensors",
        sha256=sha256,
        licence="Apache-2.0",
        summary=f"Harvard Whole Brain Atlas {shown}",
        modalities=modalities,
    )


EHDRAN = ModelSpec(
    id="ehdran",
    factory="fusekit_ehdran.model:EHDRAN",
    summary="dilated residual attention encoder with the DRGO edge enhancer",
    config={"encoder": "dran", "edge": "drgo"},
    default_rule="sfnn-local",
    weights=(
        _of_harvard("ct-mri", "23358b83193540f0200c840146eca48cf2404ce1065cabad289aa2f66eef52e4"),
        _of_harvard("spect-mri", "593400676af481e912b195105567c6a185d9e8e7f039a93bd1e6a0a53d8d64ea"),
        _of_harvard("pet-mri", "ba90c47c0b1a8bc5664d5bc623b2848e5a99d8dc85b94496137765a2c0445890"),
    ),
    normalization="minmax",
    output="clamp",
    licence="Apache-2.0",
    citation=PAPER,
)

DILRAN = ModelSpec(
    id="dilran",
    factory="fusekit_ehdran.model:DILRAN",
    summary="dilated residual attention encoder without edge enhancer, linear decoder",
    config={"encoder": "dran", "edge": "none"},
    default_rule="sfnn-local",
    weights=(
        _of_harvard("ct-mri", "abec80d03208d10916e29cb93b08a119d7a5f0fe568127422bcd2c452e3a6fd0"),
        _of_harvard("spect-mri", "fe4f01cacaef34b3a6bda8a96d5ba1478d0b36f2671228747c1be053c6853aab"),
        _of_harvard("pet-mri", "daa0da0ed58bc846d35dc010074c1c103655a86ad562035c7c2dcd8412b7139c"),
    ),
    normalization="unit",
    output="clamp",
    licence="Apache-2.0",
    citation=DILRAN_PAPER,
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(EHDRAN)
    register(DILRAN)


@hookimpl
def register_encoders(register: Callable[..., None]) -> None:
    register(
        "dran",
        "fusekit_ehdran.encoder:DilatedResidualAttention",
        summary="multiscale dilated convolutions, residual attention, pooling gates",
        citation=PAPER,
    )


@hookimpl
def register_decoders(register: Callable[..., None]) -> None:
    register(
        "conv3",
        "fusekit_ehdran.decoder:Decoder",
        summary="three 3×3 convolutions with leaky ReLU between (EH-DRAN's)",
        citation=PAPER,
    )
    register(
        "conv3-linear",
        "fusekit_ehdran.decoder:LinearDecoder",
        summary="three 3×3 convolutions without activations (DILRAN's)",
        citation=DILRAN_PAPER,
    )


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    register(
        "drgo",
        "fusekit_ehdran.drgo:DenseResidualGradient",
        summary="dense residual path plus trainable Sobel gradient (trained with ehdran)",
        citation=PAPER,
    )


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    variants = {
        "sfnn": ("SFNN", "softmax nuclear norm, maximum over channels, squared: the authors' code, a weight a source"),
        "sfnn-mean": ("SFNNMean", "softmax nuclear norm, mean over channels, a weight a source"),
        "sfnn-sum": ("SFNNSum", "softmax nuclear norm, sum over channels, a weight a source"),
        "sfnn-channel": ("SFNNChannel", "softmax nuclear norm, a weight a source and channel"),
    }
    for name, (class_name, summary) in variants.items():
        register(name, f"fusekit_ehdran.rules.sfnn:{class_name}", summary=summary, citation=PAPER)
    register(
        "sfnn-local",
        "fusekit_ehdran.rules.sfnn_local:SFNNLocal",
        summary="softmax nuclear norm of local windows: base by a p-norm, detail of the more active source",
        citation=PAPER,
    )
