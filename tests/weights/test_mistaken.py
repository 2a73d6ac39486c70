"""What lies where weights should lie is called what it is, with what to do, under whatever name it was saved."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli import run_cli, write_texture
from PIL import Image
from safetensors.torch import save

import fusekit
from fusekit.errors import WeightsError
from fusekit.weights.checkpoints import read_checkpoint
from fusekit.weights.mistaken import kind_of
from fusekit_ehdran.model import EHDRAN

PAGE = "<!DOCTYPE html><html><head><title>Quota exceeded &amp; gone</title></head><body>sorry</body></html>"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 2097152\n"


def zipped(names: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return buffer.getvalue()


def pictured() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG")
    return buffer.getvalue()


def saved() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4000)}, buffer)
    return buffer.getvalue()


def array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


MISTAKEN: dict[str, tuple[bytes, str, str]] = {
    "a web page": (PAGE.encode(), "a web page ('Quota exceeded & gone')", "download the file itself"),
    "a page with a mark and a comment": (
        f"\ufeff\n <!-- saved -->\n{PAGE.lower()}".encode(),
        "a web page ('quota exceeded & gone')",
        "download the file itself",
    ),
    "a page without a title": (b"<html><body>404</body></html>", "a web page", "download the file itself"),
    "an XML error": (
        b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>',
        "an XML document ('AccessDenied')",
        "download the file itself",
    ),
    "a JSON error": (b'{"error":"Repository not found"}', 'JSON (\'{"error":"Repository not found"}\')', "itself"),
    "a long JSON error": (json.dumps({"message": "x" * 50_000}).encode(), 'JSON (\'{"message": "xxx', "itself"),
    "a text": ("404: Nicht gefunden — weg\n".encode(), "text ('404: Nicht gefunden — weg')", "itself"),
    "the index of several files": (
        json.dumps({"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}).encode(),
        "the index of weights that lie in several files",
        "join them",
    ),
    "a pointer of Git LFS": (LFS.encode(), "a pointer of Git LFS, which stands for the file of 2 MiB", "git lfs pull"),
    "an old pointer of Git LFS": (
        b"version https://hawser.github.com/spec/v1\noid sha256:00\n",
        "a pointer of Git LFS, which stands for the file;",
        "git lfs pull",
    ),
    "a pointer of git-annex": (
        b"/annex/objects/SHA256E-s1048576--abc.pth\n",
        "a pointer of git-annex",
        "git annex get ",
    ),
    "a link of git-annex": (b"../.git/annex/objects/Xx/1/SHA256E-s1/SHA256E-s1", "a pointer of git-annex", "annex get"),
    "nothing": (b"", "empty", "download it again"),
    "half an archive": (saved()[:9000], "an archive whose end is missing or damaged", "download it again"),
    "a folder that was zipped": (
        zipped({"weights/model.pth": b"1", "readme": b"2"}),
        "a zip archive, with 'weights/model.pth' in it",
        "unpack it",
    ),
    "a gzip archive": (gzip.compress(b"weights"), "a gzip archive", "unpack it"),
    "a tar archive": (tarred(), "a tar archive", "unpack it"),
    "an HDF5 file": (b"\x89HDF\r\n\x1a\n" + bytes(40), "an HDF5 file, as Keras", "PyTorch's state dict"),
    "a MATLAB file": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90), "a MATLAB file", "state dict"),
    "an array of NumPy": (array(), "a single NumPy array", "state dict"),
    "an image": (pictured(), "a PNG image", "state dict"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt", ".bin"])
@pytest.mark.parametrize("case", MISTAKEN)
def test_it_is_named_and_what_to_do_is_said(case: str, suffix: str, tmp_path: Path) -> None:
    content, fact, remedy = MISTAKEN[case]
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    for read in (
        lambda: fusekit.load("ehdran", weights=path),
        lambda: fusekit.load(weights=path),
        lambda: read_checkpoint(path),
    ):
        with pytest.raises(WeightsError) as caught:
            read()
        message = str(caught.value)
        assert message.startswith(f"{path} is no file of weights: it is {fact}")
        assert remedy in message
        assert "could run code" not in message
        assert len(message.splitlines()) == 1
        assert len(message) < 400


def test_every_option_that_takes_weights_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_texture(tmp_path / "in" / f"{name}.png", 1)
    for suffix in (".pth", ".safetensors"):
        Path(f"page{suffix}").write_text(PAGE)
        for arguments in (
            ["fuse", "in/a.png", "in/b.png", "-o", "out.png", "--weights", f"page{suffix}"],
            ["fuse", "in/a.png", "in/b.png", "-o", "out.png", "--model", f"page{suffix}"],
            ["weights", "convert", f"page{suffix}", "--model", "ehdran", "-o", "out.safetensors"],
            ["train", "in", "-o", "run", "--init", f"page{suffix}"],
            ["train", "in", "-o", "run", "--perceptual", f"page{suffix}"],
        ):
            code, out, err = run_cli(arguments)
            assert (code, out) == (2, ""), err
            (line,) = err.splitlines()
            assert line.startswith(f"fusekit: error: page{suffix} is no file of weights: it is a web page ('Quota ")
    assert sorted(path.name for path in Path().iterdir()) == ["in", "page.pth", "page.safetensors"]


def test_links_devices_and_folders(tmp_path: Path) -> None:
    (tmp_path / "annexed.pth").symlink_to(".git/annex/objects/Xx/SHA256E-s1")
    (tmp_path / "dangling.safetensors").symlink_to("gone.safetensors")
    (tmp_path / "round.safetensors").symlink_to("round.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name, message in (
        ("annexed.pth", "which is not there; run: git annex get annexed.pth"),
        ("dangling.safetensors", "is a link to gone.safetensors, which is not there; restore that file"),
        ("round.safetensors", "link"),
        ("folder.safetensors", "holds no model.safetensors|is a folder"),
        ("pipe.safetensors", "is not a regular file but a pipe"),
        ("gone.safetensors", "there is no weights file"),
        (f"{'x' * 300}.safetensors", "name is too long"),
        ("a\0b.safetensors", "there is no weights file"),
    ):
        with pytest.raises(WeightsError, match=message) as caught:
            fusekit.load("ehdran", weights=tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_weights_are_told_by_their_content(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(3)}
    torch.save(tensors, tmp_path / "new.safetensors")
    torch.save(tensors, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "script.pth")
    np.savez(tmp_path / "arrays.pth", a=np.zeros(3))
    kinds = {"new.safetensors": "pickle", "old.safetensors": "pickle", "script.pth": "script", "arrays.pth.npz": "npz"}
    for name, kind in kinds.items():
        assert kind_of(tmp_path / name) == kind
    # A header's length may look like the beginning of a pickle.
    for padding in range(560, 760, 8):
        (tmp_path / "a.bin").write_bytes(save(tensors, {"x": "y" * padding}))
        assert kind_of(tmp_path / "a.bin") == "safetensors", padding


def test_safetensors_under_the_name_of_a_pickle_are_loaded_as_what_they_are(tmp_path: Path) -> None:
    network = EHDRAN()
    network.save(tmp_path)
    path = (tmp_path / "model.safetensors").rename(tmp_path / "model.bin")
    assert isinstance(fusekit.load(path), EHDRAN)
