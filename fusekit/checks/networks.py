"""Checks of networks whose weights come from elsewhere: their forms, published checkpoints, training, users' files."""

from __future__ import annotations

import copy
import csv
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusekit.checks.base import Findings, difference, images, is_finite
from fusekit.errors import FusekitWarning, InputError, OptionError, RuleError, WeightsError
from fusekit.models.base import BoundRule, EncoderDecoder, FusionModel
from fusekit.models.load import load
from fusekit.models.shapes import pad_to_multiple
from fusekit.pipeline import fuse
from fusekit.registry.specs import alternatives
from fusekit.train.options import Parts, TrainingData, TrainingRun
from fusekit.train.recipe import Recipe
from fusekit.train.session import start_training
from fusekit.weights.convert import convert_checkpoint

#: Share of its value at the start below which a loss has to fall in a short training, and steps that are averaged.
_FALL, _AVERAGED = 0.7, 5


def check_forms(
    network: FusionModel,
    sizes: Sequence[tuple[int, int]] = ((2, 2), (3, 7), (17, 20)),
    tolerance: float = 1e-5,
) -> list[str]:
    """Check that each faster form of a network is the same function as its plain modules.

    Fused images of batches, or an encoder-decoder's features and reconstructions, are compared in float64, where they
    are equal up to 1e-8, and in float32. bfloat16 comes near in every form. Training mode and gradients are left to the
    plain modules.

    Args:
        network: in evaluation mode, with weights that leave nothing idle, as after training; it is left as it was.
        sizes: height and width of the sources; they are padded as the model's spec says.
        tolerance: in float32, as a share of the greatest value or of 1.

    Returns:
        what is wrong, one line a finding that names the model; nothing where all is well.
    """
    findings = Findings(network.component)
    forms = [form for form in network.forms if form not in ("plain", "compile")]
    if not forms:
        findings.add("has no form but its plain modules")
    for form in forms:
        for dtype, allowed in ((torch.float64, 1e-8), (torch.float32, tolerance)):
            shown = str(dtype).removeprefix("torch.")
            with findings.during(f"in the form {form!r} in {shown}"), torch.inference_mode():
                _check_form(findings, copy.deepcopy(network).to(dtype), form, sizes, allowed)
        with findings.during(f"in the form {form!r} with gradients"):
            _check_gradients(findings, copy.deepcopy(network), form, sizes[-1])
        with findings.during(f"in the form {form!r} in bfloat16"), torch.inference_mode():
            _check_half(findings, copy.deepcopy(network), form, sizes[-1])
    return findings.found


def _sources(network: FusionModel, size: Sequence[int], batch: int = 2) -> list[Tensor]:
    return images(network.spec.n_sources[0], batch, size, seed=3)


def _check_form(
    findings: Findings, network: FusionModel, form: str, sizes: Sequence[tuple[int, int]], allowed: float
) -> None:
    for size in sizes:
        sources = [each.to(network.dtype) for each in _sources(network, size)]
        wanted = _stages(network.use_form("plain"), sources)
        found = _stages(network.use_form(form), sources)
        if network.form != form:
            findings.add(f"runs the form {network.form!r} where {form!r} is asked for")
            return
        for stage, value in wanted.items():
            off = difference(found[stage], value)
            if off > allowed:
                shown = str(network.dtype).removeprefix("torch.")
                findings.add(
                    f"gives other {stage} in the form {form!r} than by its plain modules, by {off:.1e} in {shown} for "
                    f"{'×'.join(map(str, size))} pixels"
                )


def _stages(network: FusionModel, sources: Sequence[Tensor]) -> dict[str, Any]:
    """Return what a network makes of sources, in two steps where there are an encoder and a decoder."""
    if not isinstance(network, EncoderDecoder) or isinstance(network, BoundRule):
        return {"fused images": network.fuse(sources)}
    padded = [pad_to_multiple(each, network.spec.multiple, network.spec.padding) for each in sources]
    features = network.encode_sources(padded)
    return {"features": features, "reconstructions": network.decode(features[0], padded[:1])}


def _check_gradients(findings: Findings, network: FusionModel, form: str, size: Sequence[int]) -> None:
    network.use_form(form).zero_grad()
    network.fuse(_sources(network, size, 1)).sum().backward()  # type: ignore[no-untyped-call]
    if not any(each.grad is not None and bool(each.grad.any()) for each in network.parameters()):
        findings.add(f"gives its parameters no gradients in the form {form!r}; leave these to the plain modules")
    if network.train().form != "plain":
        findings.add(f"runs the form {network.form!r} in training mode; leave that to the plain modules")


