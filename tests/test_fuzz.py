"""Whatever a file, a list of names or an option holds, there is a result or one of our errors in one line.

The suite tries some of what Hypothesis thinks of, the same each time; ``FUSEKIT_FUZZ=100`` tries a hundred times as
much, and other things each time. ``scripts/fuzz.py`` does as much for the command line in processes of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers import fuzz
from helpers.cli import run_cli, write_texture
from helpers.fuzz_worker import VALUES
from helpers.paths import ROOT

import fusekit
from fusekit.cases.names import read_names
from fusekit.cli.options import parse_pairs
from fusekit.cli.signs import in_signs_of
from fusekit.errors import FusekitError, FusekitWarning, one_line, plain
from fusekit.images.files import read_image
from fusekit.options import FuseOptions, RunOptions
from fusekit.weights.metadata import read_metadata
from fusekit.weights.store import read_tensors

hypothesis = pytest.importorskip("hypothesis", reason="Hypothesis comes with the extra dev")
given, st = hypothesis.given, pytest.importorskip("hypothesis.strategies")

TIMES = float(os.environ.get("FUSEKIT_FUZZ", "1"))
#: Texts with signs of all kinds, numbers in other scripts, and bytes of file names that are no text.
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=60) | st.binary(max_size=9).map(
    lambda data: os.fsdecode(data.replace(b"\0", b""))
)


def tried(times: int) -> Callable[[Any], Any]:
    """Return the settings of a test that tries so many things in the suite."""
    return hypothesis.settings(
        max_examples=int(times * TIMES),
        deadline=None,
        derandomize=TIMES == 1,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def in_one_line(work: Callable[[], Any]) -> Any:
    """Do something that may raise one of our errors and no other; the message is one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FusekitWarning)
            return work()
    except FusekitError as error:
        line = one_line(error)
    assert line
    assert plain(line) == line
    return None


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory(prefix="fusekit-") as name:
        for seed, image in enumerate(("ct.png", "mri.png", "a/1.png", "b/1.png")):
            write_texture(Path(name) / image, seed, 18, 16)
        yield Path(name)


@tried(400)
@given(name=st.sampled_from(sorted(fuzz.images())), seed=st.integers(0, 2**32))
def test_images(folder: Path, name: str, seed: int) -> None:
    data = fuzz.spoiled(fuzz.images()[name], random.Random(seed), list(fuzz.images().values()))
    path = folder / f"bad{Path(name).suffix}"
    path.write_bytes(data)
    image = in_one_line(lambda: read_image(path))
    assert image is None or min(image.size) >= 2


@tried(150)
@given(start=st.sampled_from([data[:16] for data in fuzz.images().values()]), rest=st.binary(max_size=200))
def test_anything_behind_the_first_bytes_of_an_image(folder: Path, start: bytes, rest: bytes) -> None:
    (folder / "bad").write_bytes(start + rest)
    in_one_line(lambda: read_image(folder / "bad"))


@tried(200)
@given(name=st.sampled_from(["named", "nameless", "half", "empty"]), seed=st.integers(0, 2**32))
def test_weights(folder: Path, name: str, seed: int) -> None:
    files = fuzz.weights()
    path = folder / "bad.safetensors"
    path.write_bytes(fuzz.spoiled(files[f"{name}.safetensors"], random.Random(seed), list(files.values())))
    metadata = in_one_line(lambda: read_metadata(path))
    assert metadata is None or isinstance(metadata, dict)
    in_one_line(lambda: read_tensors(path))
    in_one_line(lambda: fusekit.load(path, device="cpu"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@tried(100)
@given(content=st.binary(max_size=80) | TEXTS | JSON, part=TEXTS)
def test_lists_of_names(folder: Path, content: Any, part: str) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "names.json").write_bytes(data)
    (folder / "names.txt").write_bytes(data)
    names = in_one_line(lambda: read_names(folder / "names.txt"))
    assert names is None or all(isinstance(name, str) for name in names)
    in_one_line(lambda: read_names(f"{folder}/names.json#/{part}"))
    in_one_line(lambda: read_names(part))


@tried(150)
@given(data=st.data())
def test_options_of_python(data: Any) -> None:
    values = TEXTS | st.integers() | st.sampled_from([*VALUES, 10**400, -(10**20)])
    for kind, names in ((FuseOptions, ("color", "bit_depth", "tile", "memory")), (RunOptions, ("workers",))):
        given_one = {data.draw(st.sampled_from(names)): data.draw(values if kind is FuseOptions else st.integers())}
        in_one_line(partial(kind, **given_one))
    in_one_line(lambda: parse_pairs([data.draw(TEXTS), f"a={data.draw(TEXTS)}"], "--rule-option"))


FLAGS = ("--color", "--tile", "--memory", "--bit-depth", "--rule", "--rule-option", "--weights", "--edge", "--device")


@tried(60)
@given(flag=st.sampled_from([*FLAGS, "--align", "--dtype", "--form", "--role"]), value=TEXTS | st.sampled_from(VALUES))
def test_options_of_the_command(folder: Path, flag: str, value: str) -> None:
    pair = [str(folder / "ct.png"), str(folder / "mri.png")]
    hypothesis.assume(not value.startswith("hub:"))
    code, out, err = run_cli(["fuse", *pair, "-o", str(folder / "out.png"), "--model", "pixel", flag, value, "--json"])
    assert code in (0, 2), err
    assert ("error" in json.loads(out)) == (code == 2)
    assert [line for line in err.splitlines() if not line.startswith("fusekit: ")] == []


@tried(300)
@given(text=TEXTS, encoding=st.sampled_from(["ascii", "cp1252", "gbk", "latin-1", "utf-8", "shift_jis"]))
def test_texts_that_are_shown(text: str, encoding: str) -> None:
    shown = plain(text)
    assert "".join(sign for sign in shown if sign not in "\u200c\u200d").isprintable()
    assert plain(shown) == shown
    in_signs_of(encoding, shown).encode(encoding)


@pytest.mark.slow
@pytest.mark.process
def test_the_command_that_tries_more_counts_what_comes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "fuzz.py"
    if not script.is_file():
        pytest.skip("the scripts are not beside the tests")
    command = [sys.executable, str(script), "--seed", "1", "--images", "40", "--weights", "4", "--options", "20"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "images: 40 jobs: " in done.stdout
    assert "weights: 4 jobs: " in done.stdout
    assert "options: 20 jobs: " in done.stdout
    assert "seed 1: 0 faults; at most " in done.stdout, done.stdout
    assert done.returncode == 0
