"""A small server that speaks the Hugging Face Hub's protocol on this machine, and processes that see no other hub."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from helpers.forked import run_forked

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1", COMMIT)
TOKEN = "hf_of_the_lab"


class Hub(ThreadingHTTPServer):
    """Serves ``/{owner}/{name}/resolve/{revision}/{file}`` from a folder, and takes commits by who has `TOKEN`.

    Attributes:
        asked: paths of what was asked, in order.
        said: what was posted to each path, as JSON; of a commit its lines.
        bodies: what is sent for a path in place of its file, under that one's name.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.said: dict[str, Any] = {}
        self.bodies: dict[str, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/"):
            self.server.asked.append(self.path)
            self.tell({"id": "/".join(self.path.split("/")[3:5]), "sha": COMMIT, "xetEnabled": False})
        else:
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
                self.wfile.write(self.server.bodies.get(self.path, content))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        given = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = [json.loads(line) for line in given.splitlines()] if given else []
        self.server.said[self.path] = said
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.refuse("Unauthorized", 401)
        elif self.path == "/api/repos/create":
            owner, name = said[0].get("organization", "lab"), said[0]["name"]
            (self.server.folder / owner / name).mkdir(parents=True, exist_ok=True)
            self.tell({"url": f"{self.address}/{owner}/{name}"})
        elif "/preupload/" in self.path:
            self.tell(
                {
                    "files": [
                        {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for each in said[0]["files"]
                    ]
                }
            )
        elif "/commit/" in self.path:
            owner, name = self.path.split("/")[3:5]
            for line in said:
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    (self.server.folder / owner / name / line["value"]["path"]).write_bytes(content)
            self.tell(
                {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.address}/{owner}/{name}/commit/{COMMIT}"}
            )
        else:
            self.tell({})

    def tell(self, answer: dict[str, Any]) -> None:
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, code: str, status: int = 404) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """Serve ``folder``, which holds OWNER/NAME/FILE, while the block runs."""
    with Hub(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run_with_hub(hub: Hub, home: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, which sees only the small hub and the cache in ``home``."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    own = {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    return run_forked(textwrap.dedent(code), environment={**inherited, **own, **environment})
