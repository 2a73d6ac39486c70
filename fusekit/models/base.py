"""The models that the pipeline runs: three families behind one method, ``fuse``.

============  =====================================================  =========================================
family        what it is                                             the rule
============  =====================================================  =========================================
free rule     `EncoderDecoder`: encode each source, apply a    any registered rule
              rule to the features, decode
bound rule    `BoundRule`: the same with a fusion network      its own only
              that was trained with it
joint         `Joint`: one network sees all sources            none
============  =====================================================  =========================================

A model takes and gives plain float tensors; files, colour, ranges and records are the pipeline's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from fusekit.errors import RuleError, TrainingError
from fusekit.images.tiles import Reach
from fusekit.machine.memory import is_out_of_memory
from fusekit.models.configuration import Configured
from fusekit.models.contract import apply_rule, check_features, check_image, checked_weighing, unchanged
from fusekit.models.forms import Forms
from fusekit.models.objectives import Objectives, Terms
from fusekit.models.parts import build_rule
from fusekit.models.provenance import Provenance
from fusekit.models.shapes import check_sources, crop_to, pad_to_multiple
from fusekit.registry.contract import Component, calling, component_of
from fusekit.registry.discovery import registries
from fusekit.registry.specs import ModelSpec
from fusekit.rules.base import FusionRule, Reports, Weighing, WeightedRule, weighted_sum

#: What an encoder returns: a tensor (B, C, *S), or a list, tuple or dict of such.
Features: TypeAlias = Any
RuleLike: TypeAlias = "str | FusionRule | None"
#: What profilers see of the stages of a fusion.
ENCODE, RULE, DECODE = "fusekit.encode", "fusekit.rule", "fusekit.decode"


class Fusion(NamedTuple):
    """What came of running a model.

    Attributes:
        image: the network's raw output (B, 1, *S), neither clamped nor stretched.
        weights: of a rule with weights, one tensor (N, B, …) a feature map, else ``None``.
        report: of the rule, one mapping an image, or nothing.
    """

    image: Tensor
    weights: list[Tensor] | None = None
    report: Reports = ()


class FusionModel(Configured, Forms):
    """A model that fuses two or more registered single-channel images into one.

    ``save(folder)`` writes ``model.safetensors`` and ``config.json``, and `fusekit.load` reads them. Pickled
    checkpoints are never read: ``fusekit weights convert`` turns them into safetensors.
    """

    #: Set by each class; `fusekit.load` replaces it on the instance by the spec that was registered.
    spec: ModelSpec
    #: Set by `fusekit.load`: what the model was made of.
    provenance: Provenance | None = None
    #: Whether it is trained on the registered sources of one patient together, rather than on single images.
    trains_on_sources: bool = True

    def __repr__(self) -> str:
        """Return what the model is, on one line; ``torch.nn.Module.__repr__(model)`` tells of all its modules."""
        spec, made_of = getattr(self, "spec", None), self.provenance
        weights = f", weights {made_of.weights.name}" if made_of is not None and made_of.weights is not None else ""
        of = f"{spec.id!r}{weights}, " if spec is not None else ""
        return f"{type(self).__name__}({of}{self.device}, {str(self.dtype).removeprefix('torch.')})"

    @property
    def reach(self) -> Reach | None:
        """How far the output sees, for images that are cut into tiles; ``None`` where nobody looked: not tileable.

        Features must be as large as the sources. A `BoundRule` counts its fusion network's reach to the decoder's; a
        `Joint` model gives all of it as the encoder's.
        """
        return None

    def fuse(self, sources: Sequence[Tensor], rule: RuleLike = None) -> Tensor:
        """Fuse ``sources`` and return the network's raw output, neither clamped nor stretched.

        Args:
            sources: N float tensors (B, 1, *S) of one shape, values in [0, 1].
            rule: a registered rule's name, a rule object, or ``None`` for the model's default.

        Returns:
            (B, 1, *S).

        Raises:
            InputError: wrong number, shape, dtype or size of sources.
            RuleError: the model takes no rule, or not this one.
        """
        sources, chosen = list(sources), self.choose_rule(rule)
        check_sources(sources, self.spec)
        padded = [pad_to_multiple(source, self.spec.multiple, self.spec.padding) for source in sources]
        return crop_to(self.run(padded, chosen).image, sources[0].shape[2:])

    def run(self, sources: Sequence[Tensor], rule: FusionRule | None) -> Fusion:
        """Fuse sources that were checked and padded, by a rule that was chosen; what `fuse` and `fusekit.fusing` call.

        Args:
            sources: N float tensors (B, 1, *S) of one shape, sides a multiple of ``spec.multiple``.
            rule: what `choose_rule` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} belongs to none of the three families of models")

    @property
    def component(self) -> Component:
        """What messages call the model."""
        return component_of("model", self.spec.id, self, registries().models)

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> FusionRule | None:
        """Return the rule object that `fuse` would use, ``None`` for a model that has no rule to choose.

        Raises:
            RuleError: this model cannot use that rule, or the rule not these options.
        """
        raise NotImplementedError(f"{type(self).__name__} belongs to none of the three families of models")

    def check_count(self, count: int) -> None:
        """Raise `InputError` unless the model fuses that many sources."""
        self.spec.check_count(count)

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, Terms]:
        """Return what one training step minimises; the trainer calls it in training and in evaluation mode.

        Args:
            sources: N float tensors (B, 1, *S), values in [0, 1], sides a multiple of ``spec.multiple``: crops at one
                place of N registered images, or, where ``trains_on_sources`` is false, one tensor of single images.
            objectives: pixel, gradient and perceptual terms with the user's weights, to be used or left aside.

        Returns:
            the loss, a scalar with gradients, and scalars for the log by name, lower-case words joined by ``_``.

        Raises:
            TrainingError: the model defines no objective.
        """
        raise TrainingError(
            f"the model {self.spec.id!r} brings no objective to be trained with; "
            f"{type(self).__name__} must define training_loss(sources, objectives)"
        )

    @classmethod
    def convert_state_dict(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map published key names to this class's; here: nothing to map.

        Models with weights published elsewhere override this; ``fusekit weights convert`` calls it.
        """
        return dict(state)

    @property
    def header(self) -> dict[str, Any]:
        """What the header of a weights file says: the model and its configuration."""
        return {"model": self.spec.id, "config": self.config}

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder, which `fusekit.load` reads."""
        from fusekit.weights.hub import save_folder

        save_folder(self, Path(folder), self.header)


class EncoderDecoder(FusionModel):
    """Free-rule family: ``encode`` every source, let any rule fuse the features, ``decode``.

    Subclasses set ``self.encoder`` and ``self.decoder``, or override `encode` and `decode`.
    """

    encoder: nn.Module
    decoder: nn.Module
    trains_on_sources = False

    def encode(self, x: Tensor) -> Features:
        """Return the features of x (B, 1, *S): a tensor, or a list, tuple or dict of tensors."""
        return self.encoder(x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[Features]:
        """Return the features of each source; models override it that encode all sources at once for less."""
        return [self.encode(source) for source in sources]

    def decode(self, features: Features, sources: Sequence[Tensor] | None = None) -> Tensor:
        """Return the image (B, 1, *S) of ``features``; ``sources`` is there for decoders with skip connections."""
        return self.decoder(features)

    def weigh(self, rule: WeightedRule, features: Sequence[Tensor]) -> Weighing:
        """Return the rule's weights (N, B, …); models override it that compute those of some rules for less."""
        with calling(rule.component, is_out_of_memory):
            return rule.weigh(features)

    def decode_sum(self, weights: Tensor, features: Sequence[Tensor], sources: Sequence[Tensor]) -> Tensor:
        """Return the image (B, 1, *S) of Σᵢ wᵢ·Fᵢ; models override it that need not write this sum out.

        Args:
            weights: (N, B, 1 or C, 1 or *S).
            features: of each source (B, C, *S), from `encode_sources` of ``sources``.
            sources: N tensors (B, 1, *S).
        """
        return self.decode(weighted_sum(weights, features), sources)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return decode(encode(x)), what the autoencoder is trained on."""
        return self.decode(self.encode(x), [x])

    def forward(self, x: Tensor) -> Tensor:
        """Same as `reconstruct`."""
        return self.reconstruct(x)

    def training_forward(self, x: Tensor) -> Tensor:
        """Return what `reconstruct` returns, for the trainer: with gradients, in training and in evaluation mode.

        Override it where the same function can be had by a cheaper order of operations; values, gradients and
        BatchNorm's running statistics must agree with `reconstruct` up to rounding.
        """
        return self.reconstruct(x)

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, Terms]:
        """Return how far the reconstruction of each image is from the image."""
        x = sources[0] if len(sources) == 1 else torch.cat(list(sources))
        return objectives.reconstruction(x, self.training_forward(x))

    def run(self, sources: Sequence[Tensor], rule: FusionRule | None) -> Fusion:
        assert rule is not None
        with record_function(ENCODE):
            features = self.encode_sources(sources)
        check_features(features, sources, self.component)
        return self.fuse_encoded(features, sources, [rule])

    def fuse_encoded(
        self, features: Sequence[Features], sources: Sequence[Tensor], rules: Sequence[FusionRule]
    ) -> Fusion:
        """Fuse features of ``sources`` by one rule for all leaves, or one a leaf, and decode."""
        chosen = rules[0]
        if isinstance(chosen, WeightedRule) and chosen.only_weighs and isinstance(features[0], Tensor):
            with record_function(RULE), unchanged(features, chosen.component):
                weights, report = checked_weighing(self.weigh(chosen, features), features, chosen.component)
            with record_function(DECODE):
                image = self.decode_sum(weights, features, sources)
            found: list[Tensor] | None = [weights]
        else:
            with record_function(RULE):
                fused, found, report = apply_rule(chosen if len(rules) == 1 else rules, features)
            with record_function(DECODE):
                image = self.decode(fused, sources)
        check_image(image, sources[0], self.component)
        return Fusion(image, found, report)

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> FusionRule:
        return build_rule(self.spec.default_rule if rule is None else rule, options)


class ComposableEncoderDecoder(EncoderDecoder):
    """An encoder-decoder of two modules that each have a composed form: the same function by fewer operations.

    Subclasses set ``self.encoder`` and ``self.decoder``, between which goes one tensor of features, and define
    `composed_encode` and `composed_decode`. All sources are encoded as one batch.
    """

    forms = ("plain", "composed")

    def composed_encode(self, x: Tensor) -> Tensor:
        """Do as ``self.encoder(x)`` in evaluation mode: (B, 1, *S) → (B, C, *S)."""
        raise NotImplementedError(f"{type(self).__name__} must define composed_encode(x)")

    def composed_decode(self, features: Tensor) -> Tensor:
        """Do as ``self.decoder(features)`` in evaluation mode: (B, C, *S) → (B, 1, *S)."""
        raise NotImplementedError(f"{type(self).__name__} must define composed_decode(features)")

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x) if self.runs_plain(x) else self.composed_encode(x)

    def encode_sources(self, sources: Sequence[Tensor]) -> list[Tensor]:
        return list(self.encode(torch.cat(list(sources))).chunk(len(sources)))

    def decode(self, features: Tensor, sources: Sequence[Tensor] | None = None) -> Tensor:
        return self.decoder(features) if self.runs_plain(features) else self.composed_decode(features)


class BoundRule(EncoderDecoder):
    """Bound-rule family: encoder, learned fusion network, decoder; it takes no other rule.

    Reconstruction would leave the fusion network untrained, so each class defines its own `training_loss`.
    """

    trains_on_sources = True

    def training_loss(self, sources: Sequence[Tensor], objectives: Objectives) -> tuple[Tensor, Terms]:
        return FusionModel.training_loss(self, sources, objectives)

    def fuse_bound(self, features: Sequence[Features]) -> Features:
        """Fuse the features of N sources by the network that was trained with the encoder."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse_bound(features)")

    def run(self, sources: Sequence[Tensor], rule: FusionRule | None) -> Fusion:
        with record_function(ENCODE):
            features = self.encode_sources(sources)
        check_features(features, sources, self.component)
        with record_function(RULE):
            fused = self.fuse_bound(features)
        with record_function(DECODE):
            image = self.decode(fused, sources)
        check_image(image, sources[0], self.component)
        return Fusion(image)

    # The families differ in this on purpose: a bound rule is part of the network, not an object to choose.
    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> None:  # type: ignore[override]
        if options or (rule is not None and rule != self.spec.default_rule):
            raise RuleError(
                f"the model {self.spec.id!r} has a fusion network of its own and cannot use {_name(rule)}; "
                "leave the rule out"
            )


class Joint(FusionModel):
    """Joint family: one network sees all sources at once; there is no place for a rule."""

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        """Fuse N tensors (B, 1, *S) into one."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse_jointly(*sources)")

    def run(self, sources: Sequence[Tensor], rule: FusionRule | None) -> Fusion:
        with record_function(RULE), unchanged(sources, self.component):
            image = self.fuse_jointly(*sources)
        check_image(image, sources[0], self.component)
        return Fusion(image)

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> None:
        if rule is not None or options:
            raise RuleError(
                f"the model {self.spec.id!r} sees all sources in one network, so there are no separate features "
                f"for {_name(rule)} to act on; leave the rule out"
            )


def _name(rule: RuleLike) -> str:
    if rule is None:
        return "options of a rule"
    return f"the rule {(rule if isinstance(rule, str) else type(rule).__name__)!r}"
