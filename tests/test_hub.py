"""The Hugging Face Hub's part of the work, against a small server that speaks its protocol on this machine."""

from __future__ import annotations

import hashlib
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hub_helper import Hub, run_with_hub, serve

from fusekit_ehdran.model import EHDRAN


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    network = EHDRAN()
    network.save_pretrained(folder / "lab" / "ehdran")
    pickled = folder / "lab" / "pickled"
    pickled.mkdir(parents=True)
    torch.save(network.state_dict(), pickled / "pytorch_model.bin")
    (pickled / "config.json").write_text('{"model": "ehdran"}')
    nameless = folder / "lab" / "nameless"
    nameless.mkdir()
    (nameless / "config.json").write_text('{"architectures": ["Something"]}')
    with serve(folder) as server:
        yield server


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """Return a function that runs code in a new process, which sees only the small hub and an empty cache."""

    def run_code(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        imports = "import fusekit\nfrom fusekit_ehdran.model import EHDRAN\n"
        return run_with_hub(hub, tmp_path / "home", imports + textwrap.dedent(code), **environment)

    return run_code


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last line of a traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_hub_address_loads_and_loads_again_without_a_network(run: Run, hub: Hub) -> None:
    code = """
        network = fusekit.load("hub:lab/ehdran")
        assert isinstance(network, EHDRAN) and not network.training
        print(network.provenance.weights.origin, network.provenance.weights.sha256)
    """
    digest = hashlib.sha256((hub.folder / "lab" / "ehdran" / "model.safetensors").read_bytes()).hexdigest()
    first = run(code)
    assert first.stdout == f"hub:lab/ehdran@main {digest}\n", first.stderr
    asked = len(hub.asked)
    assert asked
    again = run(code, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    assert len(hub.asked) == asked


def test_weights_and_classes_can_come_from_the_hub(run: Run) -> None:
    done = run("""
        import torch
        sources = [torch.rand(1, 1, 9, 8) for _ in range(2)]
        wanted = fusekit.load("ehdran", weights="hub:lab/ehdran@main")
        revised = fusekit.load("hub:lab/ehdran@v1")
        print(wanted.provenance.weights.origin, revised.provenance.weights.origin)
        own = EHDRAN.from_pretrained("lab/ehdran")
        assert not own.training
        with torch.inference_mode():
            for each in (revised, own):
                assert torch.equal(each.fuse(sources), wanted.fuse(sources))
    """)
    assert done.stdout == "hub:lab/ehdran@main hub:lab/ehdran@v1\n", done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hub:lab/missing", "cannot get config.json of lab/missing (revision main) from the hub: "),
        ("hub:lab/ehdran@v9", "cannot get config.json of lab/ehdran (revision v9) from the hub: "),
        ("hub:lab/pickled", "cannot get model.safetensors of lab/pickled (revision main) from the hub: "),
        (
            "hub:lab/nameless",
            "hub:lab/nameless does not say which model its weights belong to; name the model",
        ),
        ("hub:lab", "'hub:lab' is not a hub address; write hub:owner/name or hub:owner/name@revision"),
    ],
)
def test_what_the_hub_does_not_have_is_one_clear_error(run: Run, hub: Hub, name: str, message: str) -> None:
    hub.asked.clear()
    assert error_of(run(f"fusekit.load({name!r})")).startswith(f"fusekit.errors.WeightsError: {message}")
    assert not any("pytorch_model" in path for path in hub.asked)


def test_a_class_does_not_read_pickled_weights_of_the_hub(run: Run, hub: Hub) -> None:
    hub.asked.clear()
    assert "model.safetensors" in error_of(run("EHDRAN.from_pretrained('lab/pickled')"))
    assert not any("pytorch_model" in path for path in hub.asked)


def test_without_network_and_cache_the_error_says_what_to_do(run: Run) -> None:
    error = error_of(run("fusekit.load('hub:lab/ehdran')", HF_HUB_OFFLINE="1"))
    assert error.startswith("fusekit.errors.WeightsError: cannot get config.json of lab/ehdran")
    assert error.endswith("check the name and the network, or download the file and pass its path")
