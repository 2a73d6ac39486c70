"""JSON of others: whatever it is, it is read or refused by a `ValueError`, wherever fusekit reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.cli import run_cli, write_texture

from fusekit.machine.parsing import MOST_DEPTH, parse_json, read_json

DEEP = 100_000
REFUSED = {
    "lists in lists": ("[" * DEEP + "]" * DEEP, "nested more than 64 deep"),
    "lists that are never closed": ("[" * DEEP, "nested more than 64 deep"),
    "objects in objects": ('{"a":' * DEEP + "0" + "}" * DEEP, "nested more than 64 deep"),
    "one level too many": ("[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1), "nested more than 64 deep"),
    "a key that stands twice": ('{"a": [{"b": 1, "c": 2, "b": 3}]}', "the key 'b' stands twice"),
    "a number of very many digits": ("1" * 5000, "too many digits"),
    "half a text": ('{"a": [1, 2', "line 1"),
    "nothing": ("", "line 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_a_value_error_of_one_line(case: str, tmp_path: Path) -> None:
    text, message = REFUSED[case]
    (tmp_path / "a.json").write_text(text)
    for read, given in ((parse_json, text), (parse_json, text.encode()), (read_json, tmp_path / "a.json")):
        with pytest.raises(ValueError, match=message) as caught:
            read(given)  # type: ignore[arg-type]
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_can_be_read_is_read_in_the_encodings_of_json(encoding: str, tmp_path: Path) -> None:
    value = {"naïve": [1, 2.5, None, True, {"x": "²"}], "deep": json.loads("[" * 60 + "7" + "]" * 60)}
    (tmp_path / "a.json").write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
    assert read_json(tmp_path / "a.json") == value


def test_devices_pipes_and_what_never_ends_are_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for path in (tmp_path / "pipe.json", Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_json(path)
    monkeypatch.setattr("fusekit.machine.parsing.MOST_BYTES", 10)
    (tmp_path / "long.json").write_text(json.dumps("a" * 20))
    with pytest.raises(ValueError, match="more than"):
        read_json(tmp_path / "long.json")


@pytest.mark.parametrize("text", [REFUSED["lists in lists"][0], REFUSED["objects in objects"][0]])
def test_every_command_that_reads_json_says_so_in_one_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("ct", "mri"):
        write_texture(tmp_path / folder / "a.png", 1)
    (tmp_path / "deep.json").write_text(text)
    pair = ["fuse", "ct/a.png", "mri/a.png", "-o", "out.png"]
    for arguments, fact in (
        ([*pair, "--rule-option", f"radius={text}"], "--rule-option radius: the value cannot be used"),
        ([*pair, "--encoder-option", f"channels={text}"], "--encoder-option channels: the value cannot be used"),
        ([*pair, "--encoder-option", text], "--encoder-option takes KEY=VALUE"),
        (["fuse", "--pairs", "ct", "mri", "-o", "out", "--names", "deep.json#/a"], "deep.json is not JSON"),
        (["evaluate", "ct", "mri", "--fused", "ct", "--names", "deep.json"], "deep.json is not JSON"),
        (["train", "ct", "-o", "run", "--names", "deep.json"], "deep.json is not JSON"),
        (["bench", "quality", "--data", "ct", "--description", "deep.json"], "description of datasets deep.json"),
    ):
        code, out, err = run_cli(arguments)
        assert (code, out) == (2, ""), err
        (line,) = err.splitlines()
        assert fact in line
        assert len(line) < 300
    assert not Path("out.png").exists()


def test_records_and_verdicts_that_are_nested_deep_count_as_none(tmp_path: Path) -> None:
    from fusekit.machine.probation import _read
    from fusekit.record import read_record

    (tmp_path / "out.png.json").write_text(REFUSED["lists in lists"][0])
    assert read_record(tmp_path / "out.png") is None
    assert _read(tmp_path / "out.png.json") is None
