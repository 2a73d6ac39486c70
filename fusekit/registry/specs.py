"""What a model says of itself before any of its code is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fusekit.errors import InputError, PluginError

RulePolicy = Literal["free", "bound", "joint"]
Normalization = Literal["minmax", "unit"]
OutputPolicy = Literal["clamp", "minmax"]
Padding = Literal["replicate", "mirror", "zero"]
Tiling = Literal["exact", "discouraged", "whole"]
#: Other names of modalities: those of DICOM, and of the contrasts of MRI.
_ALIASES = {
    "mr": "mri",
    "pt": "pet",
    "fdg": "pet",
    "nm": "spect",
    "x-ray ct": "ct",
    **dict.fromkeys(("t1", "t1c", "t1ce", "t1gd", "t1w", "t2", "t2w", "pd", "flair", "dwi", "adc"), "mri"),
}
_SHA256 = re.compile("[0-9a-f]{64}")


def modality_of(text: str) -> str:
    """Return a modality as weights declare it, ``ct``, ``mri``, ``pet``, ``spect`` or another word, in lower case."""
    word = text.strip().lower()
    return _ALIASES.get(word, word)


def modalities_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the modalities of a text, ``ct,mri``, or of several texts, by the names that weights declare."""
    texts = given.split(",") if isinstance(given, str) else given or ()
    return tuple(modality_of(each) for each in texts if each.strip())


def alternatives(text: str) -> tuple[str, ...]:
    """Return the words of which any will do: ``ct/pet`` stands for one image that is a CT or a PET."""
    return tuple(text.split("/"))


def fits(trained: Sequence[str], shown: Sequence[str]) -> bool:
    """Return whether images that show these modalities are what weights were trained on, one of each.

    Args:
        trained: as `WeightsSpec.modalities`.
        shown: as `modality_of` returns them.
    """
    places = [next((each for each in trained if word in alternatives(each)), None) for word in shown]
    return None not in places and set(places) == set(trained) and len(set(places)) == len(set(shown))


def as_words(modalities: Sequence[str]) -> str:
    """Return modalities as people write them: ``CT and MRI``."""
    *most, last = [each.upper() for each in modalities]
    return f"{', '.join(most)} and {last}" if most else last


@dataclass(frozen=True, repr=False)
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
        modalities: of the images that they were trained on, such as ``("ct", "mri")``, with a ``/`` where any will do,
            such as ``("ct/pet", "mri")``; empty where that is no matter.
    """

    tag: str
    file: str
    sha256: str = ""
    hub: str = ""
    revision: str = ""
    licence: str = ""
    summary: str = ""
    modalities: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"WeightsSpec({self.tag!r}, {f'hub:{self.hub}' if self.hub else self.file})"

    def __post_init__(self) -> None:
        words = [word for each in self.modalities for word in alternatives(each)]
        wrong = [word for word in words if modality_of(word) != word]
        if wrong:
            raise PluginError(
                f"the weights {self.tag!r} were trained on {wrong[0]!r}; call it {modality_of(wrong[0])!r}"
            )
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


@dataclass(frozen=True, repr=False)
class ModelSpec:
    """The description under which a model is registered.

    Attributes:
        id: short lower-case name.
        factory: ``"package.module:Class"`` of a `fusekit.models.base.FusionModel`.
        summary: one line for listings.
        config: keyword arguments of the factory; for an encoder-decoder the names of its parts.
        default_rule: fusion rule used when none is named; empty for joint models.
        rule_policy: ``free`` (any rule), ``bound`` (its own learned rule) or ``joint`` (no rule at all).
        base: id of a model whose trained weights are part of this one's: its training starts from them, by ``--init``.
            All tensors of the base have the same names here, and its configuration serves this model too.
        weights: the sets of weights; the first is the default.
        n_sources: least and greatest number of sources, ``None`` for no upper limit.
        roles: what the sources are, in order, such as ``("mri", "ct")``, for models to which that matters, with a ``/``
            where any will do, such as ``("ct/pet", "mri")``; there are as many sources as roles. Users name them, or
            are told in which order they were taken.
        dims: spatial dimensions served, ``(2,)``, ``(3,)`` or both.
        multiple: sides are padded to a multiple of this, and cropped back.
        padding: what the padding is filled with: ``replicate`` the border, ``mirror`` it, or ``zero``.
        tiling: ``exact``: large images may be cut into tiles, as far as the model declares its reach; ``discouraged``:
            only where the user asks for tiles; ``whole``: never.
        requires: what must be there before the factory is imported: names of importable packages, and ``cuda`` for a
            model that runs on CUDA devices only.
        extra: of the distribution that registers the model, which brings the packages of ``requires``.
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
    base: str = ""
    weights: tuple[WeightsSpec, ...] = ()
    n_sources: tuple[int, int | None] = (2, None)
    roles: tuple[str, ...] = ()
    dims: tuple[int, ...] = (2,)
    multiple: int = 1
    padding: Padding = "replicate"
    tiling: Tiling = "exact"
    requires: tuple[str, ...] = ()
    extra: str = ""
    min_size: int = 2
    normalization: Normalization = "unit"
    output: OutputPolicy = "clamp"
    licence: str = ""
    citation: str = ""

    def __repr__(self) -> str:
        weights = f", weights {', '.join(each.tag for each in self.weights)}" if self.weights else ""
        return f"ModelSpec({self.id!r}, {self.rule_policy} rule{weights})"

    def __post_init__(self) -> None:
        choices = {
            "rule_policy": ("free", "bound", "joint"),
            "normalization": ("minmax", "unit"),
            "output": ("clamp", "minmax"),
            "padding": ("replicate", "mirror", "zero"),
            "tiling": ("exact", "discouraged", "whole"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise PluginError(
                    f"the model {self.id!r} has {name} {getattr(self, name)!r}; allowed: {', '.join(allowed)}"
                )
        if self.rule_policy == "free" and not self.default_rule:
            raise PluginError(f"the model {self.id!r} takes any rule but names no default_rule")

        least, most = self.n_sources
        if self.roles and (least, most) != (len(self.roles),) * 2:
            raise PluginError(
                f"the model {self.id!r} names {len(self.roles)} roles and takes n_sources {self.n_sources}; "
                f"give n_sources=({len(self.roles)}, {len(self.roles)})"
            )

    def check_count(self, count: int) -> None:
        """Raise `InputError` unless the model fuses that many sources."""
        least, most = self.n_sources
        if count < least or (most is not None and count > most):
            wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
            of = f" ({', '.join(self.roles)})" if self.roles else ""
            raise InputError(f"the model {self.id!r} fuses {wanted} sources{of}, and {count} were given")

    def weights_for(self, modalities: Sequence[str]) -> WeightsSpec | None:
        """Return the first weights that were trained on these modalities, the model's default where none were.

        Args:
            modalities: as `modality_of` returns them; empty if nothing is known of the sources.
        """
        fitting = (each for each in self.weights if modalities and fits(each.modalities, modalities))
        return next(fitting, self.weights[0] if self.weights else None)

    def role_of(self, word: str) -> str | None:
        """Return the role that a word names, itself or as one of its alternatives, or ``None``."""
        return next((role for role in self.roles if word == role or word in alternatives(role)), None)

    def find_weights(self, tag: str) -> WeightsSpec | None:
        """Return the weights called ``tag``, or ``None``."""
        return next((each for each in self.weights if each.tag == tag), None)
