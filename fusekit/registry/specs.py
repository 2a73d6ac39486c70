"""What a model says of itself before any of its code is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fusekit.errors import PluginError

RulePolicy = Literal["free", "bound", "joint"]
Normalization = Literal["minmax", "unit"]
OutputPolicy = Literal["clamp", "minmax"]
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightsSpec:
    """One set of trained weights of a model.

    Attributes:
        tag: what stands behind the dot in ``model.tag``.
        file: file name under the bundled ``weights/<model>/`` folder, or inside the hub repository.
        sha256: hexadecimal digest that the file must have; may be empty for a bundled file only.
        hub: ``owner/name`` on the Hugging Face Hub, or empty where the file is bundled.
        revision: commit, tag or branch on the hub, without a default where ``hub`` is set.
        licence: of the weights.
        summary: what they were trained on.
    """

    tag: str
    file: str
    sha256: str = ""
    hub: str = ""
    revision: str = ""
    licence: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        if self.hub and not self.revision:
            raise PluginError(
                f"the weights {self.tag!r} are on the hub ({self.hub}) and name no revision; "
                "give the commit as revision, so that everybody gets the same file"
            )
        if self.hub and not _SHA256.fullmatch(self.sha256):
            raise PluginError(
                f"the weights {self.tag!r} are on the hub ({self.hub}) with sha256 {self.sha256!r}; "
                f"give the 64 hexadecimal digits of {self.file}, so that no other file is taken for it"
            )


@dataclass(frozen=True)
class ModelSpec:
    """The description under which a model is registered.

    Attributes:
        id: short lower-case name.
        factory: ``"package.module:Class"`` of a `fusekit.models.base.FusionModel`.
        summary: one line for listings.
        config: keyword arguments of the factory; for an encoder-decoder the names of its parts.
        default_rule: fusion rule used when none is named; empty for joint models.
        rule_policy: ``free`` (any rule), ``bound`` (its own learned rule) or ``joint`` (no rule at all).
        weights: the sets of weights; the first is the default.
        n_sources: least and greatest number of sources, ``None`` for no upper limit.
        roles: what the sources should be, in order, for models to which the order matters.
        dims: spatial dimensions served, ``(2,)``, ``(3,)`` or both.
        multiple: sides are padded to a multiple of this, and cropped back.
        min_size: least side length in pixels.
        normalization: ``minmax`` stretches each source to [0, 1]; ``unit`` divides by the dtype's greatest value.
        output: ``clamp`` cuts the decoder's output to [0, 1]; ``minmax`` stretches it there.
        licence: of the model's code.
        citation: the paper.
    """

    id: str
    factory: str
    summary: str
    config: Mapping[str, Any] = field(default_factory=dict)
    default_rule: str = ""
    rule_policy: RulePolicy = "free"
    weights: tuple[WeightsSpec, ...] = ()
    n_sources: tuple[int, int | None] = (2, None)
    roles: tuple[str, ...] = ()
    dims: tuple[int, ...] = (2,)
    multiple: int = 1
    min_size: int = 2
    normalization: Normalization = "unit"
    output: OutputPolicy = "clamp"
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        choices = {
            "rule_policy": ("free", "bound", "joint"),
            "normalization": ("minmax", "unit"),
            "output": ("clamp", "minmax"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise PluginError(
                    f"the model {self.id!r} has {name} {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        if self.rule_policy == "free" and not self.default_rule:
            raise PluginError(f"the model {self.id!r} takes any rule but names no default_rule")

    def find_weights(self, tag: str) -> WeightsSpec | None:
        """Return the weights called ``tag``, or ``None``."""
        return next((each for each in self.weights if each.tag == tag), None)
