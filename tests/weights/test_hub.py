"""The Hugging Face Hub's part of the work, against a small server that speaks its protocol on this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from helpers.cli import write_texture
from helpers.hub import COMMIT, TOKEN, Hub, run_with_hub, serve
from safetensors.torch import save_file

from fusekit.errors import WeightsError
from fusekit.weights.hub import push_folder
from fusekit_ehdran.model import EHDRAN

pytestmark = pytest.mark.process
REFUSED = {
    "hub:lab/missing": "cannot get model.safetensors of lab/missing (revision main) from the hub: ",
    "hub:lab/ehdran@v9": "cannot get model.safetensors of lab/ehdran (revision v9) from the hub: ",
    "hub:lab/pickled": "cannot get model.safetensors of lab/pickled (revision main) from the hub: ",
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
    save_file(network.state_dict(), nameless / "model.safetensors")
    for name, config in (
        ("bare", None),
        ("beside", '{"model": "ehdran", "edge": "drgo"}'),
        ("broken", '{"a": ' * 9000),
    ):
        repository = folder / "lab" / name
        repository.mkdir()
        save_file(network.state_dict(), repository / "model.safetensors")
        if config is not None:
            (repository / "config.json").write_text(config)
    page = folder / "lab" / "page"
    page.mkdir()
    (page / "model.safetensors").write_text("<html><title>Sign in</title></html>")
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


def test_weights_that_do_not_say_their_model_come_with_the_configuration_of_their_commit(run: Run, hub: Hub) -> None:
    hub.asked.clear()
    done = run("""
        assert isinstance(fusekit.load("hub:lab/beside"), EHDRAN)
        assert isinstance(fusekit.load(weights="hub:lab/beside"), EHDRAN)
        assert isinstance(fusekit.load("ehdran", weights="hub:lab/bare"), EHDRAN)
        assert isinstance(fusekit.load(weights="hub:lab/bare"), EHDRAN)
    """)
    assert done.returncode == 0, done.stderr
    assert "/lab/beside/resolve/main/model.safetensors" in hub.asked
    assert f"/lab/beside/resolve/{COMMIT}/config.json" in hub.asked
    assert not any("main/config.json" in path for path in hub.asked)


def test_a_commit_that_is_there_is_not_asked_for(run: Run, hub: Hub) -> None:
    code = f"""
        model = fusekit.load(weights="hub:lab/ehdran@{COMMIT}")
        print(model.provenance.weights.origin)
    """
    first = run(code)
    hub.asked.clear()
    again = run(code)
    assert first.stdout == again.stdout == f"hub:lab/ehdran@{COMMIT}\n", first.stderr
    assert hub.asked == []


def test_a_digest_pins_what_comes_from_the_hub(run: Run, hub: Hub) -> None:
    digest = hashlib.sha256((hub.folder / "lab" / "ehdran" / "model.safetensors").read_bytes()).hexdigest()
    for revision in ("", "@v1", f"@{COMMIT}"):
        code = f"print(fusekit.load(weights='hub:lab/ehdran{revision}#sha256={digest}').provenance.weights.origin)"
        assert run(code).stdout == f"hub:lab/ehdran@{COMMIT}\n"
    error = error_of(run(f"fusekit.load('hub:lab/ehdran#sha256={'1' * 64}')"))
    assert "is not the file that was asked for: its sha256 is " + digest in error
    assert error.endswith("correct the digest, or remove it from the hub's cache")


def test_a_hub_that_sends_other_bytes_is_found_out_by_the_digest(run: Run, hub: Hub, tmp_path: Path) -> None:
    path = hub.folder / "lab" / "ehdran" / "model.safetensors"
    honest = path.read_bytes()
    digest = hashlib.sha256(honest).hexdigest()
    try:
        # Of the right size, and under the name of the right ones.
        hub.bodies["/lab/ehdran/resolve/main/model.safetensors"] = honest[:-1] + bytes([honest[-1] ^ 1])
        done = run(f"fusekit.load(weights='hub:lab/ehdran#sha256={digest}')")
    finally:
        hub.bodies.clear()
    assert "is not the file that was asked for: its sha256 is " in error_of(done)


def test_what_is_no_weights_on_the_hub_is_called_what_it_is(run: Run) -> None:
    assert "is no file of weights: it is a web page ('Sign in')" in error_of(run("fusekit.load('hub:lab/page')"))
    assert "config.json: it is nested more than 64 deep" in error_of(run("fusekit.load('hub:lab/broken')"))


def test_training_begins_from_weights_on_the_hub(run: Run, tmp_path: Path) -> None:
    for number in range(2):
        write_texture(tmp_path / "images" / f"{number}.png", number, 36, 36)
    done = run(f"""
        import json, sys
        from fusekit.cli.main import run
        sys.argv = "fusekit train {tmp_path}/images -o {tmp_path}/run --init hub:lab/ehdran@v1 --steps 1".split()
        sys.argv += "--batch 1 --crop 32 --device cpu --perceptual-weight 0 --validation-series none".split()
        run()
    """)
    assert (done.returncode, done.stderr) == (0, "")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["init"]["origin"] == f"hub:lab/ehdran@{COMMIT}"
    assert f"--init hub:lab/ehdran@{COMMIT}" in (tmp_path / "run" / "README.md").read_text()


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
    assert error.startswith("fusekit.errors.WeightsError: cannot get model.safetensors of lab/ehdran")
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
