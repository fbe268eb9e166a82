"""A small hub on 127.0.0.1 for the real clients, which answers what huggingface_hub 2.4 and datasets 5.2 ask for.

Repositories come from memory. Large files (by their ending) lie in a store of their own, under another host, as they do
there: a file's address answers with a redirect and with the headers that describe it. Gated, renamed and absent ones are
refused as there, and a `Fault` refuses, delays or cuts an answer. Xet's storage itself is not here: its headers are, and
whoever asks for its token is refused.

`HF_ENDPOINT` leads huggingface_hub, transformers and datasets here; they read it when they are imported, so the program
under test runs in a process of its own.
"""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = {"models": "", "datasets": "datasets/"}
"""Kind as in the address of the API -> what stands before the id in the address of a file."""
STORED = (".parquet", ".safetensors", ".bin", ".zst", ".gz", ".pth")
"""How files end that the hub keeps in its store for large files."""
BRANCHES = ("main", "refs/convert/parquet")
STORE = "store/"
LETS_IN = "hf_letsin"
"""The token of a user who has access to the gated repositories."""


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A repository at one commit, which its branches mean; a later Repo of the same id is an earlier commit of it."""

    kind: str
    id: str
    files: Mapping[str, bytes]
    commit: str
    revisions: Sequence[str] = BRANCHES
    gated: bool = False
    """Its files are refused to who has no access."""
    xet: bool = False
    """Its large files carry the headers of Xet's storage."""
    renamed_to: str | None = None
    """The id that it has now; it is asked for there."""

    def tree(self, under: str, recursive: bool) -> list[dict[str, Any]]:
        """The files, and unless recursive the folders, below `under`."""
        start = f"{under}/" if under else ""
        below = [path.removeprefix(start) for path in self.files if path.startswith(start)]
        files = [self.entry(start + path) for path in below if recursive or "/" not in path]
        folders = {path.partition("/")[0] for path in below if "/" in path and not recursive}
        return [*files, *({"type": "directory", "path": start + name, "oid": _sha1(name.encode())} for name in folders)]

    def entry(self, path: str) -> dict[str, Any]:
        """What listings say of a file."""
        content = self.files[path]
        said: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _sha1(content)}
        if path.endswith(STORED):
            said["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 134}
            said |= {"xetHash": _sha256(content)} if self.xet else {}
        return said


@dataclass
class Fault:
    """What goes wrong with requests whose path contains `where`, the first `times` times."""

    where: str
    status: int | None = None
    """The answer's status; None answers as usual."""
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    times: float = 1
    cut_after: int | None = None
    """So many bytes of the content are sent, and the connection is closed."""
    delay_s: float = 0.0
    """How long each of eight parts of the content waits."""
    num_met: int = 0
    """How often it was met."""


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def serve(*repos: Repo, faults: Sequence[Fault] = (), asked: list[str] | None = None) -> Iterator[str]:
    """The address of a hub that has these repositories, while the block runs; `asked` gets a line a request."""
    means = {"repos": repos, "faults": faults, "asked": [] if asked is None else asked}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), means))
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
    faults: ClassVar[Sequence[Fault]]
    asked: ClassVar[list[str]]
    protocol_version = "HTTP/1.1"  # connections stay open, as the clients expect
    fault: Fault | None = None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path, query = unquote(address.path).strip("/"), parse_qs(address.query)
        self.asked.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        self.fault = next((fault for fault in self.faults if self._meets(fault, path)), None)
        if self.fault is not None:
            self.fault.num_met += 1
            if self.fault.status is not None:
                return self._refuse(self.fault.status, "", self.fault.headers)
        if path.startswith(STORE):
            return self._give_stored(path.removeprefix(STORE))
        for repo in sorted(self.repos, key=lambda repo: repo.commit not in path):  # the one that is asked for by its commit
            api, files = f"api/{repo.kind}/{repo.id}", f"{KINDS[repo.kind]}{repo.id}/resolve/"
            if path == api or path.startswith(f"{api}/"):
                place = path.removeprefix(api).strip("/")
                return self._move(repo) if repo.renamed_to else self._describe(repo, place, query)
            if path.startswith(files):
                return self._move(repo) if repo.renamed_to else self._give(repo, path.removeprefix(files))
        return self._refuse(404, "RepoNotFound")

    do_HEAD = do_GET
    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing of each request."""

    def _meets(self, fault: Fault, path: str) -> bool:
        return fault.num_met < fault.times and fault.where in path and fault.method == self.command

    def _move(self, repo: Repo) -> None:
        """Answer as for a renamed repository: the same address under its new id."""
        assert repo.renamed_to is not None
        self._send(307, b"", {"Location": self.path.replace(repo.id, repo.renamed_to, 1)})

    def _describe(self, repo: Repo, place: str, query: Mapping[str, list[str]]) -> None:
        """Answer `api/KIND/ID`, and under it `revision/REVISION`, `tree/REVISION/FOLDER`, `paths-info/REVISION`, `refs`."""
        what, _, rest = place.partition("/")
        if what == "refs":
            branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": repo.commit} for name in repo.revisions]
            return self._json({"branches": branches, "converts": [], "tags": []})
        revision, inside = self._split_revision(repo, rest)
        if what.startswith("xet-"):
            return self._refuse(403, "", {"X-Error-Message": "no Xet storage here"})
        if what and revision is None:
            return self._refuse(404, "RevisionNotFound")
        if what == "tree":
            tree = repo.tree(inside, query.get("recursive", [""])[0].lower() == "true")
            return self._json(tree) if tree else self._refuse(404, "EntryNotFound")
        if what == "paths-info":
            wanted = self._form().get("paths", [])
            return self._json([repo.entry(path) for path in wanted if path in repo.files])
        siblings = [{"rfilename": path} for path in repo.files]
        gated = "manual" if repo.gated else False
        return self._json({"id": repo.id, "sha": repo.commit, "siblings": siblings, "tags": [], "gated": gated})

    def _split_revision(self, repo: Repo, place: str) -> tuple[str | None, str]:
        """(the revision that an address names, the path behind it); a revision may hold slashes."""
        for revision in (repo.commit, *repo.revisions):
            if place == revision or place.startswith(f"{revision}/"):
                return revision, place.removeprefix(revision).strip("/")
        return None, ""

    def _form(self) -> dict[str, list[str]]:
        """What a POST carries, as a form or as JSON."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        return json.loads(content) if content.startswith("{") else parse_qs(content)

    def _give(self, repo: Repo, place: str) -> None:
        """Answer `ID/resolve/REVISION/FILE`: the content of a small file, and where the store has a large one."""
        revision, path = self._split_revision(repo, place)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.gated and token != LETS_IN:
            return self._refuse(403 if token else 401, "GatedRepo")
        if revision is None:
            return self._refuse(404, "RevisionNotFound")
        commit = {"X-Repo-Commit": repo.commit}
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound", commit)
        content = repo.files[path]
        if not path.endswith(STORED):
            return self._send_part(content, {"ETag": f'"{_sha1(content)}"', **commit})
        digest = _sha256(content)
        linked = {"ETag": f'"{_sha1(content)}"', "X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        port = self.server.server_address[1]
        if repo.xet:
            route = f"http://127.0.0.1:{port}/api/{repo.kind}/{repo.id}/xet-read-token/{repo.commit}"
            linked |= {"X-Xet-Hash": digest, "Link": f'<{route}>; rel="xet-auth"'}
        location = f"http://localhost:{port}/{STORE}{repo.kind}/{repo.id}/{digest}?signature=1"
        return self._send(302, b"", {"Location": location, **linked, **commit})

    def _give_stored(self, place: str) -> None:
        """Answer an address of the store, which the hub's token must never reach."""
        assert "Authorization" not in self.headers, "a token left the hub"
        digest = place.rpartition("/")[2]
        content = next(content for repo in self.repos for content in repo.files.values() if _sha256(content) == digest)
        self._send_part(content, {"ETag": f'"{digest}"'})

    def _json(self, content: Any) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": code} if code else {}
        self._send(status, b"{}", {**told, **(headers or {})})

    def _send_part(self, content: bytes, headers: Mapping[str, str]) -> None:
        """Send a file, or the range of it that is asked for."""
        headers = {"Accept-Ranges": "bytes", **headers}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._send(200, content, headers)
        begin, end = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        if begin >= len(content):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        told = {**headers, "Content-Range": f"bytes {begin}-{end}/{len(content)}"}
        return self._send(206, content[begin : end + 1], told)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.fault is not None and self.fault.cut_after is not None:
            self.wfile.write(content[: self.fault.cut_after])
            self.close_connection = True
            return
        parts = 8 if self.fault is not None and self.fault.delay_s else 1
        size = len(content) // parts + 1
        for start in range(0, len(content), size):
            time.sleep(self.fault.delay_s if self.fault is not None else 0)
            self.wfile.write(content[start : start + size])
