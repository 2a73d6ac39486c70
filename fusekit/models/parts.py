"""The parts that models are made of: encoders, decoders, and how registered ones are constructed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from torch import nn

from fusekit.errors import OptionError, RuleError
from fusekit.images.tiles import Reach
from fusekit.models.contract import check_part
from fusekit.registry.contract import calling, fault, registered
from fusekit.registry.discovery import registries
from fusekit.rules.base import FusionRule

if TYPE_CHECKING:
    pass


class Encoder(nn.Module):
    """Turns one image into features: (B, 1, *S) in [0, 1] → (B, C, *S).

    Subclasses take their edge operator as the keyword ``edge`` (a registered name) and expose it as ``self.edge``, and
    the number of their features' channels as ``self.channels``, one number or one a level.

    Attributes:
        reach: pixels around a feature that it depends on; ``None`` where nobody looked, and then images are not tiled.
        multiple: of pixels at which tiles may begin, such as 2 for an encoder that pools over 2×2 blocks.
    """

    channels: int | tuple[int, ...]
    reach: int | None = None
    multiple: int = 1


class Decoder(nn.Module):
    """Turns features into an image: (B, C, *S) → (B, 1, *S). Subclasses take C as the keyword ``channels``.

    Attributes:
        reach: pixels of features around an output pixel that it depends on; ``None`` where nobody looked.
        multiple: of pixels at which tiles may begin.
    """

    reach: int | None = None
    multiple: int = 1


def reach_of_parts(encoder: nn.Module, decoder: nn.Module) -> Reach | None:
    """Return the reach of a model that is these two parts and nothing else, ``None`` where one does not declare it."""
    near, far = getattr(encoder, "reach", None), getattr(decoder, "reach", None)
    if not isinstance(near, int) or not isinstance(far, int):
        return None
    multiples = (getattr(part, "multiple", 1) for part in (encoder, decoder))
    return Reach(near, far, math.lcm(*multiples))


PartKind: TypeAlias = Literal["encoder", "decoder", "edge operator"]


def build_part(kind: PartKind, name: str, options: Mapping[str, Any]) -> Any:
    """Return the registered part called ``name``, an `nn.Module` constructed with ``options``.

    Args:
        kind: ``encoder``, ``decoder`` or ``edge operator``.
        name: as registered.
        options: keyword arguments of its class; those of an edge operator are the ``channels``.

    Raises:
        UnknownNameError: there is none of that name.
        OptionError: it does not take these options.
        PluginError: it cannot be imported.
    """
    found = registries()
    kinds = {"encoder": found.encoders, "decoder": found.decoders, "edge operator": found.edge_operators}
    component, part_class = registered(kinds[kind], name), kinds[kind].load(name)
    with calling(component):
        try:
            part: Any = part_class(**options)
        except (TypeError, ValueError, RuntimeError) as error:
            # What torch adds behind the first line is where in its own code it raised.
            reason = str(error).partition("\n")[0]
            raise OptionError(f"{component} does not take these options: {reason}") from error
    if not isinstance(part, nn.Module):
        raise fault(component, f"is an object of type {type(part).__name__}", "it must be a torch.nn.Module")
    part.component = component  # type: ignore[assignment]
    part.register_forward_hook(check_part)
    return part


def build_rule(rule: str | FusionRule, options: Mapping[str, Any] | None = None) -> FusionRule:
    """Return ``rule``, looked up and constructed with ``options`` if it is a name.

    Raises:
        UnknownNameError: no rule has that name.
        RuleError: the rule does not take these options, or is an object, which has its own.
    """
    if isinstance(rule, FusionRule):
        if options:
            called = rule.name or type(rule).__name__
            raise RuleError(f"the rule {called!r} is given as an object, which has its own options; leave others out")
        return rule
    rules = registries().fusion_rules
    component, rule_class = registered(rules, rule), rules.load(rule)
    with calling(component):
        try:
            built: FusionRule = rule_class(**(options or {}))
        except (TypeError, ValueError) as error:
            raise RuleError(f"{component} does not take these options: {error}") from error
    if not isinstance(built, FusionRule):
        raise fault(
            component, f"is an object of type {type(built).__name__}", "derive it from fusekit.extend.FusionRule"
        )
    built.name, built.options = rule, dict(options or {})
    return built
