"""The record beside every fused image: enough to say where each pixel came from, and to make it again."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusekit.errors import Doubt, OutputError
from fusekit.fusing.doubts import shares
from fusekit.fusing.run import Run
from fusekit.images.align import Aligned
from fusekit.images.coloring import Coloring
from fusekit.images.files import check_format, encode_image
from fusekit.images.image import Image
from fusekit.images.ranges import Range
from fusekit.machine.files import check_place, is_file, same_file, sha256_of, stat_of, why, write_together
from fusekit.machine.parsing import read_json
from fusekit.models.base import FusionModel
from fusekit.models.describe import machine, versions
from fusekit.options import FuseOptions, as_asked
from fusekit.rules.base import FusionRule


def record_path(output: Path) -> Path:
    """Return where the record of ``output`` goes: ``OUT.json`` beside it, its extension kept (``fused.png.json``)."""
    return output.with_name(output.name + ".json")


def save_with_record(
    output: Path, fused: Image, record: Mapping[str, Any], *, beside: bool = True, overwrite: bool = False
) -> dict[str, Any]:
    """Write image and record so that an image is never without its record: the record first, then the image.

    Only what fusekit wrote is replaced or removed: a file in the record's place that is no record stays.

    Args:
        output: the image's file.
        fused: the image.
        record: of `make_record`.
        beside: whether to write the record; without it the one of an image that was there before goes.
        overwrite: whether to replace an image that is there already.

    Returns:
        the record with the SHA-256 digest of the image's file.

    Raises:
        OutputError: the format does not hold the image, the folder is not writable, something is there that is to stay,
            or the output is one of the sources.
    """
    check_format(output, fused.depth, fused.color, len(fused.size))
    sources = [source["path"] for source in record["sources"] if source["path"] is not None]
    check_output(output, sources, record=beside, overwrite=overwrite)
    data = encode_image(fused, output)
    whole = {**record, "output": {**record["output"], "sha256": hashlib.sha256(data).hexdigest()}}
    text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"

    def last_word() -> None:
        check_output(output, sources, record=beside, overwrite=overwrite)
        if not beside and read_record(output) is not None:
            record_path(output).unlink()

    # Bytes of a file's name that are no UTF-8 stand in JSON as escapes.
    files = {record_path(output): text.encode("utf-8", "backslashreplace")} if beside else {}
    write_together({**files, output: data}, last_word)
    return whole


def check_output(output: Path, sources: Sequence[Any] = (), *, record: bool = True, overwrite: bool = False) -> None:
    """Raise `OutputError` where an image, or its record, cannot be written because of what is there.

    Args:
        output: the image's file.
        sources: those that are paths are never written to.
        record: whether a record is to be written as well.
        overwrite: whether an image that is there may be replaced.
    """
    check_not_a_source(output, sources)
    check_place(output, overwrite)
    beside = record_path(output)
    try:
        foreign = _is_foreign(beside)
    except OSError as error:
        if record:
            raise OutputError(f"cannot write {beside}: {why(error)}, or leave the record out by --no-record") from error
        return
    if record and foreign:
        check_place(beside)
        raise OutputError(
            f"cannot write {beside}: it is there already and is no record of fusekit, so it stays; name another "
            "output, or leave the record out by --no-record"
        )


def about_record(output: Path) -> tuple[Doubt, ...]:
    """Return the doubt about what stands in the place of a record that is not written, where it is none."""
    beside = record_path(output)
    try:
        foreign = _is_foreign(beside)
    except OSError:
        return ()
    if not foreign:
        return ()
    return (Doubt("record", f"{beside} is no record of fusekit and was left as it is; it does not tell of {output}"),)


def _is_foreign(beside: Path) -> bool:
    """Return whether something is at a record's path that fusekit did not write.

    Raises:
        OSError: that cannot be told.
    """
    return (stat_of(beside) is not None or beside.is_symlink()) and _read(beside) is None


def read_record(output: Path) -> dict[str, Any] | None:
    """Return the record beside ``output``, or ``None`` where there is none, or something that fusekit did not write."""
    return _read(record_path(output))


def _read(path: Path) -> dict[str, Any] | None:
    if not is_file(path):
        return None
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    return record if _is_record(record) else None


def _is_record(value: Any) -> bool:
    """Return whether a JSON value is what `make_record` made, of this version or an earlier one."""
    parts = {"sources": list, "output": dict, "model": dict, "versions": dict}
    if not isinstance(value, dict) or not all(isinstance(value.get(key), kind) for key, kind in parts.items()):
        return False
    return isinstance(value["versions"].get("fusekit"), str)


def belongs_to(record: Mapping[str, Any], output: Path) -> bool:
    """Return whether a record tells of the image beside it, and not of one that was never put in its place.

    Records are written before images, and only where an image is the older one, as a killed process may leave them, is
    its digest compared.
    """
    digest = record["output"].get("sha256")
    try:
        if digest is None or output.stat().st_mtime_ns >= record_path(output).stat().st_mtime_ns:
            return True
        return bool(sha256_of(output) == digest)
    except OSError:
        return False


def make_record(
    model: FusionModel,
    sources: Aligned,
    ranges: Sequence[Range],
    limits: Sequence[tuple[float, float]],
    rule: FusionRule | None,
    ran: Run,
    options: FuseOptions,
    coloring: Coloring,
    fused: Image,
    scale: tuple[float, float],
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
            _source(image, each, of_model, role, modality)
            for image, each, of_model, role, modality in zip(
                sources.images, ranges, limits, roles, modalities, strict=True
            )
        ],
        "output": {
            "size": list(fused.size),
            "channels": 3 if fused.color else 1,
            "depth": fused.depth,
            "range": list(scale),
        },
        **settings(model, rule, options),
        "alignment": _alignment(sources, options),
        "rule_weights": [each.as_dict() for each in ran.weights] if ran.weights else None,
        "rule_shares": None if found is None else [round(each, 4) for each in found],
        "rule_report": ran.report or None,
        "many": options.many,
        "tile": options.tile,
        "memory": options.memory,
        "max_pixels": options.max_pixels,
        "tiles": ran.tiles,
        "chroma_from": None if coloring.source is None else coloring.source + 1,
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
        "range": list(options.range) or None,
        "invert": list(options.invert) or None,
        "nan": options.nan,
        "color": options.color,
        "align": options.align,
        "bit_depth": None if options.bit_depth is None else str(options.bit_depth),
        "roles": dict(options.roles) or None,
        "page": options.page,
    }


def _roles(model: FusionModel, images: Sequence[Image]) -> Sequence[str | None]:
    """Return what each source is to the model, ``None`` for a model that does not tell its sources apart."""
    return model.spec.roles or [None] * len(images)


def _alignment(sources: Aligned, options: FuseOptions) -> dict[str, Any] | None:
    """Return by what the sources were brought onto one grid and how each, or ``None`` where none had to be."""
    if not any(transform is not None for transform in sources.transforms):
        return None
    return {"how": options.align, "transforms": sources.transforms}


def _source(
    image: Image, found: Range, limits: tuple[float, float], role: str | None, modality: str | None
) -> dict[str, Any]:
    return {
        **({} if role is None else {"role": role}),
        **({} if modality is None else {"modality": modality}),
        "path": None if image.path is None else str(image.path),
        "sha256": image.origin.sha256 or None if image.origin is not None else None,
        "size": list(image.size),
        "depth": image.depth,
        "color": image.color,
        "range": list(limits),
        "range_choice": found.choice,
        **({} if found.bits is None else {"bits_stored": found.bits}),
        "inverted": found.inverted,
        "notes": list(image.notes),
    }


def check_not_a_source(output: Path, sources: Sequence[Any]) -> None:
    """Raise `OutputError` if writing ``output`` would destroy one of the sources."""
    for source in sources:
        if isinstance(source, (str, Path)) and same_file(output, Path(source)):
            raise OutputError(f"the output {output} is one of the sources; choose another name")
