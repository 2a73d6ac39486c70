"""The Hugging Face Hub: fetch a file, write a folder as one is kept there, and upload it.

The hub's client is imported where it is used: that takes as long as fusing several small pairs, and a model from a file
on this machine needs nothing of it. ``HF_ENDPOINT`` names another server that speaks the same protocol.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fusekit.errors import OutputError, WeightsError
from fusekit.machine.files import is_file, make_folder, write_text_atomically
from fusekit.machine.parsing import read_json

if TYPE_CHECKING:
    from torch import nn

#: What a repository holds: weights, configuration and model card.
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"


class Downloaded(NamedTuple):
    """A file of a repository.

    Attributes:
        path: in the hub's cache.
        commit: that it is of, whatever the revision was called.
    """

    path: Path
    commit: str


class NotInRepositoryError(WeightsError):
    """The hub has the repository and the revision, and no such file in it."""


def download(repository: str, file: str, revision: str) -> Downloaded:
    """Fetch one file through the hub's cache, unless it is there; what is there of a whole commit is not asked for.

    Args:
        repository: ``owner/name``.
        file: its path inside the repository.
        revision: branch, tag or commit.

    Raises:
        NotInRepositoryError: the repository does not hold it.
        WeightsError: it cannot be had; the message says why.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        path = Path(hf_hub_download(repository, file, revision=revision))
    # What the hub's client raises without a network depends on its version and its transport.
    except Exception as error:
        absent = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        raise (NotInRepositoryError if absent else WeightsError)(
            f"cannot get {file} of {repository} (revision {revision}) from the hub: {_reason(error)}; "
            "check the name and the network, or download the file and pass its path"
        ) from error
    # The cache keeps each file as snapshots/COMMIT/FILE, and notes which commit a branch was.
    return Downloaded(path, path.parts[-1 - len(Path(file).parts)])


def save_folder(module: nn.Module, folder: Path, header: Mapping[str, Any], card: str | None = None) -> None:
    """Write a folder as a repository holds it: weights, configuration and, if there is one, a model card.

    Each file is written atomically, the weights last, whose header says by itself what the configuration says.

    Args:
        module: any module.
        folder: made if need be.
        header: ``model``, the name that the weights belong to, and ``config``, keyword arguments of its factory.
        card: Markdown of the card; without one a card that is there stays.

    Raises:
        OutputError: the folder cannot be written to, or a file would be replaced that is of no weights of fusekit.
    """
    from fusekit.weights.store import save_weights

    make_folder(folder)
    _check_own(folder, card)
    config = {"model": header["model"], **header.get("config", {})}
    write_text_atomically(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    if card is not None:
        write_text_atomically(folder / CARD, card)
    save_weights(module, folder / WEIGHTS, header)


def _check_own(folder: Path, card: str | None) -> None:
    """Raise `OutputError` where a file that is to be written is there already and was not written so before."""
    ours = False
    if is_file(folder / CONFIG):
        try:
            config = read_json(folder / CONFIG)
        except (OSError, ValueError):
            config = None
        ours = isinstance(config, dict) and isinstance(config.get("model"), str)
    for name in (CONFIG, WEIGHTS, *([CARD] if card is not None else [])):
        if is_file(folder / name) and not ours:
            raise OutputError(
                f"cannot write {folder / name}: it is there already, and {folder} holds no weights of fusekit; choose "
                "another folder"
            )


def push_folder(
    folder: Path,
    repository: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload weights",
) -> str:
    """Upload the folder that `save_folder` wrote, in one commit, and nothing else that lies in it.

    Args:
        folder: with weights and configuration.
        repository: ``owner/name``, made if need be.
        token: of the user; by default the one that ``hf auth login`` or ``HF_TOKEN`` left.
        private: whether a repository that is made is for its owner only.
        revision: branch to commit to, made if need be; ``main`` by default.
        message: of the commit.

    Returns:
        ``hub:owner/name@commit``, which `fusekit.load` takes.

    Raises:
        WeightsError: the folder is not such a one, or the hub does not take it.
    """
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise WeightsError(f"{folder} holds no {name}; write the folder with model.save(folder)")
    from huggingface_hub import CommitOperationAdd, HfApi

    present = [name for name in (WEIGHTS, CONFIG, CARD) if (folder / name).is_file()]
    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repository, branch=revision, exist_ok=True)
        commit = api.create_commit(
            repository,
            [CommitOperationAdd(name, folder / name) for name in present],
            commit_message=message,
            revision=revision,
        )
    except Exception as error:
        raise WeightsError(
            f"cannot upload {folder} to {repository} on the hub: {_reason(error)}; "
            "check the name, the network, and that you are logged in (hf auth login) and may write there"
        ) from error
    return f"hub:{repository}@{commit.oid}"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
