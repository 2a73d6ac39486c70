"""What this package adds to fusekit. Every command imports it, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

MODEL = ModelSpec(
    id="edge-pair",
    factory="fusekit_every_kind.model:EdgePair",
    summary="grey values and their edges are fused, grey values kept; nothing is trained",
    config={"encoder": "with-edges", "edge": "central", "decoder": "grey"},
    default_rule="magnitude",
    licence="Apache-2.0",
)


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(MODEL)


@hookimpl
def register_encoders(register: Callable[..., None]) -> None:
    register("with-edges", "fusekit_every_kind.parts:WithEdges", summary="grey values, and their edges")


@hookimpl
def register_decoders(register: Callable[..., None]) -> None:
    register("grey", "fusekit_every_kind.parts:Grey", summary="the first channel")


@hookimpl
def register_edge_operators(register: Callable[..., None]) -> None:
    register("central", "fusekit_every_kind.parts:CentralDifference", summary="central differences")


@hookimpl
def register_fusion_rules(register: Callable[..., None]) -> None:
    register("magnitude", "fusekit_every_kind.rule:Magnitude", summary="weights by the features' magnitudes")


@hookimpl
def register_metrics(register: Callable[..., None]) -> None:
    register("mae", "fusekit_every_kind.metric:MeanAbsoluteError", direction="lower", summary="mean absolute error")


@hookimpl
def register_formats(register: Callable[..., None]) -> None:
    register("pgm", "fusekit_every_kind.pgm:Pgm", extensions=(".pgm",), summary="portable graymap, binary")


@hookimpl
def register_aligners(register: Callable[..., None]) -> None:
    register("centre", "fusekit_every_kind.centre:Centre", summary="cropped or padded about the centre")


@hookimpl
def register_executors(register: Callable[..., None]) -> None:
    register(
        "last-first", "fusekit_every_kind.last_first:LastFirst", summary="one case after the other, the last first"
    )


@hookimpl
def register_commands(register: Callable[..., None]) -> None:
    register("blend", "fusekit_every_kind.command:blend", summary="Fuse two images by the model of this package.")
