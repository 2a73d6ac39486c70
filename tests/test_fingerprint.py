"""What is computed stays what it is: every model × rule × form × tile choice and every metric against a written record.

``fingerprint.json`` holds, for each case, a digest of the fused pixels, the means of 4×4 blocks of them, and the
rule's weights. On the kind of processor and with the torch that wrote it digests must be equal; elsewhere, where
float32 rounds otherwise, the block means must be within a tenth of a grey level. A change that means to change results
writes it anew:

    python tests/test_fingerprint.py
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fusekit
from fusekit.evaluation.rate import evaluate_detailed
from fusekit.images import samples
from fusekit.images.files import read_image
from fusekit.models.load import build_network
from fusekit.registry.discovery import registries
from fusekit.weights.store import save_weights

pytestmark = pytest.mark.slow
RECORD = Path(__file__).with_name("fingerprint.json")
RULES = (
    "energy", "l1", "l1-local", "max", "mean", "min", "sum", "weighted",
    "sfnn", "sfnn-mean", "sfnn-sum", "sfnn-channel", "sfnn-local",
)  # fmt: skip
EDGES = ("none", "sobel", "scharr", "prewitt", "laplacian")
TILES = ("off", 48)
#: Rows and columns of the embedded pictures: part of the skull, of the brain and of the background, with odd sides.
PART = (slice(14, 111), slice(70, 171))


def part(name: str, depth: str = "uint8") -> np.ndarray:
    """Return a part of an embedded picture, 97×101 pixels."""
    pixels = read_image(samples.path(name)).pixels[PART]
    if depth == "uint16":
        return pixels.astype(np.uint16) * 257
    return pixels.astype(np.float32) / 255 if depth == "float32" else pixels


def cases() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the name of each case with what fuses it."""
    pair = [part("ct"), part("mri")]

    def case(
        name: str, sources: list[np.ndarray], load: dict[str, Any] | None = None, **choices: Any
    ) -> tuple[str, Any]:
        # The rule by which those were fused that name none.
        rule = {"rule": "sfnn"} if name.startswith(("ehdran", "dilran")) else {}

        def run() -> Any:
            return fusekit.fuse(sources, _load(name.split("|")[0], **(load or {})), **{**rule, **choices})

        return name, run

    for model in ("ehdran", "dilran"):
        for form in ("plain", "composed"):
            for rule in RULES:
                for tile in TILES:
                    name = f"{model}|{rule}|{form}|{tile}"
                    yield case(name, pair, {"form": form, "device": "cpu"}, rule=rule, tile=tile)
        for weights in ("spect-mri", "pet-mri"):
            yield case(f"{model}.{weights}", [part("pet"), part("mri")], {"device": "cpu"})
    for rule in RULES:
        for tile in TILES:
            yield case(f"pixel|{rule}|{tile}", pair, {"device": "cpu"}, rule=rule, tile=tile)
    for tile in TILES:
        yield case(f"laplacian-pyramid|{tile}", pair, {"device": "cpu"}, tile=tile)
    for edge in EDGES:
        for form in ("plain", "composed"):
            yield case(f"ehdran|edge {edge}|{form}", pair, {"edge": edge, "form": form, "device": "cpu"})
    for form in ("plain", "composed"):
        yield case(f"ehdran|bfloat16|{form}", pair, {"dtype": "bfloat16", "form": form, "device": "cpu"})
    three = [part("ct"), part("mri"), part("pet")]
    for rule in ("sfnn", "sfnn-local", "max"):
        yield case(f"ehdran|three|{rule}", three, rule=rule)
    for color in ("keep", "gray", "from:1"):
        yield case(f"ehdran|color {color}", [part("pet"), part("mri")], color=color)
    yield case("ehdran|16 bit", [part("ct", "uint16"), part("mri", "uint16")])
    yield case("ehdran|float", [part("ct", "float32"), part("mri", "float32") * 300 - 100])
    yield case("ehdran|float in color", [part("pet", "float32"), part("mri", "float32")])
    yield case("ehdran|8 to 16 bit", pair, bit_depth="16")
    yield case("ehdran|8 bit to float", pair, bit_depth="float")
    yield case("ehdran|resampled", [part("ct"), part("mri")[::2, ::2]], align="first")
    yield "composed", _composed


@functools.cache
def _load(name: str, **choices: Any) -> Any:
    """Load a model once; fusing leaves it as it is."""
    return fusekit.load(name, **choices)


