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

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from fusekit.errors import InputError, RuleError, TrainingError, WeightsError
from fusekit.images.tiles import Reach
from fusekit.models.forms import Forms
from fusekit.models.objectives import Objectives, Terms
from fusekit.models.parts import build_rule
from fusekit.models.provenance import Provenance
from fusekit.models.shapes import check_sources, crop_to, pad_to_multiple
from fusekit.registry.specs import ModelSpec
from fusekit.rules.base import FusionRule, WeightedRule, fuse_features, weighted_sum
from fusekit.weights.hub import OnHub

#: What an encoder returns: a tensor (B, C, *S), or a list, tuple or dict of such.
Features: TypeAlias = Any
RuleLike: TypeAlias = "str | FusionRule | None"
_Model = TypeVar("_Model", bound="FusionModel")


class FusionModel(OnHub, Forms):
    """A model that fuses two or more registered single-channel images into one.

    ``save_pretrained(folder)`` writes ``model.safetensors`` and ``config.json``; ``from_pretrained(folder or hub id)``
    reads them. Pickled checkpoints are never read here: ``fusekit weights convert`` turns them into safetensors.
    """

    #: Set by each class; `fusekit.load` replaces it on the instance by the spec that was registered.
    spec: ModelSpec
    #: Set by `fusekit.load`: what the model was made of.
    provenance: Provenance | None = None
    #: Whether it is trained on the registered sources of one patient together, rather than on single images.
    trains_on_sources: bool = True

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
        return self.fuse_with_weights(sources, rule)[0]

    def fuse_with_weights(self, sources: Sequence[Tensor], rule: RuleLike = None) -> tuple[Tensor, list[Tensor] | None]:
        """Do as `fuse` and also return the rule's weights.

        Returns:
            the fused image (B, 1, *S), and for a weighted rule one tensor (N, B, …) per feature map, else ``None``.
        """
        sources = list(sources)
        self.check_count(len(sources))
        check_sources(sources, self.spec.dims, self.spec.min_size)
        size = sources[0].shape[2:]
        padded = [pad_to_multiple(source, self.spec.multiple) for source in sources]
        image, weights = self._fuse(padded, rule)
        return crop_to(image, size), weights

    def _fuse(self, sources: list[Tensor], rule: RuleLike) -> tuple[Tensor, list[Tensor] | None]:
        raise NotImplementedError(f"{type(self).__name__} belongs to none of the three families of models")

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> FusionRule | None:
        """Return the rule object that `fuse` would use, ``None`` for a model that has no rule to choose.

        Raises:
            RuleError: this model cannot use that rule, or the rule not these options.
        """
        raise NotImplementedError(f"{type(self).__name__} belongs to none of the three families of models")

    def check_count(self, count: int) -> None:
        """Raise `InputError` unless the model fuses that many sources."""
        least, most = self.spec.n_sources
        if count < least or (most is not None and count > most):
            wanted = f"{least} or more" if most is None else str(least) if least == most else f"{least} to {most}"
            raise InputError(f"the model {self.spec.id!r} fuses {wanted} sources, and {count} were given")

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
    def config(self) -> dict[str, Any]:
        """The keyword arguments that this model was constructed with, as far as JSON can hold them."""
        given = getattr(self, "_hub_mixin_config", None)
        return dict(given) if isinstance(given, dict) else {}

    @property
    def header(self) -> dict[str, Any]:
        """What the header of a weights file says: the model and its configuration."""
        return {"model": self.spec.id, "config": self.config}

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and configuration; the mixin calls this from ``save_pretrained``."""
        from fusekit.weights.store import save_weights

        save_weights(self, save_directory / "model.safetensors", self.header)
        config = {"model": self.spec.id, **self.config}
        (save_directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls: type[_Model],
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **model_kwargs: Any,
    ) -> _Model:
        """Build the model and read its safetensors; the mixin calls this from ``from_pretrained``."""
        from huggingface_hub import hf_hub_download

        from fusekit.weights.store import read_weights

        model_kwargs.pop("config", None)
        model = cls(**model_kwargs)
        if Path(model_id).is_dir():
            path = Path(model_id) / "model.safetensors"
            if not path.is_file():
                raise WeightsError(f"{model_id} holds no model.safetensors; convert pickled weights first")
        else:
            path = Path(
                hf_hub_download(
                    model_id,
                    "model.safetensors",
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                )
            )
        read_weights(model, path, model.spec.id, strict=strict)
        model.to(map_location)
        return model.eval()


class EncoderDecoder(FusionModel):
    """Free-rule family: ``encode`` every source, let any rule fuse the features, ``decode``.

    Subclasses set ``self.encoder`` and ``self.decoder``, or override `encode` and `decode`.

    Attributes:
        rule: rule used where `fuse` names none; ``None`` means ``spec.default_rule``.
    """

    encoder: nn.Module
    decoder: nn.Module
    rule: FusionRule | None = None
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

    def weigh(self, rule: WeightedRule, features: Sequence[Tensor]) -> Tensor:
        """Return the rule's weights (N, B, …); models override it that compute those of some rules for less."""
        return rule.weights(features)

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

    def _fuse(self, sources: list[Tensor], rule: RuleLike) -> tuple[Tensor, list[Tensor] | None]:
        with record_function("fusekit.encode"):
            features = self.encode_sources(sources)
        return self.fuse_encoded(features, sources, [self.choose_rule(rule)])

    def fuse_encoded(
        self, features: Sequence[Features], sources: Sequence[Tensor], rules: Sequence[FusionRule]
    ) -> tuple[Tensor, list[Tensor] | None]:
        """Return the fused image (B, 1, *S) and the weights from features, by one rule for all leaves or one a leaf."""
        chosen = rules[0]
        if isinstance(chosen, WeightedRule) and chosen.only_weighs and isinstance(features[0], Tensor):
            with record_function("fusekit.rule"):
                weighed = self.weigh(chosen, features)
            with record_function("fusekit.decode"):
                return self.decode_sum(weighed, features, sources), [weighed]
        with record_function("fusekit.rule"):
            fused, weights = fuse_features(chosen if len(rules) == 1 else rules, features)
        with record_function("fusekit.decode"):
            return self.decode(fused, sources), weights

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> FusionRule:
        if rule is not None:
            return build_rule(rule, options)
        if self.rule is not None and not options:
            return self.rule
        return build_rule(self.spec.default_rule, options)


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

    def _fuse(self, sources: list[Tensor], rule: RuleLike) -> tuple[Tensor, list[Tensor] | None]:
        self.choose_rule(rule)
        with record_function("fusekit.encode"):
            features = self.encode_sources(sources)
        with record_function("fusekit.rule"):
            fused = self.fuse_bound(features)
        with record_function("fusekit.decode"):
            return self.decode(fused, sources), None

    # The families differ in this on purpose: a bound rule is part of the network, not an object to choose.
    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> None:  # type: ignore[override]
        if options or (rule is not None and rule != self.spec.default_rule):
            raise RuleError(
                f"the model {self.spec.id!r} has a fusion network of its own and cannot use the rule {_name(rule)!r}; "
                "leave the rule out"
            )


class Joint(FusionModel):
    """Joint family: one network sees all sources at once; there is no place for a rule."""

    def fuse_jointly(self, *sources: Tensor) -> Tensor:
        """Fuse N tensors (B, 1, *S) into one."""
        raise NotImplementedError(f"{type(self).__name__} must define fuse_jointly(*sources)")

    def _fuse(self, sources: list[Tensor], rule: RuleLike) -> tuple[Tensor, list[Tensor] | None]:
        self.choose_rule(rule)
        return self.fuse_jointly(*sources), None

    def choose_rule(self, rule: RuleLike, options: Mapping[str, Any] | None = None) -> None:
        if rule is not None or options:
            raise RuleError(
                f"the model {self.spec.id!r} sees all sources in one network, so there are no separate features "
                f"for the rule {_name(rule)!r} to act on; leave the rule out"
            )


def _name(rule: RuleLike) -> str:
    return rule if isinstance(rule, str) else type(rule).__name__