def _check_half(findings: Findings, network: FusionModel, form: str, size: Sequence[int]) -> None:
    sources = _sources(network, size)
    wanted = network.use_form("plain").fuse(sources)
    network.bfloat16()
    for each in ("plain", form):
        found = network.use_form(each).fuse([source.bfloat16() for source in sources])
        off = float((found.float() - wanted).abs().mean())
        if found.dtype != torch.bfloat16 or not off < 0.02 * max(1.0, float(wanted.abs().max())):
            findings.add(f"gives another image in bfloat16 in the form {each!r} than in float32, by more than rounding")


def check_conversion(network: FusionModel, published: Mapping[str, Tensor], tolerance: float = 1e-5) -> list[str]:
    """Check that a checkpoint under the authors' names becomes weights of the registered model.

    The checkpoint is a pickle that wraps the weights, as trainers write them, and the fused images must be the same.

    Args:
        network: in evaluation mode.
        published: its weights under the names of their authors.
        tolerance: of fused images, as a share of the greatest value or of 1.

    Returns:
        what is wrong, one line a finding that names the model; nothing where all is well.
    """
    findings, size = Findings(network.component), (max(network.spec.min_size, 9), max(network.spec.min_size, 12))
    sources = _sources(network, size, 1)
    with findings.during("to be converted"), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # What a conversion leaves out is said.
        warnings.simplefilter("ignore", FusekitWarning)
        checkpoint, output = Path(folder, "published.pth"), Path(folder, "converted.safetensors")
        torch.save({"model": dict(published), "epoch": 3}, checkpoint)
        convert_checkpoint(network.spec.id, [checkpoint], output)
        with torch.inference_mode():
            found = load(output, device="cpu", form="plain").fuse(sources)
            wanted = copy.deepcopy(network).use_form("plain").fuse(sources)
        if difference(found, wanted) > tolerance:
            findings.add("fuses another image by the converted checkpoint than by the weights that it was made of")
        own = network.convert_state_dict(network.state_dict())
        if own.keys() != network.state_dict().keys():
            findings.add("renames keys that are its own; return a state dict of them as it is")
    return findings.found


def check_short_training(
    model: str, steps: int = 20, rate: float = 1e-3, crop: int = 16, terms: Sequence[str] = ()
) -> list[str]:
    """Check that ``fusekit train`` has a model learn something from small images, and that its weights fuse.

    Args:
        model: as registered.
        steps: of two crops each; the loss must fall to .7 of what it was, if there are 10 or more.
        rate: of the optimiser.
        crop: side of the crops, pixels.
        terms: of the objective, which the log must have.

    Returns:
        what is wrong, one line a finding that names the model; nothing where all is well.

    Raises:
        UnknownNameError: there is no such model.
    """
    from fusekit.registry.contract import registered
    from fusekit.registry.discovery import registries

    findings = Findings(registered(registries().models, model))
    spec = registries().models.entry(model).details["spec"]
    with findings.during("in a short training"), tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        folders = _write_pictures(Path(folder), max(2, spec.n_sources[0]))
        trainer = start_training(
            TrainingData(folders=folders, validation_series=("none",)),
            Parts(model=model),
            Recipe(steps=steps, batch=2, crop=crop, rate=rate, gradient_weight=0.0, perceptual_weight=0.0),
            TrainingRun(output=Path(folder, "run"), device="cpu", log_every=1),
        )
        weights = trainer.run()
        with Path(folder, "run", "log.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        losses = [float(row["loss"]) for row in rows]
        first, last = (sum(part) / len(part) for part in (losses[:_AVERAGED], losses[-_AVERAGED:]))
        if steps >= 2 * _AVERAGED and not last < _FALL * first:
            findings.add(f"has a loss of {last:.3g} after {steps} steps of training and of {first:.3g} before")
        lacking = [term for term in terms if term not in rows[0]]
        if lacking:
            findings.add(f"logs no {', '.join(lacking)} in training; it logs {', '.join(rows[0])}")
        trained = load(weights, device="cpu")
        with torch.inference_mode():
            if trained.spec.id != model or not is_finite(trained.fuse(_sources(trained, (20, 24), 1))):
                findings.add("does not fuse by the weights that it was trained to")
    return findings.found


def _write_pictures(folder: Path, count: int) -> list[Path]:
    """Write three pictures of coarse blocks under the same names into each of so many folders, and return these."""
    from PIL import Image

    generator, folders = np.random.default_rng(0), [folder / f"source-{number}" for number in range(count)]
    for each in folders:
        each.mkdir()
        for number in range(3):
            blocks = np.kron(generator.integers(0, 256, (6, 6)), np.ones((6, 6))).astype(np.uint8)
            Image.fromarray(blocks).save(each / f"{number}001.png")
    return folders


def check_use(network: FusionModel) -> list[str]:
    """Check a loaded model as users meet it: odd sizes, colour and 16 bits, roles, what is refused, missing weights.

    Args:
        network: in evaluation mode, registered by its spec's name.

    Returns:
        what is wrong, one line a finding that names the model; nothing where all is well.
    """
    findings = Findings(network.component)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FusekitWarning)
        with findings.during("with colour and 16 bits"):
            _check_pixels(findings, network)
        if network.spec.roles:
            with findings.during("with roles"):
                _check_roles(findings, network)
        with findings.during("with what it cannot do"):
            _check_refusals(findings, network)
        if not network.spec.weights and any(True for _ in network.parameters()):
            with findings.during("without weights"):
                _check_missing(findings, network.spec.id)
    return findings.found


