"""Headers that lie: whatever a safetensors file says of itself, it is read, or refused by one line."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.cli import run_cli, write_texture
from safetensors.torch import save, save_file

import fusekit
from fusekit.errors import WeightsError
from fusekit.weights import store
from fusekit.weights.header import read_header
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import read_tensors, save_weights
from fusekit_ehdran.model import EHDRAN

DEEP = 100_000


def framed(text: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file of a header's text."""
    header = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def said(**tensors: Any) -> bytes:
    """Return a file whose header says this of its tensors, with eight bytes of data."""
    return framed(json.dumps(tensors), bytes(8))


def of_fusekit(value: Any) -> bytes:
    """Return a file with this in fusekit's part of the header."""
    return save({"a": torch.zeros(1)}, metadata={"fusekit": value if isinstance(value, str) else json.dumps(value)})


LIES: dict[str, bytes] = {
    "a length beyond the file": framed("{}", length=1000),
    "a length beyond all files": framed("{}", length=2**63 - 1),
    "the greatest length": framed("{}", length=2**64 - 1),
    "no JSON": framed('{"a": '),
    "no object": framed("[]"),
    "no UTF-8": framed(b'{"\xff\xfe": 1}'),
    "nested deep": framed('{"__metadata__":' + '{"a":' * DEEP + "0" + "}" * DEEP + "}"),
    "nested deep and not closed": framed('{"__metadata__":' + "[" * DEEP),
    "a tensor twice": framed('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' * 2 + '"b":1}', bytes(8)),
    "metadata that are a list": said(__metadata__=[1]),
    "metadata that are numbers": said(__metadata__={"fusekit": 5}),
    "a tensor that is a number": said(a=5),
    "a tensor without shape": said(a={"dtype": "F32", "data_offsets": [0, 8]}),
    "a dtype that is none": said(a=tensor([2], [0, 8], "Q99")),
    "a dtype that is a list": said(a=tensor([2], [0, 8], ["F32"])),
    "a shape that is a number": said(a=tensor(2, [0, 8])),  # type: ignore[arg-type]
    "a negative side": said(a=tensor([-2], [0, 8])),
    "a side that is a text": said(a=tensor(["2"], [0, 8])),
    "a side that is true": said(a=tensor([True, 2], [0, 8])),
    "a huge shape": said(a=tensor([10**12, 10**12], [0, 8])),
    "a shape that wraps round": said(a=tensor([2**33, 2**31], [0, 0])),
    "very many axes": said(a=tensor([1] * 1000 + [2], [0, 8])),
    "offsets beyond the file": said(a=tensor([4], [0, 16])),
    "offsets the other way round": said(a=tensor([0], [8, 0])),
    "offsets that are fractions": said(a=tensor([2], [0.0, 8.0])),
    "three offsets": said(a=tensor([2], [0, 4, 8])),
    "overlapping offsets": said(a=tensor([2], [0, 8]), b=tensor([1], [4, 8])),
    "a hole between tensors": said(a=tensor([0], [0, 0]), b=tensor([1], [4, 8])),
    "bytes that no tensor has": said(a=tensor([1], [0, 4])),
    "a model that is a number": of_fusekit({"model": 5}),
    "a model that is null": of_fusekit({"model": None}),
    "a config that is a list": of_fusekit({"model": "ehdran", "config": [1]}),
    "a config that is a text": of_fusekit({"model": "ehdran", "config": "edge=drgo"}),
    "a training that is a list": of_fusekit({"model": "ehdran", "training": [1]}),
    "a checkpoint without a model": of_fusekit({"step": 3, "identity": {"model": 7}}),
    "a list for all": of_fusekit([1]),
    "half a JSON text": of_fusekit('{"model": "ehd'),
    "a text nested deep": of_fusekit('{"model":' + "[" * DEEP + "]" * DEEP + "}"),
    "a key twice": of_fusekit('{"model": "ehdran", "model": "dilran"}'),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_one_line_that_names_the_file(lie: str, tmp_path: Path) -> None:
    path = tmp_path / "lie.safetensors"
    path.write_bytes(LIES[lie])
    for read in (
        lambda: fusekit.load(path),
        lambda: fusekit.load("ehdran", weights=path),
        lambda: fusekit.load(weights=path),
    ):
        with pytest.raises(WeightsError, match=r"lie\.safetensors is not a readable safetensors file \(") as caught:
            read()
        assert len(str(caught.value)) < 500
        assert str(caught.value).endswith("download or convert it again")


@pytest.mark.parametrize("lie", ["nested deep", "a config that is a list", "a huge shape"])
def test_every_command_says_it_and_leaves_nothing(lie: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_texture(tmp_path / "in" / f"{name}.png", 1)
    Path("lie.safetensors").write_bytes(LIES[lie])
    for arguments in (
        ["fuse", "in/a.png", "in/b.png", "-o", "out.png", "--weights", "lie.safetensors"],
        ["fuse", "in/a.png", "in/b.png", "-o", "out.png", "--model", "lie.safetensors"],
        ["demo", "-o", "shown", "--weights", "lie.safetensors"],
        ["train", "in", "-o", "run", "--init", "lie.safetensors"],
        ["train", "in", "-o", "run", "--perceptual", "lie.safetensors"],
        ["weights", "convert", "lie.safetensors", "--model", "ehdran", "-o", "out.safetensors"],
    ):
        code, out, err = run_cli(arguments)
        if lie == "a config that is a list" and arguments[0] in ("train", "weights"):
            # Where the tensors alone are taken, it is they that do not fit.
            assert code == 2
            continue
        assert (code, out) == (2, ""), err
        assert [line.startswith("fusekit: error: lie.safetensors is not") for line in err.splitlines()] == [True]
    assert not list(Path().glob("out*"))
    assert not Path("run").exists()


def test_what_the_library_writes_is_what_is_read(tmp_path: Path) -> None:
    dtypes = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]
    tensors = {str(each): torch.ones(3, 2).to(each) for each in dtypes}
    tensors |= {"empty": torch.zeros(0, 5), "scalar": torch.tensor(7.0), "eight": torch.ones(2).to(torch.float8_e5m2)}
    save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    header = read_header(tmp_path / "a.safetensors")
    assert {name: facts.shape for name, facts in header.tensors.items()} == {
        name: tuple(each.shape) for name, each in tensors.items()
    }
    assert header.size == sum(each.numel() * each.element_size() for each in tensors.values())
    assert header.metadata == {"format": "pt"}
    read = read_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(read[name].double(), tensors[name].double()) for name in tensors)
    assert read_metadata(tmp_path / "a.safetensors") == {}


