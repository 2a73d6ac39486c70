"""What this package adds to fusekit."""

from __future__ import annotations

from collections.abc import Callable

from fusekit import ModelSpec, hookimpl

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


@hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(PIXEL)
    register(LAPLACIAN)
