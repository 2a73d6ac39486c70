"""Checking that weights are the files that they should be."""

from __future__ import annotations

from dataclasses import dataclass

from fusekit.errors import WeightsError
from fusekit.machine.files import sha256_of
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec, WeightsSpec
from fusekit.weights.resolve import find_bundled


@dataclass(frozen=True)
class Check:
    """What was found of one set of weights.

    Attributes:
        name: ``model.tag``.
        state: ``ok``, ``not pinned`` (no digest to compare with), ``on the hub``, ``missing`` or ``damaged``.
        sha256: of the file found, or empty.
        error: one line where something is wrong.
    """

    name: str
    state: str
    sha256: str = ""
    error: str = ""


def verify_all(only: str | None = None) -> list[Check]:
    """Check all weights that registered models name, or those called ``only`` (``model`` or ``model.tag``).

    Raises:
        WeightsError: ``only`` names none.
    """
    checks = []
    for entry in registries().models:
        spec: ModelSpec = entry.details["spec"]
        for weights in spec.weights:
            if only in (None, spec.id, f"{spec.id}.{weights.tag}"):
                checks.append(verify(spec, weights))
    if only is not None and not checks:
        raise WeightsError(f"no registered model has weights called {only!r}; see 'fusekit list weights'")
    return checks


def verify(spec: ModelSpec, weights: WeightsSpec) -> Check:
    """Compare the digest of bundled weights with the one that the model's spec names."""
    name = f"{spec.id}.{weights.tag}"
    path = find_bundled(spec.id, weights.file)
    if path is None:
        if weights.hub:
            return Check(name, "on the hub")
        return Check(name, "missing", error=f"the weights {name} ({weights.file}) are not installed; reinstall")
    digest = sha256_of(path)
    if not weights.sha256:
        return Check(name, "not pinned", digest)
    if digest != weights.sha256:
        return Check(
            name, "damaged", digest, f"{path} has sha256 {digest}, and {name} should have {weights.sha256}; reinstall"
        )
    return Check(name, "ok", digest)
