"""The built-in components, registered through the same hooks as everyone else's."""

from __future__ import annotations

from collections.abc import Callable

from fusekit.metrics.catalog import METRICS
from fusekit.models.specs import COMPOSED
from fusekit.registry.hooks import hookimpl

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
    ("sobel", "gradient:Sobel", "Sobel gradient magnitude |∂x| + |∂y|"),
    ("scharr", "gradient:Scharr", "Scharr gradient magnitude |∂x| + |∂y|"),
    ("prewitt", "gradient:Prewitt", "Prewitt gradient magnitude |∂x| + |∂y|"),
    ("laplacian", "laplacian:Laplacian", "magnitude of the Laplacian"),
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(COMPOSED)


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    for name, target, summary, citation in _RULES:
        register(name, f"fusekit.rules.{target}", summary=summary, citation=citation)


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    for name, target, summary in _EDGES:
        register(name, f"fusekit.edges.{target}", summary=summary)


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register("serial", "fusekit.batch.executor:SerialExecutor", summary="one case after the other, for debugging")
    register("threads", "fusekit.batch.threads:ThreadsExecutor", summary="threads that read, fuse and write at once")


@hookimpl
def register_formats(register: Callable[..., None]) -> None:
    register(
        "raster",
        "fusekit.images.formats.raster:Raster",
        extensions=(".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"),
        summary="PNG, TIFF, JPEG and BMP: pictures of 8 and 16 bits, TIFF of floats too",
    )


@hookimpl
def register_aligners(register: Callable[..., None]) -> None:
    register("first", "fusekit.images.align:First", summary="resample pictures to the size of the first")


@hookimpl
def register_metrics(register: Callable[..., None]) -> None:
    for facts in METRICS:
        register(
            facts.id,
            f"fusekit.metrics.{facts.target}",
            summary=facts.summary,
            citation=facts.citation,
            direction=facts.direction,
            optional=facts.optional,
        )
