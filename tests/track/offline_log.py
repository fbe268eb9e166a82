"""Reads the log of an offline run: LevelDB's log format in 32 KiB blocks after a 7-byte header, protobuf inside."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

from tests.conftest import HANGS_S


@dataclass(frozen=True)
class Logged:
    """What a run holds."""

    run: Any
    """The record of the run itself."""
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    metrics: dict[str, str]
    """Metric, or its pattern -> the metric that is its step."""
    exit_code: int


def read_run(folder: Path) -> Logged:
    """The run in an `offline-run-*` folder, as soon as its log has its end: the service writes on its own time."""
    end = time.monotonic() + HANGS_S
    while True:
        records = list(read_records(next(folder.glob("*.wandb"))))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return to_logged(records)
        assert time.monotonic() < end, "the log has no end"
        time.sleep(0.05)


def read_records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file."""
    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def to_logged(records: list[Any]) -> Logged:
    """The records by what they hold."""
    by_kind: dict[str, list[Any]] = {}
    for record in records:
        kind = record.WhichOneof("record_type")
        by_kind.setdefault(kind, []).append(getattr(record, kind))
    (run,) = by_kind["run"]
    summary: dict[str, Any] = {}
    for part in by_kind.get("summary", []):
        summary |= items_of(part.update)
    return Logged(
        run=run,
        config=items_of(run.config.update),
        history=[items_of(line.item) for line in by_kind.get("history", [])],
        summary=summary,
        metrics={metric.name or metric.glob_name: metric.step_metric for metric in by_kind.get("metric", [])},
        exit_code=by_kind["exit"][0].exit_code,
    )


def items_of(entries: Any) -> dict[str, Any]:
    """Key -> value; the parts of a nested key joined by dots."""
    return {entry.key or ".".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}
