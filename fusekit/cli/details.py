"""What ``--verbose`` says of one fusion, in lines made of its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fusekit.errors import memory_text, size_text


def details(record: Mapping[str, Any]) -> Iterator[str]:
    """Give a line for each source, and one each for what was chosen, how it was cut and how long it took."""
    for number, source in enumerate(record["sources"], start=1):
        yield f"source {number}: {_source(source)}"
    yield f"model {record['model']['name']}, {_weights(record['weights'])}, {_rule(record)}"
    on = f"{record['device']} ({record['device_name']}), {record['dtype']}, form {record['form']}"
    yield f"computed on {on}, backend {record['backend']}; {_tiles(record['tiles'])}"
    seconds = record["seconds"]
    yield f"seconds: read {seconds['read']:.2f}, fused {seconds['fuse']:.2f}, all {seconds['total']:.2f}"


def _source(source: Mapping[str, Any]) -> str:
    colour = " in colour" if source["color"] else ""
    parts = [f"{source['path'] or 'an array'}, {size_text(source['size'])} {source['depth']}{colour}"]
    if source.get("range") is not None:
        low, high = source["range"]
        parts.append(f"{low:g} to {high:g} become 0 to 1")
    return ", ".join([*parts, *map(str, source["notes"])])


def _weights(weights: Mapping[str, Any] | None) -> str:
    return "without weights" if weights is None else f"weights {weights['name']} ({weights['origin']})"


def _rule(record: Mapping[str, Any]) -> str:
    rule, shares = record["rule"], record.get("rule_shares")
    if rule is None:
        return "no rule"
    given = f" with {dict(rule['options'])}" if rule["options"] else ""
    told = f", shares of the sources {', '.join(f'{share:.2f}' for share in shares)}" if shares else ""
    return f"rule {rule['name']}{given}{told}"


def _tiles(tiles: Mapping[str, Any] | None) -> str:
    if tiles is None:
        return "whole"
    if "note" in tiles:
        return str(tiles["note"])
    return (
        f"{tiles['number']} tiles of {size_text(tiles['side'])}, {tiles['passes']} passes, within "
        f"{memory_text(tiles['memory'])}"
    )
