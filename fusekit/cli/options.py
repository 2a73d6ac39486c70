"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fusekit.errors import OptionError
from fusekit.train.recipe import Recipe

if TYPE_CHECKING:
    from fusekit.models.base import FusionModel

_Function = TypeVar("_Function", bound=Callable[..., Any])

_RECIPE_HELP = {
    "steps": "Optimiser steps of a training.",
    "batch": "Crops a step, of each process.",
    "crop": "Side of the crops, pixels.",
    "rate": "Peak learning rate of Adam; cosine decay to 1 %.",
    "warm_up": "First share of the steps, in which the rate rises.",
    "gradient_weight": "Weight of the gradient term.",
    "perceptual_weight": "Weight of the perceptual term.",
    "settle": "Last share of the steps, in evaluation mode.",
    "precision": "float32 or bfloat16 (autocast) of a training.",
    "clip": "Greatest norm of the gradients; 0 for any.",
    "seed": "Seed of all that is drawn.",
}


def model_options(command: _Function) -> _Function:
    """Add the options that choose and load a model."""
    for option in reversed(
        (
            click.option("--model", default="ehdran", show_default=True, help="A model, or model.weights."),
            click.option(
                "--weights", help="Weights: a tag, a safetensors file, a folder, or hub:OWNER/NAME[@REVISION]."
            ),
            click.option("--edge", help="Edge operator in place of the one the weights were trained with."),
            click.option(
                "--encoder-option", "encoder_options", multiple=True, metavar="KEY=VALUE", help="Option of the encoder."
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
            click.option(
                "--dtype", default="float32", show_default=True, help="float32, bfloat16, float16, or auto by hardware."
            ),
            click.option("--form", help="Of the model: plain, composed, or compile (by torch.compile)."),
            click.option("--backend", default="auto", show_default=True, help="auto, torch or triton."),
        )
    ):
        command = option(command)
    return command


def rule_options(command: _Function) -> _Function:
    """Add the options that choose a fusion rule."""
    command = click.option(
        "--rule-option", "rule_options", multiple=True, metavar="KEY=VALUE", help="Option of the rule."
    )(command)
    return click.option("--rule", help="Fusion rule; the model's own by default.")(command)


def recipe_options(*names: str) -> Callable[[_Function], _Function]:
    """Return what adds options for these fields of a `Recipe`, with its defaults."""
    defaults = {field.name: field.default for field in fields(Recipe)}

    def add(command: _Function) -> _Function:
        for name in reversed(names):
            flag = f"--{name.replace('_', '-')}"
            command = click.option(flag, default=defaults[name], show_default=True, help=_RECIPE_HELP[name])(command)
        return command

    return add


def load_chosen(choices: Mapping[str, Any]) -> FusionModel:
    """Load the model that the options of `model_options` and `rule_options` describe."""
    from fusekit.models.load import load

    return load(
        choices["model"],
        weights=choices["weights"],
        rule=choices["rule"],
        rule_options=parse_pairs(choices["rule_options"], "--rule-option"),
        edge=choices["edge"],
        encoder_options=parse_pairs(choices["encoder_options"], "--encoder-option"),
        device=choices["device"],
        dtype=choices["dtype"],
        optimize=choices["form"] or True,
        backend=choices["backend"],
    )


def parse_pairs(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """Turn ``key=value`` texts into a dictionary; values are read as JSON, lists may be written ``1,3,5``.

    Raises:
        OptionError: a text has no ``=``.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, separator, text = pair.partition("=")
        if not separator or not key:
            raise OptionError(f"{option} takes KEY=VALUE, not {pair!r}")
        parsed[key.replace("-", "_")] = _value(text)
    return parsed


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if "," in text:
            return [_value(part.strip()) for part in text.split(",")]
        return text
