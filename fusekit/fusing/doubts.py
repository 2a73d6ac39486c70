"""What only the user can settle: weights that were trained on something else, a rule that keeps one source.

And sources that may be others than those that are meant.
"""

from __future__ import annotations

from collections.abc import Sequence

from fusekit.errors import Doubt
from fusekit.fusing.run import Run
from fusekit.images.image import Image
from fusekit.models.base import FusionModel
from fusekit.options import MOST_SOURCES
from fusekit.registry.specs import alternatives, as_words, fits
from fusekit.rules.base import FusionRule

#: The share of a rule's weight above which a source is said to dominate.
DOMINANT = 0.8
#: What is shown in colour by custom.
_COLOURED = {"pet", "spect"}


def about_weights(model: FusionModel, coloured: Sequence[Image], modalities: Sequence[str]) -> tuple[Doubt, ...]:
    """Return the doubt whether a model's weights were trained on what the sources show, where there is one.

    Args:
        model: loaded.
        coloured: those of the sources that are in colour.
        modalities: what they show, in their order, as `fusekit.registry.specs.modality_of` calls it; empty if unknown.
    """
    weights = model.provenance.weights if model.provenance is not None else None
    if weights is None or not weights.modalities:
        return ()
    choices = _choices(model, weights.name)
    said = f"the weights {weights.name} were trained on {as_words(weights.modalities)}"
    if modalities:
        if fits(weights.modalities, modalities):
            return ()
        return (Doubt("weights", f"{said}, and the sources show {as_words(modalities)}{choices}"),)
    if not coloured or any(_COLOURED.intersection(alternatives(each)) for each in weights.modalities):
        return ()
    remedy = f"{choices}; or say what the sources show, as --modality pet,mri"
    return (Doubt("weights", f"{coloured[0].name} is in colour, and {said}{remedy}"),)


def _choices(model: FusionModel, name: str) -> str:
    others = [each.tag for each in model.spec.weights if f"{model.spec.id}.{each.tag}" != name]
    return f"; choose others by --weights ({', '.join(others)}, or a file)" if others else "; --weights takes others"


def about_sources(images: Sequence[Image], many: bool) -> tuple[Doubt, ...]:
    """Return the doubts whether the sources are those that are meant: many of them, or two that hold the same.

    Args:
        images: the sources.
        many: whether more than `MOST_SOURCES` were asked for.
    """
    doubts = []
    if len(images) > MOST_SOURCES and not many:
        doubts.append(Doubt("number", f"{len(images)} sources become one image; --many says that this is meant"))
    seen: dict[str, Image] = {}
    for image in images:
        digest = image.origin.sha256 if image.origin is not None else ""
        other = seen.setdefault(digest, image) if digest else image
        if other is not image:
            text = f"{other.name} and {image.name} hold the same bytes, so one adds nothing to the other"
            doubts.append(Doubt("copies", f"{text}; check the paths"))
            break
    return tuple(doubts)


def shares(ran: Run) -> list[float] | None:
    """Return how much of a rule's weight each source has, over all feature maps, or ``None`` without weights."""
    if not ran.weights:
        return None
    means = [each.as_dict()["mean"] for each in ran.weights]
    totals = [sum(abs(each) for each in of_source) for of_source in zip(*means, strict=True)]
    whole = sum(totals)
    return [total / whole for total in totals] if whole else None


def about_shares(model: FusionModel, rule: FusionRule | None, images: Sequence[Image], ran: Run) -> tuple[Doubt, ...]:
    """Return the doubt whether the fused image shows more than one source, where a rule weighs one above `DOMINANT`."""
    found = shares(ran)
    if rule is None or found is None or max(found) <= DOMINANT:
        return ()
    place = found.index(max(found))
    default = model.spec.default_rule
    remedy = f"--rule {default} keeps both" if rule.name != default else "choose another --rule, such as max"
    text = (
        f"the rule {rule.name or type(rule).__name__!r} gives {found[place]:.2f} of the weight to source {place + 1}, "
        f"{images[place].name}: the fused image may show little else; {remedy}"
    )
    return (Doubt("share", text),)