# --- what fits a network, and what is taken of the memory -----------------------------------------------------------

NORM = "encoder.norm.num_batches_tracked"
WEIGHT = "decoder.convolutions.0.weight"


def written(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """Write weights of ``ehdran`` with one thing changed."""
    network = EHDRAN()
    state = network.state_dict()
    change(state)
    save_file(state, path, {"fusekit": json.dumps(network.header)})
    return path


@pytest.mark.parametrize(
    ("key", "dtype", "named"),
    [
        (WEIGHT, torch.float8_e4m3fn, "F8_E4M3"),
        (WEIGHT, torch.float8_e5m2, "F8_E5M2"),
        (WEIGHT, torch.int64, "I64"),
        (WEIGHT, torch.uint8, "U8"),
        (WEIGHT, torch.bool, "BOOL"),
        (WEIGHT, torch.complex64, "C64"),
        (NORM, torch.bool, "BOOL"),
        (NORM, torch.complex64, "C64"),
    ],
)
def test_dtypes_that_are_no_weights_are_refused_by_name(
    key: str, dtype: torch.dtype, named: str, tmp_path: Path
) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state[key] = torch.zeros(state[key].shape).to(dtype)

    try:
        path = written(tmp_path / "odd.safetensors", change)
    except KeyError:
        pytest.skip("this version of safetensors writes no such numbers")
    needs = "int64" if key == NORM else "float32"
    with pytest.raises(WeightsError, match=rf"{key} has the dtype {named} and the model needs {needs}; save it as"):
        fusekit.load(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_floating_dtypes_fill_a_network(dtype: torch.dtype, tmp_path: Path) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state.update({key: each.to(dtype) for key, each in state.items()})

    network = fusekit.load(written(tmp_path / "cast.safetensors", change))
    assert {each.dtype for each in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"encoder_options": {"channels": 10**6}}, "has shape .* and the model needs"),
        ({"encoder_options": {"channels": 10**30}}, "what cannot be built|Overflow|too large"),
        ({"encoder_options": [1, 2]}, "what cannot be built"),
        ({"encoder": 5}, "what cannot be built"),
        ({"encoder": "mamba"}, "what cannot be built: unknown encoder 'mamba'"),
        ({"edge": {"a": 1}}, "what cannot be built"),
        ({"depth": 3}, "what cannot be built"),
    ],
)
def test_a_configuration_that_lies_takes_no_memory(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    network = EHDRAN()
    header = {"model": "ehdran", "config": {**network.config, **config}}
    save_weights(network, tmp_path / "lie.safetensors", header)
    with pytest.raises(WeightsError, match=message) as caught:
        fusekit.load(tmp_path / "lie.safetensors")
    assert "lie.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 700


def test_more_than_the_free_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.safetensors", lambda _: None)
    monkeypatch.setattr(store, "available_bytes", lambda: 1 << 20)
    with pytest.raises(WeightsError, match=r"a\.safetensors holds tensors of 2 MiB, and 1 MiB of memory are free"):
        read_tensors(path)


def test_a_sparse_file_of_a_terabyte_is_told_by_its_header(tmp_path: Path) -> None:
    size = 1 << 40
    header = json.dumps({"a": tensor([size // 4], [0, size])}).encode()
    path = tmp_path / "huge.safetensors"
    path.write_bytes(framed(header))
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + size)
    assert math.prod(read_header(path).tensors["a"].shape) == size // 4
    with pytest.raises(WeightsError, match=r"holds tensors of 1024\.00 GiB, and .* of memory are free"):
        read_tensors(path)