def _pictures(network: FusionModel, *size: int, dtype: Any = np.uint8, count: int = 0) -> list[NDArray[Any]]:
    generator, least = np.random.default_rng(0), network.spec.min_size
    shape = (max(size[0], least), max(size[1], least), *size[2:])
    greatest = np.iinfo(dtype).max
    return [generator.integers(0, greatest, shape, dtype=dtype) for _ in range(count or network.spec.n_sources[0])]


def _check_pixels(findings: Findings, network: FusionModel) -> None:
    colored, *others = _pictures(network, 41, 53, 3)[:1] + _pictures(network, 41, 53)[1:]
    fused = fuse([colored, *others], network).image
    if fused.shape != colored.shape or fused.dtype != np.uint8:
        findings.add(f"makes {fused.dtype} {fused.shape} of a colour picture of 8 bits {colored.shape}")
    deep = _pictures(network, 33, 17, dtype=np.uint16)
    fused = fuse(deep, network).image
    if fused.shape != deep[0].shape or fused.dtype != np.uint16 or not (fused % 257).any():
        findings.add(f"makes {fused.dtype} {fused.shape} in steps of 8 bits of 16 bits {deep[0].shape}")


def _check_roles(findings: Findings, network: FusionModel) -> None:
    """Find roles that do not put the sources in order, each named by any of its alternatives."""
    roles, pictures = network.spec.roles, _pictures(network, 20, 24, dtype=np.uint16)
    in_order, turned = fuse(pictures, network), pictures[::-1]
    if (in_order.image == fuse(turned, network).image).all():
        findings.add("fuses the same image whatever its roles; leave them out of its spec")
    for choice in range(max(len(alternatives(role)) for role in roles)):
        words = [alternatives(role)[min(choice, len(alternatives(role)) - 1)] for role in roles]
        named: dict[str, str | int] = {word: len(roles) - place for place, word in enumerate(words)}
        fused = fuse(turned, network, roles=named)
        if not (fused.image == in_order.image).all():
            findings.add(f"fuses another image where its sources are named {', '.join(words)} than in their order")
        if [each["role"] for each in fused.record["sources"]] != list(roles):
            findings.add(f"is recorded with other roles than {', '.join(roles)}")


def _check_refusals(findings: Findings, network: FusionModel) -> None:
    spec, pictures = network.spec, _pictures(network, 20, 24)
    most = spec.n_sources[1]
    tries: list[tuple[str, type[Exception], list[NDArray[Any]], dict[str, Any]]] = []
    if spec.rule_policy != "free":
        tries.append(("the rule 'mean'", RuleError, pictures, {"rule": "mean"}))
    if most is not None:
        tries.append((f"{most + 1} sources", InputError, _pictures(network, 20, 24, count=most + 1), {}))
    if spec.tiling == "whole":
        tries.append(("tiles", OptionError, pictures, {"tile": 64}))
    if spec.roles:
        tries.append(("an unknown role", OptionError, pictures, {"roles": {"no-such-role": 1}}))
    for what, error, given, choices in tries:
        try:
            fuse(given, network, **choices)
        except error:
            continue
        findings.add(f"takes {what}; it should be refused")


def _check_missing(findings: Findings, model: str) -> None:
    try:
        load(model, device="cpu")
    except WeightsError as error:
        if f"--model {model}" not in str(error):
            findings.add(f"does not say how to come to weights: {error}")
        return
    findings.add("is loaded without weights")
