"""The repositories of all shipped sets as on the hub: files, configurations, splits and columns of dev/set_facts.py.

Their rows are generated, a few of each.
"""

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from dev.set_facts import Facts
from dev.sets import facts_of, repositories
from prune.data.dataset import Hub
from prune.data.registry import find_dataset
from prune.data.sources.commits import COMMIT
from prune.data.sources.sample import sample_rows

from .hub_server import Repo

MOVING = "fade" * 10
"""The commit of repositories that are read at a branch."""
NUM_ROWS = 40

Rows = list[dict[str, Any]]


def all_repos() -> list[Repo]:
    """Each repository once; the configurations of one that several sets read lie side by side."""
    parts: dict[str, dict[str, bytes]] = {}
    configs: dict[str, dict[str | None, Facts]] = {}
    commits: dict[str, str] = {}
    for name, (hub, _) in repositories().items():
        facts = facts_of(hub)
        files = parts.setdefault(hub.path, {".gitattributes": b""})
        files |= {facts.files[split]: content for split, content in _files(name, hub, facts)}
        configs.setdefault(hub.path, {})[hub.config] = facts
        commits[hub.path] = hub.revision if COMMIT.fullmatch(hub.revision) else MOVING
        if not all(path.endswith("/0000.parquet") for path in facts.files.values()):  # a conversion has no card
            files["README.md"] = _card(configs[hub.path])
    gated = "oscar-corpus/community-oscar"
    return [
        Repo(kind="datasets", id=path, files=files, commit=commits[path], gated=path == gated)
        for path, files in parts.items()
    ]


def data_repo(name: str, splits: Mapping[str, Rows], commit: str, config: str | None = None, **more: Any) -> Repo:
    """A repository of somebody's own."""
    folder = config or "data"
    files = {f"{folder}/{split}-00000-of-00001.parquet": _parquet(rows) for split, rows in splits.items()}
    layout = {split: f"{folder}/{split}-*" for split in splits}
    card = _card({config: Facts(layout, (), "mit", None, "")})  # type: ignore[arg-type]
    return Repo(kind="datasets", id=name, files={"README.md": card, **files}, commit=commit, **more)


def _files(name: str, hub: Hub, facts: Facts) -> Iterator[tuple[str, bytes]]:
    """The hub's split -> the content of its file."""
    ours = {theirs: split for split, theirs in hub.splits.items()}
    for split, path in facts.files.items():
        if hub.splits and split not in ours:
            continue  # another set's
        yield split, _content(path, [_row(row, facts.columns) for row in _rows(name, ours.get(split, split))])


def _rows(name: str, split: str) -> Rows:
    """Generated rows; of a split that is not generated those of train."""
    source = "commonsense_qa" if name == "cos_e" else name
    generated = sample_rows(source, split if split in _generated(source) else "train")
    companion = sample_rows("cos_e", split) if name == "cos_e" else generated
    return [dict(row) | dict(more) for row, more in zip(generated[:NUM_ROWS], companion[:NUM_ROWS], strict=True)]


def _generated(name: str) -> Sequence[str]:
    dataset: Any = find_dataset(name)
    return ("train", dataset.eval_split)


def _row(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """The row with the columns of the hub's copy."""
    known = {"content": row.get("text"), "article": row.get("text"), **row}
    return {column: known.get(column) for column in columns}


def _content(path: str, rows: Rows) -> bytes:
    if path.endswith(".parquet"):
        return _parquet(rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return gzip.compress(lines, mtime=0) if path.endswith(".gz") else zstandard.compress(lines)


def _parquet(rows: Rows) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def _card(configs: Mapping[str | None, Facts]) -> bytes:
    """The YAML head of a card, which names the files of each configuration's splits."""
    listed = [
        {
            "config_name": config or "default",
            "data_files": [{"split": split, "path": _pattern(path)} for split, path in facts.files.items()],
        }
        for config, facts in configs.items()
    ]
    return f"---\nconfigs: {json.dumps(listed)}\n---\n".encode()


def _pattern(path: str) -> str:
    head, shard, _ = path.partition("-00000-of-")
    return f"{head}-*" if shard else path
