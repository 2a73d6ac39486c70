"""Training in several processes: shares of a batch, means over the processes, one writer."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from helpers.cli import run_cli, write_texture
from helpers.forked import run_forked
from helpers.training import IMAGES, log_rows

from fusekit.errors import DeviceError, MissingExtraError
from fusekit.train.data import sample_batch
from fusekit.train.processes import Processes, find_processes
from fusekit.weights.store import read_tensors

OPTIONS = "--crop 32 --steps 3 --perceptual-weight 0 --settle 1 --device cpu --log-every 1 --save-every 2"


def test_shares_make_up_the_whole_batch() -> None:
    whole = sample_batch([(image,) for image in IMAGES], 6, 32, seed=1, step=1)
    shares = [whole.share(index, 3) for index in range(3)]
    assert torch.equal(torch.cat([share.sources[0] for share in shares]), whole.sources[0])
    assert sum((share.crops for share in shares), ()) == whole.crops


def test_one_process_is_the_main_one_and_averages_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = find_processes("cpu")
    assert alone == Processes(torch.device("cpu"), 0, 1)
    assert alone.is_main
    value = torch.tensor([1.0, 2.0])
    alone.average([value])
    alone.wait()
    assert value.tolist() == [1.0, 2.0]


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(
        MissingExtraError, match=r"needs accelerate; install it: pip install 'fusekit-imaging\[train\]'"
    ):
        find_processes("cpu")


def test_several_processes_do_not_share_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("fusekit.train.processes.resolve_device", torch.device)
    with pytest.raises(DeviceError, match="several processes cannot all train on 'cuda:1'"):
        find_processes("cuda:1")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.process
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    for series in range(1, 4):
        write_texture(tmp_path / "images" / f"{series}001.png", series, 40, 40)
    # --multi_gpu is accelerate's word for several processes on a machine; --device cpu makes them use the CPU.
    launcher = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    # Told port 0, accelerate 1.0 hands it on as it is, and the processes wait for each other in vain.
    launcher += ["--dynamo_backend", "no", "--main_process_port", str(free_port())]
    command = ["train", str(tmp_path / "images"), *OPTIONS.split(), "--validation-series", "3"]
    command += ["--encoder", "dran", "--decoder", "conv3", "--encoder-option", "channels=4"]
    done = run_forked(
        "from accelerate.commands.launch import main; main()",
        *(*launcher, "-m", "fusekit", *command, "--batch", "1", "-o", str(tmp_path / "two")),
        environment={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'two' / 'weights.safetensors'}\n"
    assert run_cli([*command, "--batch", "2", "-o", tmp_path / "one"]).code == 0
    ours, theirs = log_rows(tmp_path / "two"), log_rows(tmp_path / "one")
    assert [row["step"] for row in ours] == ["1", "2", "3"]
    for our, their in zip(ours, theirs, strict=True):
        assert float(our["loss"]) == pytest.approx(float(their["loss"]), rel=1e-4)
    first, second = (read_tensors(tmp_path / name / "weights.safetensors") for name in ("two", "one"))
    assert all(torch.allclose(first[key], second[key], atol=1e-5) for key in first)
    assert "3 steps of 2 × 1 crops" in (tmp_path / "two" / "README.md").read_text(encoding="utf-8")
