"""The Hugging Face Hub's part of the work, against a small server that speaks its protocol on this machine."""

from __future__ import annotations

import hashlib
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.hub import COMMIT, TOKEN, Hub, run_with_hub, serve

from fusekit.errors import WeightsError
from fusekit.weights.hub import push_folder
from fusekit_ehdran.model import EHDRAN

pytestmark = pytest.mark.process
REFUSED = {
    "hub:lab/missing": "cannot get config.json of lab/missing (revision main) from the hub: ",
    "hub:lab/ehdran@v9": "cannot get config.json of lab/ehdran (revision v9) from the hub: ",
    "hub:lab/pickled": f"cannot get model.safetensors of lab/pickled (revision {COMMIT}) from the hub: ",
    "hub:lab/nameless": "hub:lab/nameless does not say which model its weights belong to; name the model",
    "hub:lab": "'hub:lab' is not a hub address; write hub:owner/name or hub:owner/name@revision",
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    network = EHDRAN()
    network.save(folder / "lab" / "ehdran")
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
    assert first.stdout == f"hub:lab/ehdran@{COMMIT} {digest}\n", first.stderr
    asked = len(hub.asked)
    assert asked
    again = run(code, HF_HUB_OFFLINE="1")
    assert again.stdout == first.stdout, again.stderr
    assert len(hub.asked) == asked


def test_weights_and_revisions_can_come_from_the_hub(run: Run) -> None:
    done = run("""
        import torch
        sources = [torch.rand(1, 1, 9, 8) for _ in range(2)]
        wanted = fusekit.load("ehdran", weights="hub:lab/ehdran@main")
        revised = fusekit.load("hub:lab/ehdran@v1")
        print(wanted.provenance.weights.origin, revised.provenance.weights.origin)
        with torch.inference_mode():
            assert torch.equal(revised.fuse(sources), wanted.fuse(sources))
    """)
    assert done.stdout == f"hub:lab/ehdran@{COMMIT} hub:lab/ehdran@{COMMIT}\n", done.stderr


def test_weights_are_of_the_commit_that_the_configuration_is_of(run: Run, hub: Hub) -> None:
    hub.asked.clear()
    assert run("fusekit.load('hub:lab/ehdran')").returncode == 0
    assert "/lab/ehdran/resolve/main/config.json" in hub.asked
    assert f"/lab/ehdran/resolve/{COMMIT}/model.safetensors" in hub.asked


def test_weights_that_a_model_names_are_fetched_and_verified(run: Run, hub: Hub) -> None:
    digest = hashlib.sha256((hub.folder / "lab" / "ehdran" / "model.safetensors").read_bytes()).hexdigest()
    code = """
        from fusekit.weights.resolve import resolve
        weights = fusekit.WeightsSpec("far", "model.safetensors", {digest!r}, hub="lab/ehdran", revision="v1")
        spec = fusekit.ModelSpec("distant", "a:B", "", default_rule="mean", weights=(weights,))
        print(resolve(spec).origin)
    """
    done = run(code.format(digest=digest))
    assert done.stdout == f"hub:lab/ehdran@{COMMIT}\n", done.stderr
    error = error_of(run(code.format(digest="1" * 64)))
    assert "is not the file that distant.far should be: its sha256 is" in error


def test_what_the_hub_does_not_have_is_one_clear_error(run: Run, hub: Hub) -> None:
    hub.asked.clear()
    done = run(f"""
        from fusekit.errors import WeightsError
        for name in {list(REFUSED)}:
            try:
                fusekit.load(name)
            except WeightsError as error:
                print(" ".join(str(error).splitlines()))
    """)
    found = done.stdout.splitlines()
    assert len(found) == len(REFUSED), done.stderr
    for line, (name, message) in zip(found, REFUSED.items(), strict=True):
        assert line.startswith(message), name
    assert not any("pytorch_model" in path for path in hub.asked)


def test_without_network_and_cache_the_error_says_what_to_do(run: Run) -> None:
    error = error_of(run("fusekit.load('hub:lab/ehdran')", HF_HUB_OFFLINE="1"))
    assert error.startswith("fusekit.errors.WeightsError: cannot get config.json of lab/ehdran")
    assert error.endswith("check the name and the network, or download the file and pass its path")


# --- uploading ---------------------------------------------------------------------------------------------------

PUSH = """
    from pathlib import Path
    from fusekit.weights.hub import push_folder, save_folder
    folder = Path({folder!r})
    network = EHDRAN()
    save_folder(network, folder, network.header, card="---\\nlibrary_name: fusekit\\n---\\n# Ours\\n")
    (folder / "notes.txt").write_text("not for everybody")
    address = push_folder(folder, {repository!r}, {choices})
    print(address)
    print(fusekit.load(address).provenance.weights.origin)
"""


def test_a_folder_is_uploaded_and_comes_back(run: Run, hub: Hub, tmp_path: Path) -> None:
    choices = "token='hf_of_the_lab', private=True, revision='v1', message='The first'"
    done = run(PUSH.format(folder=str(tmp_path / "folder"), repository="lab/new", choices=choices))
    assert done.stdout == f"hub:lab/new@{COMMIT}\n" * 2, done.stderr
    there = hub.folder / "lab" / "new"
    assert {path.name for path in there.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    for path in there.iterdir():
        assert path.read_bytes() == (tmp_path / "folder" / path.name).read_bytes()
    created = hub.said["/api/repos/create"][0]
    assert created["name"] == "new"
    assert created.get("private") or created.get("visibility") == "private"
    assert "/api/models/lab/new/branch/v1" in hub.said
    assert hub.said["/api/models/lab/new/commit/v1"][0]["value"]["summary"] == "The first"


def test_a_token_of_the_environment_serves(run: Run, hub: Hub, tmp_path: Path) -> None:
    done = run(PUSH.format(folder=str(tmp_path / "folder"), repository="lab/main", choices=""), HF_TOKEN=TOKEN)
    assert done.stdout == f"hub:lab/main@{COMMIT}\n" * 2, done.stderr
    assert "/api/models/lab/main/commit/main" in hub.said


def test_what_cannot_be_uploaded_is_one_clear_error(run: Run, tmp_path: Path) -> None:
    code = PUSH.format(folder=str(tmp_path / "folder"), repository="lab/new", choices="token='another'")
    error = error_of(run(code))
    assert error.startswith(f"fusekit.errors.WeightsError: cannot upload {tmp_path / 'folder'} to lab/new on the hub: ")
    assert "you are logged in" in error


def test_only_a_whole_folder_is_uploaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors; write the folder with model\.save"):
        push_folder(tmp_path, "lab/new")
