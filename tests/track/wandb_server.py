"""A W&B server of our own on the loopback: keeps what runs send it, and can be slow, refuse the key, forget ids, or die."""

import base64
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "lab"
KEY = "k" * 40


@dataclass
class StoredRun:
    """What the server knows of a run."""

    bucket: dict[str, Any] = field(default_factory=dict)
    """The variables of its last UpsertBucket, put over those before."""
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Line of the history file -> its values."""
    summary: dict[str, Any] = field(default_factory=dict)
    complete: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return {key: entry["value"] for key, entry in json.loads(self.bucket["config"]).items()}


class WandbServer:
    """Answers the requests of wandb-core on 127.0.0.1."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.views: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.keys: set[str] = set()
        self.deleted: set[str] = set()
        """Run ids that were deleted, and that no run may take again."""
        self.refuses_keys = False
        self.delay_s = 0.0
        self.refuses_from: str | None = None
        """The operation from which on the key is refused."""
        self.dies_at: str | None = None
        """The operation at which it goes for good, without an answer."""
        self.is_dead = False
        self._http = Http(self)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def delete(self, run_id: str) -> None:
        """Delete a run, as by hand on the site: its id cannot be taken again."""
        del self.runs[run_id]
        self.deleted.add(run_id)

    def graphql(self, query: str, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """(HTTP status, answer) to one GraphQL request."""
        operation = operation_of(query)
        answers = {
            "Viewer": self._viewer,
            "GetDefaultEntity": self._viewer,
            "ServerFeaturesQuery": self._features,
            "RunResumeStatus": self._resume_status,
            "UpsertBucket": self._upsert,
            "CreateRunFiles": self._create_files,
            "UpsertView2": self._upsert_view,
        }
        if operation not in answers:
            return 400, {"errors": [{"message": f"this server does not know {operation}"}]}
        status, body = answers[operation](variables)
        return status, body if "errors" in body else {"data": body}

    def file_stream(self, run_id: str, sent: dict[str, Any]) -> None:
        """Keep what a run streams."""
        run = self.runs.setdefault(run_id, StoredRun())
        files = sent.get("files") or {}
        history = files.get("wandb-history.jsonl", {"offset": 0, "content": []})
        for place, line in enumerate(history["content"], history["offset"]):
            run.history[place] = json.loads(line)
        for line in files.get("wandb-summary.json", {"content": []})["content"]:
            run.summary = json.loads(line)
        run.complete = run.complete or bool(sent.get("complete"))

    def _viewer(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        viewer = {"id": "u", "entity": ENTITY, "username": "someone", "flags": "{}", "teams": {"edges": []}}
        return 200, {"viewer": viewer | {"email": "someone@localhost", "admin": False}}

    def _features(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return 200, {"serverInfo": {"features": []}}

    def _resume_status(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        run = self.runs.get(variables["name"])
        bucket = None
        if run is not None and variables["name"] not in self.deleted:
            tail = [json.dumps(run.history[max(run.history)])] if run.history else []
            bucket = {
                "id": base64.b64encode(variables["name"].encode()).decode(),
                "name": variables["name"],
                "displayName": run.bucket.get("displayName"),
                "config": run.bucket.get("config", "{}"),
                "summaryMetrics": json.dumps(run.summary),
                "historyTail": json.dumps(tail),
                "eventsTail": "[]",
                "historyLineCount": len(run.history),
                "eventsLineCount": 0,
                "logLineCount": 0,
                "tags": run.bucket.get("tags") or [],
                "wandbConfig": json.dumps({"t": 1}),
            }
        model = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}
        return 200, {"model": model}

    def _upsert(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = variables["name"]
        if name in self.deleted:
            return 409, {"errors": [{"message": f"run {name} was previously created and deleted; try a new run name"}]}
        is_new = name not in self.runs
        run = self.runs.setdefault(name, StoredRun())
        run.bucket |= {key: value for key, value in variables.items() if value is not None}
        project = {
            "id": "p",
            "name": variables.get("project"),
            "entity": {"id": "e", "name": variables.get("entity") or ENTITY},
        }
        bucket = {
            "id": base64.b64encode(name.encode()).decode(),
            "name": name,
            "displayName": run.bucket.get("displayName"),
            "description": None,
            "config": run.bucket.get("config"),
            "sweepName": None,
            "project": project,
            "historyLineCount": len(run.history),
        }
        return 200, {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _create_files(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in variables["files"]]
        return 200, {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}

    def _upsert_view(self, variables: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.views.append(variables)
        return 200, {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}


def operation_of(query: str) -> str:
    """The name of a GraphQL operation; empty for anything else."""
    found = re.search(r"(?:query|mutation)\s+(\w+)", query)
    return found.group(1) if found else ""


class Http(ThreadingHTTPServer):
    """Listens for a `WandbServer`; a client that hangs up is nothing to tell of."""

    daemon_threads = True

    def __init__(self, server: WandbServer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.wandb = server

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Http

    def do_POST(self) -> None:
        wandb, body = self.server.wandb, self._body()
        operation = "file_stream" if self.path.endswith("/file_stream") else operation_of(body.get("query", ""))
        if not operation:  # telemetry
            self._answer(200, {})
            return
        wandb.is_dead = wandb.is_dead or operation == wandb.dies_at
        wandb.refuses_keys = wandb.refuses_keys or operation == wandb.refuses_from
        if wandb.is_dead:
            self.close_connection = True
            return
        time.sleep(wandb.delay_s)
        if wandb.refuses_keys:
            self._answer(401, {"errors": [{"message": "user is not logged in"}]})
            return
        self._keep_key()
        wandb.operations.append(operation)
        if operation == "file_stream":
            wandb.file_stream(self.path.split("/")[-2], body)
            self._answer(200, {"exitcode": None, "limits": {}})
        else:
            self._answer(*wandb.graphql(body["query"], body.get("variables") or {}))

    def do_PUT(self) -> None:
        self._body()
        self._answer(200, {})

    def _keep_key(self) -> None:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            self.server.wandb.keys.add(base64.b64decode(value).decode().partition(":")[2])

    def _body(self) -> dict[str, Any]:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            found = json.loads(data)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""
