"""The built-in components, registered through the same hooks as everyone else's."""

from __future__ import annotations

from collections.abc import Callable

from fusekit.hookspecs import hookimpl

_DENSEFUSE = "Li, Wu: DenseFuse. IEEE Transactions on Image Processing 28(5), 2019"
_IFCNN = "Zhang et al.: IFCNN. Information Fusion 54, 2020"
_MSRPAN = "Fu et al.: A multiscale residual pyramid attention network for medical image fusion. BSPC 66, 2021"

_RULES = (
    ("mean", "mean:Mean", "element-wise mean", ""),
    ("max", "max:Max", "element-wise maximum", _IFCNN),
    ("min", "min:Min", "element-wise minimum", ""),
    ("sum", "sum:Sum", "element-wise sum", _DENSEFUSE),
    ("l1", "l1:L1", "a weight a source: its share of the L1 norm", ""),
    ("l1-local", "l1_local:L1Local", "a weight a pixel: its share of the locally averaged L1 norm", _DENSEFUSE),
    ("energy", "energy:Energy", "a weight an element: its share of the energy, 0/0 = 0", _MSRPAN),
    ("weighted", "weighted:Weighted", "given weights: --rule-option weights=0.7,0.3", ""),
)
_EDGES = (
    ("none", "none:NoEdge", "no edge branch"),
    ("sobel", "sobel:Sobel", "Sobel gradient magnitude |∂x| + |∂y|"),
    ("scharr", "scharr:Scharr", "Scharr gradient magnitude |∂x| + |∂y|"),
    ("prewitt", "prewitt:Prewitt", "Prewitt gradient magnitude |∂x| + |∂y|"),
    ("laplacian", "laplacian:Laplacian", "magnitude of the Laplacian"),
)
_METRICS = (
    (
        "psnr",
        "psnr:PSNR",
        "peak signal-to-noise ratio, dB, mean over the sources",
        "Jagalingam, Hegde: A Review of Quality Metrics for Fused Image. Aquatic Procedia 4, 2015",
    ),
    (
        "ssim",
        "ssim:SSIM",
        "structural similarity, mean over the sources",
        "Wang et al.: Image quality assessment. IEEE Transactions on Image Processing 13(4), 2004",
    ),
    (
        "en",
        "en:Entropy",
        "Shannon entropy of the 256-bin histogram, bits",
        "Roberts et al.: Assessment of image fusion procedures. Journal of Applied Remote Sensing 2, 2008",
    ),
    (
        "mi",
        "mi:MutualInformation",
        "mutual information with the sources, bits, summed",
        "Qu, Zhang, Yan: Information measure for performance of image fusion. Electronics Letters 38(7), 2002",
    ),
    ("sd", "sd:StandardDeviation", "standard deviation, grey levels of 0-255", ""),
    (
        "sf",
        "sf:SpatialFrequency",
        "spatial frequency, grey levels of 0-255",
        "Eskicioglu, Fisher: Image quality measures and their performance. IEEE Transactions on Communications 43(12), 1995",
    ),
    (
        "ag",
        "ag:AverageGradient",
        "average gradient, grey levels of 0-255",
        "Cui et al.: Detail preserved fusion of visible and infrared images. Optics Communications 341, 2015",
    ),
)


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    for name, target, summary, citation in _RULES:
        register(name, f"fusekit.rules.{target}", summary=summary, citation=citation)


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    for name, target, summary in _EDGES:
        register(name, f"fusekit.edges.{target}", summary=summary)


@hookimpl
def register_metrics(register: Callable[..., None]) -> None:
    for name, target, summary, citation in _METRICS:
        register(name, f"fusekit.metrics.{target}", summary=summary, citation=citation)
