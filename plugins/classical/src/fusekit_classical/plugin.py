"""What this package adds to fusekit."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, WeightsSpec, hookimpl

PIXEL = ModelSpec(
    id="pixel",
    factory="fusekit_classical.pixel:Pixel",
    summary="no network: the rule acts on the pixels",
    default_rule="max",
    dims=(2, 3),
    licence="Apache-2.0",
)

LAPLACIAN = ModelSpec(
    id="laplacian-pyramid",
    factory="fusekit_classical.pyramid:LaplacianPyramid",
    summary="Laplacian pyramid: greatest magnitude in the detail bands, mean of the coarsest",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Burt, Adelson: The Laplacian Pyramid as a Compact Image Code. "
    "IEEE Transactions on Communications 31(4), 1983",
)

RATIO = ModelSpec(
    id="ratio-pyramid",
    factory="fusekit_classical.ratio:RatioPyramid",
    summary="ratio of low-pass pyramid: the greatest ratio to the surroundings, mean of the coarsest",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Toet: Image fusion by a ratio of low-pass pyramid. Pattern Recognition Letters 9(4), 1989",
)

CONTRAST = ModelSpec(
    id="contrast-pyramid",
    factory="fusekit_classical.ratio:ContrastPyramid",
    summary="contrast pyramid: the greatest contrast to the surroundings, mean of the coarsest",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Toet, van Ruyven, Valeton: Merging thermal and visual images by a contrast pyramid. "
    "Optical Engineering 28(7), 1989",
)

GRADIENT = ModelSpec(
    id="gradient-pyramid",
    factory="fusekit_classical.gradient:GradientPyramid",
    summary="gradient pyramid: the steepest of four directions in the detail bands, mean of the coarsest",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Burt, Kolczynski: Enhanced Image Capture Through Fusion. ICCV 1993",
)

DWT = ModelSpec(
    id="dwt",
    factory="fusekit_classical.wavelets:DWT",
    summary="discrete wavelet transform: greatest magnitude in the detail bands, mean of the approximation",
    rule_policy="joint",
    requires=("pywt",),
    extra="wavelets",
    licence="Apache-2.0",
    citation="Li, Manjunath, Mitra: Multisensor Image Fusion Using the Wavelet Transform. "
    "Graphical Models and Image Processing 57(3), 1995",
)

SWT = ModelSpec(
    id="swt",
    factory="fusekit_classical.wavelets:SWT",
    summary="stationary wavelet transform, which does not depend on shifts, with the rule of dwt",
    rule_policy="joint",
    requires=("pywt",),
    extra="wavelets",
    licence="Apache-2.0",
    citation="Rockinger: Image Sequence Fusion Using a Shift-Invariant Wavelet Transform. ICIP 1997",
)

DTCWT = ModelSpec(
    id="dtcwt",
    factory="fusekit_classical.dtcwt:DTCWT",
    summary="dual-tree complex wavelet transform, which hardly depends on shifts, with the rule of dwt",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Lewis, O'Callaghan, Nikolov, Bull, Canagarajah: Pixel- and region-based image fusion with complex "
    "wavelets. Information Fusion 8(2), 2007",
)

MDLATLRR = ModelSpec(
    id="mdlatlrr",
    factory="fusekit_classical.mdlatlrr:MDLatLRR",
    summary="base and levels of detail by a learned projection of patches, the details weighted by nuclear norms",
    rule_policy="joint",
    weights=(
        WeightsSpec(
            "ct-mri",
            "ct-mri.safetensors",
            sha256="86e7fce32440462f3505b01db33e0923b68d0fd2e186c9d5173e09b402a8b777",
            licence="Apache-2.0",
            summary="patches of CT and MRI of the Harvard Whole Brain Atlas",
        ),
    ),
    licence="Apache-2.0",
    citation="Li, Wu, Kittler: MDLatLRR: A Novel Decomposition Method for Infrared and Visible Image Fusion. "
    "IEEE Transactions on Image Processing 29, 2020",
)

GUIDED = ModelSpec(
    id="guided-filter",
    factory="fusekit_classical.guided:GuidedFilter",
    summary="base and detail weighted by saliency that the sources themselves guide",
    rule_policy="joint",
    licence="Apache-2.0",
    citation="Li, Kang, Hu: Image Fusion With Guided Filtering. IEEE Transactions on Image Processing 22(7), 2013",
)

SALIENCY = ModelSpec(
    id="saliency",
    factory="fusekit_classical.averages:Saliency",
    summary="average of the pixels, weighted by how far each is from all others of its image",
    rule_policy="joint",
    dims=(2, 3),
    # Saliency compares each pixel with the whole image.
    tiling="whole",
    licence="Apache-2.0",
    citation="Ma, Zhou, Wang, Zong: Infrared and visible image fusion based on visual saliency map and weighted least "
    "square optimization. Infrared Physics & Technology 82, 2017",
)

PCA = ModelSpec(
    id="pca",
    factory="fusekit_classical.averages:PCA",
    summary="average of the sources, weighted by their first principal component",
    rule_policy="joint",
    dims=(2, 3),
    # The covariance is that of the whole images.
    tiling="whole",
    licence="Apache-2.0",
    citation="Naidu, Raol: Pixel-level Image Fusion using Wavelets and Principal Component Analysis. "
    "Defence Science Journal 58(3), 2008",
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    for spec in (PIXEL, LAPLACIAN, RATIO, CONTRAST, GRADIENT, DWT, SWT, DTCWT, MDLATLRR, GUIDED, SALIENCY, PCA):
        register(spec)
