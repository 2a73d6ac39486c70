"""The network that is trained: of a model or of parts, with weights drawn from the seed or those to start from."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusekit.errors import FusekitWarning, OptionError, TrainingError, WeightsError
from fusekit.machine.files import same_file
from fusekit.models.base import FusionModel
from fusekit.models.load import build_network, built, with_choices
from fusekit.models.locate import Located, locate, spec_of
from fusekit.options import DEFAULT_MODEL
from fusekit.registry.contract import fault
from fusekit.registry.specs import ModelSpec
from fusekit.train.options import Parts
from fusekit.weights.store import read_weights

_COMPOSED = "composed"


def construct(parts: Parts, seed: int, output: Path) -> tuple[FusionModel, dict[str, str] | None]:
    """Return the model to train, and what it starts from.

    Args:
        parts: what is asked for.
        seed: that the initial weights are drawn from.
        output: the folder of the run.

    Returns:
        the model, and name, digest and origin of the weights that it starts from, ``None`` where they were drawn.

    Raises:
        OptionError, UnknownNameError: there is no such model or part, or it does not take these options.
        WeightsError: the weights to start from cannot be found or read, or are of another network.
        TrainingError: they are the run's own.
    """
    composed = {"encoder": parts.encoder, "decoder": parts.decoder, "decoder_options": dict(parts.decoder_options)}
    given = {name: value for name, value in composed.items() if value}
    if parts.model not in (None, _COMPOSED) and given:
        raise OptionError(
            f"the model {parts.model!r} has its own encoder and decoder; leave out --model, or --encoder and --decoder"
        )
    name = _COMPOSED if given else parts.model
    if parts.init is None:
        spec = spec_of(name or DEFAULT_MODEL)
        _check_base(spec)
        config = with_choices(spec, {**spec.config, **given}, parts.edge, parts.encoder_options)
        return build_network(spec, config, seed), None
    located = locate(name, parts.init, or_base=True)
    spec, found, said = located
    assert found is not None
    if name is not None and spec.id == spec_of(name).base:
        network = _on_base(spec_of(name), located, seed)
    else:
        _check_not_its_own(found.path, output)
        trained = {**spec.config, **said}
        config = with_choices(spec, {**trained, **given}, parts.edge, parts.encoder_options)
        if said:
            _check_same_network(trained, config, found.path)
        network = built(located, config, seed, from_user=False)
        read_weights(network, found.path, spec.id, prefix=found.prefix)
    if found.note:
        warnings.warn(found.note, FusekitWarning, stacklevel=3)
    return network, {"name": found.name, "sha256": found.sha256, "origin": found.origin}


def _check_base(spec: ModelSpec) -> None:
    """Raise `OptionError` where a model that starts from trained weights is to start from drawn ones."""
    if spec.base:
        raise OptionError(
            f"the model {spec.id!r} is trained from trained weights of {spec.base!r}; train those first (fusekit train "
            f"FOLDERS --model {spec.base} -o BASE), and give --init BASE"
        )


def _on_base(spec: ModelSpec, located: Located, seed: int) -> FusionModel:
    """Return a model of which the part that its base is was trained, and the rest is drawn."""
    base, found, said = located
    assert found is not None
    trained = build_network(base, {**base.config, **said}, seed)
    read_weights(trained, found.path, base.id, prefix=found.prefix)
    network = build_network(spec, {**spec.config, **said}, seed)
    other = network.load_state_dict(trained.state_dict(), strict=False).unexpected_keys
    if other:
        raise fault(network.component, f"has no tensor {other[0]!r} of its base {base.id!r}", "give it the same names")
    return network


def _check_not_its_own(path: Path, output: Path) -> None:
    if same_file(path.parent, output):
        raise TrainingError(f"{path} lies in the folder of the run itself; to go on with the run, give it more --steps")


def _check_same_network(trained: Mapping[str, Any], asked: Mapping[str, Any], path: Path) -> None:
    """Raise `WeightsError` where other parts are asked for than the weights were trained with."""
    for key in asked:
        if asked[key] != trained.get(key):
            option = f"--{key.replace('_', '-').removesuffix('s')}"
            raise WeightsError(
                f"{path} was trained with {key.replace('_', ' ')} {trained.get(key)!r}, and {asked[key]!r} is asked "
                f"for; leave out {option}, or start from other weights"
            )
