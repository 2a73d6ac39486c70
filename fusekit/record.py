"""The record beside every fused image: enough to say where each pixel came from, and to make it again."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusekit.errors import Doubt, OutputError
from fusekit.fusing.doubts import shares
from fusekit.fusing.run import Run
from fusekit.images.align import Aligned
from fusekit.images.files import check_format, encode_image
from fusekit.images.image import Image
from fusekit.machine.files import atomic_path, write_text_atomically
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine, versions
from fusekit.options import FuseOptions, as_asked
from fusekit.rules.base import FusionRule


def record_path(output: Path) -> Path:
    """Return where the record of ``output`` goes: ``OUT.json`` beside it, its extension kept (``fused.png.json``)."""
    return output.with_name(output.name + ".json")


def save_with_record(output: Path, fused: Image, record: Mapping[str, Any] | None) -> None:
    """Write image and record so that an image is never without its record: the record first, then the image.

    Raises:
        OutputError: the format does not hold the image, or the folder is not writable.
    """
    check_format(output, fused.depth, fused.color, len(fused.size))
    beside = record_path(output)
    with atomic_path(output) as image:
        image.write_bytes(encode_image(fused, output))
        if record is None:
            beside.unlink(missing_ok=True)
            return
        write_text_atomically(beside, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def read_record(output: Path) -> dict[str, Any] | None:
    """Return the record beside ``output``, or ``None`` where there is no readable one."""
    try:
        record = json.loads(record_path(output).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def make_record(
    model: FusionModel,
    sources: Aligned,
    limits: Sequence[tuple[float, float]],
    rule: FusionRule | None,
    ran: Run,
    options: FuseOptions,
    chroma_of: int | None,
    fused: Image,
    seconds: Mapping[str, float],
    modalities: Sequence[str | None],
    doubts: Sequence[Doubt],
) -> dict[str, Any]:
    """Return the JSON-able record of one fusion.

    ``sources`` lie on one grid; ``ran`` came of running the model; ``seconds`` holds what read, fuse and total took;
    ``modalities`` are what the sources show, ``None`` where nothing was said.
    """
    roles, found = _roles(model, sources.images), shares(ran)
    return {
        "sources": [
            _source(image, each, role, modality)
            for image, each, role, modality in zip(sources.images, limits, roles, modalities, strict=True)
        ],
        "output": {
            "size": list(fused.size),
            "channels": 3 if fused.color else 1,
            "depth": fused.depth,
        },
        **settings(model, rule, options),
        "alignment": _alignment(sources, options),
        "rule_weights": [each.as_dict() for each in ran.weights] if ran.weights else None,
        "rule_shares": None if found is None else [round(each, 4) for each in found],
        "rule_report": ran.report or None,
        "tile": options.tile,
        "memory": options.memory,
        "tiles": ran.tiles,
        "chroma_from": None if chroma_of is None else chroma_of + 1,
        **machine(model),
        "load": None if model.provenance is None else as_asked(model.provenance.options),
        "versions": versions(model),
        "doubts": [doubt.text for doubt in doubts],
        "seconds": {part: round(seconds[part], 4) for part in ("read", "fuse", "total")},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def settings(model: FusionModel, rule: FusionRule | None, options: FuseOptions) -> dict[str, Any]:
    """Return the part of a record that two outputs of the same settings have in common."""
    made_of = model.provenance
    weights = made_of.weights if made_of is not None else None
    return {
        "model": {
            "name": model.spec.id,
            "config": dict(made_of.config) if made_of is not None else {},
            "notes": list(made_of.notes) if made_of is not None else [],
            "citation": model.spec.citation,
        },
        "weights": None
        if weights is None
        else {
            "name": weights.name,
            "sha256": weights.sha256,
            "origin": weights.origin,
            "modalities": list(weights.modalities),
        },
        "rule": None if rule is None else {"name": rule.name or type(rule).__name__, "options": dict(rule.options)},
        "normalization": model.spec.normalization,
        "output_policy": model.spec.output,
        "color": options.color,
        "align": options.align,
        "bit_depth": None if options.bit_depth is None else str(options.bit_depth),
        "roles": dict(options.roles) or None,
    }


def _roles(model: FusionModel, images: Sequence[Image]) -> Sequence[str | None]:
    """Return what each source is to the model, ``None`` for a model that does not tell its sources apart."""
    return model.spec.roles or [None] * len(images)


def _alignment(sources: Aligned, options: FuseOptions) -> dict[str, Any] | None:
    """Return by what the sources were brought onto one grid and how each, or ``None`` where none had to be."""
    if not any(transform is not None for transform in sources.transforms):
        return None
    return {"how": options.align, "transforms": sources.transforms}


def _source(image: Image, limits: tuple[float, float], role: str | None, modality: str | None) -> dict[str, Any]:
    return {
        **({} if role is None else {"role": role}),
        **({} if modality is None else {"modality": modality}),
        "path": None if image.path is None else str(image.path),
        "sha256": image.origin.sha256 or None if image.origin is not None else None,
        "size": list(image.size),
        "depth": image.depth,
        "color": image.color,
        "range": list(limits),
        "notes": list(image.notes),
    }


def check_not_a_source(output: Path, sources: Sequence[Any]) -> None:
    """Raise `OutputError` if writing ``output`` would destroy one of the sources."""
    for source in sources:
        if isinstance(source, (str, Path)) and output.exists() and Path(source).exists() and output.samefile(source):
            raise OutputError(f"the output {output} is one of the sources; choose another name")
