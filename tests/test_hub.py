"""The Hugging Face Hub's part of the work, against a small server that speaks its protocol on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from fusekit_ehdran.model import EHDRAN

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)


class Hub(ThreadingHTTPServer):
    """Serves ``/{owner}/{name}/resolve/{revision}/{file}`` from a folder, and remembers what was asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        self.server.asked.append(self.path)
        owner, name, resolve, revision, file = [*self.path.strip("/").split("/", 4), "", "", "", ""][:5]
        repository = self.server.folder / owner / name
        if not repository.is_dir():
            self.refuse("RepoNotFound")
        elif resolve != "resolve" or revision not in REVISIONS:
            self.refuse("RevisionNotFound")
        elif not (repository / file).is_file():
            self.refuse("EntryNotFound")
        else:
            content = (repository / file).read_bytes()
            self.send_response(200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_body:
                self.wfile.write(content)

    def refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


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
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """Return a function that runs code in a new process, which sees only the small hub and an empty cache."""

    def run_code(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        code = "import fusekit\nfrom fusekit_ehdran.model import EHDRAN\n" + textwrap.dedent(code)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        own = {
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**inherited, **own, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

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
        ("hub:lab/nameless", "hub:lab/nameless does not say which model its weights belong to; pass model=NAME"),
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
