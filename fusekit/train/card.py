"""The model card that stands beside trained weights."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from fusekit.machine.files import sha256_of, write_text_atomically
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine, versions
from fusekit.train.options import NO_VALIDATION
from fusekit.train.recipe import PERCEPTUAL_WEIGHT, Recipe

_SAVE_EVERY = 250
_LIMITS = (
    "For research. Not a medical device; not for diagnosis. Expect less on scanners, sequences, body parts and bit\n"
    "depths that the training images do not show, and look at the fused image. The images are not distributed with\n"
    "the weights."
)


def write_card(path: Path, model: FusionModel, weights: Path, facts: Mapping[str, Any]) -> None:
    """Write a model card with data, split, objective, recipe, device and validation figures.

    A card that names the same weights already is left as it is: somebody may have filled in figures or text.

    Args:
        path: the card.
        model: that was trained.
        weights: their file.
        facts: recipe, data and result, as they stand in the weights' header.
    """
    digest = sha256_of(weights)
    if path.is_file() and digest in path.read_text(encoding="utf-8"):
        return
    write_text_atomically(path, card_text(model, weights.name, digest, facts))


def card_text(model: FusionModel, file: str, digest: str, facts: Mapping[str, Any]) -> str:
    """Return the card of `write_card` as Markdown, with a place for the figures of ``fusekit bench weights --card``."""
    spec, data = model.spec, facts.get("data", {})
    rows = {
        "model": f"`{spec.id}`, {sum(each.numel() for each in model.parameters()):,} parameters"
        + (f" ({spec.citation})" if spec.citation else ""),
        "parts": ", ".join(f"{key} `{value}`" for key, value in model.config.items() if isinstance(value, str)),
        "file": f"`{file}`, float32, sha256 `{digest}`",
        "data": _data(data),
        "held out": _data(facts["validation"])
        if "validation" in facts
        else "nothing; the last weights are the final ones",
        "objective": _objective(model, facts),
        "perceptual network": _network(facts),
        "recipe": _recipe(facts),
        "started from": _init(facts),
        "seed": str(facts["seed"]),
        "device": _device(model, facts),
        "default rule": f"`{spec.default_rule}`" if spec.default_rule else "",
    }
    table = "\n".join(f"| {name} | {text} |" for name, text in rows.items() if text)
    parts = [
        "---\nlibrary_name: fusekit\ntags: [image-fusion, medical-imaging]\n---",
        f"# {spec.id}",
        f"{spec.summary[:1].upper()}{spec.summary[1:]}. Trained with `fusekit train`.",
        f"| | |\n|---|---|\n{table}",
        f"## Command\n\n{_commands(model, facts)}\n\n`config.json` holds the same, with a digest of the images.",
        f"## Validation\n\n{_figures(facts)}",
        "## Figures on the test split\n\nBy the command\n\n"
        "    fusekit bench weights WEIGHTS FOLDER FOLDER --names FILE --card README.md\n\n"
        "<!-- figures: begin -->\nNot measured yet.\n<!-- figures: end -->",
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return ""
    text = f"{data['images']} images of {' and '.join(data['folders'])}"
    if "series" in data:
        text += f", series {', '.join(data['series'])}"
    if "range" in data:
        text += f", black and white by {' and '.join(dict.fromkeys(data['range']))}"
    return text + (f" ({', '.join(f'`{each}`' for each in _lists(data))})" if "names" in data else "")


def _lists(data: Mapping[str, Any]) -> list[str]:
    """Return the lists of names: one of all folders, or one of each."""
    names = data.get("names", [])
    return [names] if isinstance(names, str) else list(names)


def _objective(model: FusionModel, facts: Mapping[str, Any]) -> str:
    if model.trains_on_sources:
        return f"that of `{type(model).__name__}.training_loss`"
    terms = [f"{facts[f'{name}_weight']:g} × {name}" for name in ("gradient", "perceptual") if facts[f"{name}_weight"]]
    return " + ".join(["mean squared error of the reconstruction", *terms])


def _network(facts: Mapping[str, Any]) -> str:
    network = facts.get("perceptual")
    return f"{network['name']}, sha256 `{network['sha256'][:16]}…`" if network else ""


def _init(facts: Mapping[str, Any]) -> str:
    init = facts.get("init")
    if not init:
        return ""
    origin = f" ({init['origin']})" if init["origin"].startswith("hub:") else ""
    return f"`{init['name']}`{origin}, sha256 `{init['sha256']}`"


def _planned(earlier: Mapping[str, int]) -> str:
    """Return how many steps a run was to have, and where it was stopped if that was before their end."""
    steps, after = earlier["steps"], earlier["after"]
    return str(steps) if steps == after else f"{steps}, until step {after}"


def _recipe(facts: Mapping[str, Any]) -> str:
    processes = facts.get("processes", 1)
    crops = f"{facts['batch']}" if processes == 1 else f"{processes} × {facts['batch']}"
    clip = f", gradients clipped to norm {facts['clip']:g}" if facts["clip"] else ""
    before = "".join(f" (first {_planned(each)})" for each in facts.get("extended", ()))
    return (
        f"{facts['steps']} steps{before} of {crops} crops of {facts['crop']}×{facts['crop']}, Adam {facts['rate']:g} "
        f"with cosine decay{clip}, {facts['precision']}, the last {facts['settle']:.0%} in evaluation mode"
    )


def _device(model: FusionModel, facts: Mapping[str, Any]) -> str:
    found, software = machine(model), versions(model)
    count = facts.get("processes", 1)
    several = f"{count} processes, the main one on " if count > 1 else ""
    return (
        f"{several}{found['device']} ({found['device_name']}), torch {software['torch']}, fusekit {software['fusekit']}"
    )


def _figures(facts: Mapping[str, Any]) -> str:
    result = facts.get("result", {})
    figures = {key.removeprefix("validation_"): value for key, value in result.items() if key.startswith("validation_")}
    if not figures:
        return f"No image was held out; these are the weights after step {result.get('step', facts['steps'])}."
    rows = "\n".join(f"| {name}{' (dB)' if name == 'psnr' else ''} | {value:.6g} |" for name, value in figures.items())
    count = facts.get("validation", {}).get("images")
    of = f"{count} held-out images" if count else "held-out images"
    return (
        f"The weights after step {result['step']}, which had the least loss on {of} (whole, in evaluation mode):\n\n"
        f"| mean | value |\n|---|---|\n{rows}"
    )


def _commands(model: FusionModel, facts: Mapping[str, Any]) -> str:
    """Return the commands that train these weights again: one, and one more each time that steps were added."""
    lines = []
    for each in facts.get("extended", ()):
        stopped = "" if each["after"] == each["steps"] else f"    # stopped after step {each['after']}"
        lines.append(_command(model, {**facts, "steps": each["steps"]}) + stopped)
    return "\n".join(f"    {line}" for line in [*lines, _command(model, facts)])


def _command(model: FusionModel, facts: Mapping[str, Any]) -> str:
    """Return a command that trains as these facts say, with ``DATA`` for where the images are."""
    data, validation = facts.get("data", {}), facts.get("validation", {})
    words = ["fusekit train", *(f"DATA/{folder}" for folder in data.get("folders", []))]
    words += [f"--names DATA/{each}" for each in _lists(data)]
    words += [f"--range {each}" for each in data.get("range", ())]
    words += [f"--{name} {data[name]}" for name in ("nan", "page") if name in data]
    if "names" in validation:
        words.append(f"--validation-names DATA/{validation['names']}")
    elif data:
        words.append(f"--validation-series {','.join(validation.get('series', [NO_VALIDATION]))}")
    if "series_pattern" in facts:
        words.append(f"--series-pattern {shlex.quote(facts['series_pattern'])}")
    words += _parts(model)
    if "init" in facts:
        words.append(f"--init {_named_init(model, facts['init'])}")
    network = facts.get("perceptual")
    if network:
        in_a_file = Path(network["name"]).suffix and not network["name"].startswith("hub:")
        words.append(f"--perceptual {'DATA/' if in_a_file else ''}{network['name']}")
    for field in fields(Recipe):
        default = PERCEPTUAL_WEIGHT if field.name == "perceptual_weight" and network else field.default
        if facts[field.name] != default:
            words.append(f"--{field.name.replace('_', '-')} {facts[field.name]}")
    if facts.get("save_every", _SAVE_EVERY) != _SAVE_EVERY:
        words.append(f"--save-every {facts['save_every']}")
    return " ".join([*words, "-o RUN"])


def _named_init(model: FusionModel, init: Mapping[str, str]) -> str:
    """Return what weights to start from are called on any machine: by tag, by address, or by file name."""
    if init["origin"].startswith("hub:"):
        return init["origin"]
    return init["name"].removeprefix(f"{model.spec.id}.") if init["origin"] == "bundled" else f"DATA/{init['name']}"


def _parts(model: FusionModel) -> list[str]:
    """Return the options that name a model, or the parts of a composed one."""
    config = model.config
    composed = model.spec.id == "composed"
    words = (
        [f"--encoder {config['encoder']} --decoder {config['decoder']}"] if composed else [f"--model {model.spec.id}"]
    )
    if "edge" in config and config["edge"] != model.spec.config.get("edge"):
        words.append(f"--edge {config['edge']}")
    for part in ("encoder", "decoder"):
        for key, value in (config.get(f"{part}_options") or {}).items():
            text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            words.append(f"--{part}-option {key}={text}")
    return words
