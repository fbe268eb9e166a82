"""A small hub on 127.0.0.1 for the real clients: repositories from memory; absent and gated ones are refused as there.

`HF_ENDPOINT` leads huggingface_hub, transformers and datasets here; they read it when they are imported, so the program
under test runs in a process of its own.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {"models": "", "datasets": "datasets/"}
"""Kind as in the address of the API -> what stands before the id in the address of a file."""


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A repository with one commit, which every revision means."""

    kind: str
    id: str
    files: Mapping[str, bytes]
    commit: str
    gated: bool = False
    """Its files are listed to everybody and refused."""

    def tree(self, under: str, recursive: bool) -> list[dict[str, Any]]:
        """The files, and unless recursive the folders, below `under`."""
        start = f"{under}/" if under else ""
        below = {path.removeprefix(start): content for path, content in self.files.items() if path.startswith(start)}
        files = [
            {"type": "file", "path": start + path, "size": len(content), "oid": _etag(content)}
            for path, content in below.items()
            if recursive or "/" not in path
        ]
        folders = {path.partition("/")[0] for path in below if "/" in path and not recursive}
        return [*files, *({"type": "directory", "path": start + name, "oid": _etag(name.encode())} for name in folders)]


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serve(*repos: Repo) -> Iterator[str]:
    """The address of a hub that has these repositories, while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"repos": repos}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    repos: ClassVar[Sequence[Repo]]
    protocol_version = "HTTP/1.1"  # connections stay open, as the clients expect

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = unquote(address.path).strip("/"), parse_qs(address.query)
        for repo in self.repos:
            api, files = f"api/{repo.kind}/{repo.id}", f"{KINDS[repo.kind]}{repo.id}/resolve/"
            if path == api or path.startswith(f"{api}/"):
                return self._describe(repo, path.removeprefix(api).split("/", 3)[1:], query)
            if path.startswith(files):
                return self._give(repo, path.removeprefix(files))
        return self._refuse(404, "RepoNotFound")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""

    def _describe(self, repo: Repo, place: list[str], query: Mapping[str, list[str]]) -> None:
        """Answer `api/KIND/ID`, `../revision/REVISION`, and `../tree/REVISION/FOLDER`."""
        if place[:1] != ["tree"]:
            siblings = [{"rfilename": path} for path in repo.files]
            return self._json({"id": repo.id, "sha": repo.commit, "siblings": siblings, "tags": []})
        tree = repo.tree(place[2] if len(place) > 2 else "", query.get("recursive") == ["true"])
        return self._json(tree) if tree else self._refuse(404, "EntryNotFound")

    def _give(self, repo: Repo, place: str) -> None:
        """Answer `ID/resolve/REVISION/FILE`."""
        if repo.gated:
            return self._refuse(403, "GatedRepo")
        path = place.partition("/")[2]
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": repo.commit})
        content = repo.files[path]
        return self._send(200, content, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": repo.commit})

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
