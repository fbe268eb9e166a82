"""The offline run of a cell holds its configuration, a history line a block, and every final number."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from prune.cell import make_cell
from prune.config import TrackerConfig, TrackerMode
from prune.errors import UserError
from prune.files import write_json
from prune.track import NullTracker, Record, build_tracker, sync_note
from prune.track.wandb import WandbTracker, block_history, summary

from ..conftest import Compose

RESULT: dict[str, Any] = {
    "axes": {"model": "tiny", "calib": "gsm8k", "prompt": "icl", "method": "wanda", "sparsity": "50%", "seed": 0},
    "metrics": {
        "ppl/wikitext2": {"value": 31.5, "stderr": 0.5, "num_items": 40},
        "acc/gsm8k": {"value": 0.75, "stderr": 0.04, "num_items": 100},
    },
    "sparsity": {"asked": 0.5, "reached": 0.5, "num_zero": 4, "num_weights": 8},
    "seconds": {"prune": 1.5, "total": 3.0},
    "peak_memory_mb": {"host": 512.0, "device": 0.0},
    "warnings": ["sample"],
}
LINEARS = [
    {"block": 0, "num_zero": 1, "num_weights": 4, "error": 0.25, "seconds": 0.5},
    {"block": 0, "num_zero": 3, "num_weights": 4, "error": 0.75, "seconds": 0.5},
    {"block": 1, "num_zero": 2, "num_weights": 4, "error": None, "seconds": 0.25},
]


def make_record(folder: Path) -> Record:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"calib": {"name": "gsm8k", "num_samples": 128}, "method": {"name": "wanda"}}
    return Record("abc123", "tiny/gsm8k-icl/wanda/50%/s0", "my-sweep", config, RESULT, LINEARS, folder)


def read_log(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: LevelDB's log format in 32 KiB blocks after a 7-byte header."""
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


def items_of(entries: Any) -> dict[str, Any]:
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def read_whole_log(path: Path) -> list[Any]:
    """The records of a run's log as soon as its last one is there: the service writes on its own time."""
    end = time.monotonic() + 30
    while True:
        records = list(read_log(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < end, "the log has no end"
        time.sleep(0.1)


@pytest.fixture
def no_wandb_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_wandb_environment")
def test_an_offline_run_holds_everything(tmp_path: Path) -> None:
    tracker = build_tracker(TrackerConfig(name="wandb"), tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith("abc123-1")
    records = read_whole_log(next(folder.glob("*.wandb")))
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.run_group, run.job_type, run.project) == ("abc123-1", "my-sweep", "wanda", "prune")
    assert run.display_name == "tiny/gsm8k-icl/wanda/50%/s0" and set(run.tags) == {"tiny", "gsm8k", "icl"}
    config = items_of(run.config.update)
    assert config["calib"] == {"name": "gsm8k", "num_samples": 128} and config["cell"] == "abc123"
    history = [items_of(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    assert [line["block/sparsity"] for line in history] == [0.5, 0.5]
    final: dict[str, Any] = {}
    for record in records:
        if record.WhichOneof("record_type") == "summary":
            final |= items_of(record.summary.update)
    assert {key: final[key] for key in summary(RESULT)} == summary(RESULT)
    assert any(record.WhichOneof("record_type") == "exit" for record in records)
    assert tracker.closing_note() is None, "W&B took everything"


@pytest.mark.usefixtures("no_wandb_environment")
def test_a_second_record_of_a_cell_is_another_attempt(tmp_path: Path) -> None:
    tracker = build_tracker(TrackerConfig(name="wandb"), tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    tracker.record(make_record(tmp_path / "cell"))
    names = sorted(folder.name[-8:] for folder in (tmp_path / "wandb").glob("offline-run-*"))
    assert names == ["abc123-1", "abc123-2"]


def test_history_is_a_line_a_block() -> None:
    assert block_history(LINEARS) == [
        {"block": 0, "block/sparsity": 0.5, "block/seconds": 1.0, "block/error": 0.5},
        {"block": 1, "block/sparsity": 0.5, "block/seconds": 0.25},
    ]


def test_a_dense_cell_has_no_history() -> None:
    assert block_history([]) == []


def test_the_summary_is_plain_numbers() -> None:
    numbers = summary(RESULT)
    assert numbers["ppl/wikitext2"] == 31.5 and numbers["stderr/acc/gsm8k"] == 0.04
    assert numbers["sparsity/reached"] == 0.5 and numbers["seconds/prune"] == 1.5
    assert all(isinstance(value, int | float) for value in numbers.values())


@pytest.mark.usefixtures("no_wandb_environment")
def test_online_without_a_key_goes_on_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracker = WandbTracker(TrackerConfig(name="wandb", mode=TrackerMode.online), tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1
    assert json.loads((tmp_path / "cell/wandb.json").read_text())["mode"] == "offline"


def test_the_line_that_sends_what_is_kept_offline(compose_config: Compose, tmp_path: Path) -> None:
    cells = [make_cell(compose_config(f"calib.seed={seed}", f"output_dir={tmp_path}")) for seed in range(3)]
    assert sync_note(cells, tmp_path) is None
    for cell, mode in zip(cells, ("offline", "online", "offline"), strict=True):
        write_json(cell.folder() / "wandb.json", {"attempt": 1, "mode": mode, "folder": "-"})
    line = f"wandb sync {tmp_path}/wandb/offline-run-*"
    assert sync_note(cells, tmp_path) == f"W&B runs kept offline: 2. Send them with: {line}"


def test_a_tracker_that_cannot_write_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracker = WandbTracker(TrackerConfig(name="wandb"), tmp_path / "file")
    tracker.record(make_record(tmp_path / "cell"))
    note = tracker.closing_note()
    assert note is not None and "did not take" in note


def test_trackers_by_name(tmp_path: Path) -> None:
    assert isinstance(build_tracker(TrackerConfig(name="none"), tmp_path), NullTracker)
    with pytest.raises(UserError, match="none, wandb"):
        build_tracker(TrackerConfig(name="mlflow"), tmp_path)