def _composed() -> Any:
    """Fuse by a model of registered parts with initial weights."""
    spec = registries().models.entry("composed").details["spec"]
    network = build_network(spec, {"encoder": "dran", "edge": "scharr", "decoder": "conv3-linear"}, seed=7)
    with tempfile.TemporaryDirectory() as folder:
        save_weights(network, Path(folder) / "model.safetensors", network.header)
        return fusekit.fuse([part("ct"), part("mri")], fusekit.load(folder))


def fingerprint(fused: Any) -> dict[str, Any]:
    """Return what is kept of a fused image: digest, block means, what the rule weighed and reported."""
    pixels = np.ascontiguousarray(fused.image)
    record = fused.record
    return {
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()[:20],
        "like": f"{pixels.dtype} {'×'.join(map(str, pixels.shape))}",
        "blocks": [round(each, 5) for each in _blocks(pixels)],
        "weights": record["rule_weights"],
        "report": record["rule_report"],
        "color": record["chroma_from"],
        "ranges": [source["range"] for source in record["sources"]],
        "tiles": None if record["tiles"] is None else record["tiles"]["number"],
        "form": record["form"],
    }


def _blocks(pixels: np.ndarray) -> list[float]:
    """Return the means of 4×4 parts, in grey levels of 0-255 for integers and as they are for floats."""
    scale = {"uint8": 1.0, "uint16": 257.0}.get(str(pixels.dtype), 1.0)
    rows = np.array_split(pixels.astype(np.float64) / scale, 4, axis=0)
    return [float(block.mean()) for row in rows for block in np.array_split(row, 4, axis=1)]


def ratings() -> dict[str, dict[str, Any]]:
    """Return every metric's ratings of two fused images."""
    found = {}
    names = [entry.name for entry in registries().metrics if not entry.details.get("optional")]
    for pair in (("ct", "mri"), ("pet", "mri")):
        sources = [part(name) for name in pair]
        fused = fusekit.fuse(sources, "pixel", rule="mean").image
        found["-".join(pair)] = {
            name: dict(rating) for name, rating in evaluate_detailed(sources, fused, names).items()
        }
    return found


def machine() -> str:
    """Return what bits depend on."""
    return f"torch {torch.__version__.partition('+')[0]}, {torch.backends.cpu.get_cpu_capability()}"


def write() -> None:
    """Write the record anew."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fused = {name: fingerprint(run()) for name, run in cases()}
    record: dict[str, Any] = {"machine": machine(), "fused": fused, "ratings": ratings()}
    lines = [
        f'{{\n"machine": {json.dumps(record["machine"])},\n"fused": {{',
        ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fused.items()),
        '},\n"ratings": {',
        ",\n".join(
            f"{json.dumps(pair)}: {{\n"
            + ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rated.items())
            + "\n}"
            for pair, rated in record["ratings"].items()
        ),
        "}\n}\n",
    ]
    RECORD.write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


@pytest.mark.filterwarnings("ignore::fusekit.errors.FusekitWarning")
@pytest.mark.parametrize(("name", "run"), [pytest.param(*each, id=each[0]) for each in cases()])
def test_fused_pixels_are_what_they_were(name: str, run: Callable[[], Any], record: dict[str, Any]) -> None:
    wanted, found = record["fused"][name], fingerprint(run())
    assert found["like"] == wanted["like"]
    assert found["blocks"] == pytest.approx(wanted["blocks"], abs=0.1)
    for key in ("color", "tiles", "form"):
        assert found[key] == wanted[key], key
    assert json.loads(json.dumps(found["ranges"])) == wanted["ranges"]
    _check_alike(found["weights"], wanted["weights"], 2e-4)
    if record["machine"] == machine():
        _check_alike(found["report"], wanted["report"], 0)
        assert found["sha256"] == wanted["sha256"]


def test_no_case_is_left_out(record: dict[str, Any]) -> None:
    assert list(record["fused"]) == [name for name, _ in cases()]


def test_ratings_are_what_they_were(record: dict[str, Any]) -> None:
    for pair, rated in ratings().items():
        assert rated.keys() == record["ratings"][pair].keys()
        for name, rating in rated.items():
            _check_alike(rating, record["ratings"][pair][name], 1e-9, name)


def _check_alike(found: Any, wanted: Any, tolerance: float, name: str = "") -> None:
    """Compare trees of numbers and texts, numbers within an absolute and relative tolerance."""
    found = json.loads(json.dumps(found))
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key, value in wanted.items():
            _check_alike(found[key], value, tolerance, f"{name} {key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), name
        for one, other in zip(found, wanted, strict=True):
            _check_alike(one, other, tolerance, name)
    elif isinstance(wanted, float) and not math.isinf(wanted):
        assert found == pytest.approx(wanted, rel=tolerance, abs=tolerance), name
    else:
        assert found == wanted, name


if __name__ == "__main__":
    write()
