"""The offline run of a cell holds its configuration, a history line a block, and every final number."""

import errno
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from prune.cell.holder import this_process
from prune.cell.lock import claim
from prune.config.tracker import TrackerConfig, TrackerMode
from prune.errors import UserError
from prune.track import wandb as edge
from prune.track.content import summary
from prune.track.registry import build_tracker
from prune.track.tracker import NullTracker
from prune.track.wandb_state import read_mirrored

from .cells import C4, DENSE, RESULT, make_record, make_result
from .offline_log import read_run

OFFLINE = TrackerConfig(name="wandb")


def offline_runs(output_dir: Path) -> list[Path]:
    return sorted((output_dir / "wandb").glob("offline-run-*"))


def test_an_offline_run_holds_everything(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = build_tracker(OFFLINE, tmp_path)
    tracker.record(make_record(tmp_path / "cell", dense=DENSE, c4=C4))
    (folder,) = offline_runs(tmp_path)
    logged = read_run(folder)
    run = logged.run
    assert (run.run_id, run.run_group, run.job_type, run.project) == ("abc123-1", "my-sweep", "wanda", "prune")
    assert run.display_name == "tiny/gsm8k-icl/wanda/50%/s0" and set(run.tags) == {"tiny", "gsm8k", "icl"}
    assert logged.config["calib"] == {"name": "gsm8k", "num_samples": 128} and logged.config["cell"] == "abc123"
    shown = [{key: value for key, value in line.items() if not key.startswith("_")} for line in logged.history]
    assert shown == [
        {"block": 0, "block/sparsity": 0.5, "block/seconds": 1.0, "block/error": 0.5},
        {"block": 1, "block/sparsity": 0.5, "block/seconds": 0.25},
    ]
    assert logged.metrics == {"block": "", "block/*": "block", "gpu/seconds": "", "gpu/*": "gpu/seconds"}
    final = {key: value for key, value in logged.summary.items() if not key.startswith("_")}
    assert final == summary(RESULT, DENSE, C4)
    assert logged.exit_code == 0 and tracker.closing_note() is None
    assert capfd.readouterr() == ("", ""), "W&B says nothing of its own"


def test_what_the_gpu_did_follows_the_blocks(tmp_path: Path) -> None:
    samples = [{"gpu/seconds": 5.0, "gpu/memory_mb": 1024.0}, {"gpu/seconds": 10.0, "gpu/memory_mb": 2048.0}]
    build_tracker(OFFLINE, tmp_path).record(make_record(tmp_path / "cell", gpu=samples))
    history = read_run(offline_runs(tmp_path)[0]).history
    assert [line["_step"] for line in history] == [0, 1, 2, 3]
    assert [{key: value for key, value in line.items() if key.startswith("gpu")} for line in history[2:]] == samples


def test_project_and_entity_from_the_environment_unless_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_ENTITY", "them")
    build_tracker(OFFLINE, tmp_path / "a").record(make_record(tmp_path / "cell-a"))
    mine = TrackerConfig(name="wandb", project="mine", entity="me")
    build_tracker(mine, tmp_path / "b").record(make_record(tmp_path / "cell-b"))
    runs = [read_run(offline_runs(tmp_path / name)[0]).run for name in "ab"]
    assert [(run.project, run.entity) for run in runs] == [("theirs", "them"), ("mine", "me")]


def test_a_cell_that_has_nothing_new_is_left_alone(tmp_path: Path) -> None:
    for _ in range(2):
        build_tracker(OFFLINE, tmp_path).record(make_record(tmp_path / "cell"))
    assert len(offline_runs(tmp_path)) == 1


def test_an_added_score_is_the_same_run_with_its_whole_history(tmp_path: Path) -> None:
    tracker = build_tracker(OFFLINE, tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    (first,) = offline_runs(tmp_path)
    more: dict[str, Any] = make_result("abc123", 31.5, 0.75)
    more["metrics"]["acc/svamp"] = {"value": 0.25, "stderr": 0.1, "protocol": {}}
    record = make_record(tmp_path / "cell", more)
    assert tracker.lacks(record.folder, summary(more)) and not tracker.lacks(record.folder, summary(RESULT))
    tracker.record(record)
    (second,) = offline_runs(tmp_path)
    logged = read_run(second)
    assert second != first, "the log that it replaces is gone"
    assert logged.run.run_id == "abc123-1" and len(logged.history) == 2
    assert logged.summary["acc/svamp"] == 0.25 and logged.summary["acc/gsm8k"] == 0.75


def test_a_cell_run_anew_is_another_attempt(tmp_path: Path) -> None:
    cell = tmp_path / "cells" / "abc123"
    build_tracker(OFFLINE, tmp_path).record(make_record(cell))
    (tmp_path / "replaced").mkdir()
    cell.rename(tmp_path / "replaced" / "abc123-2026")
    build_tracker(OFFLINE, tmp_path).record(make_record(cell))
    assert {read_run(folder).run.run_id for folder in offline_runs(tmp_path)} == {"abc123-1", "abc123-2"}


def test_a_run_is_finished_whatever_is_raised_and_the_cell_continues_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = build_tracker(OFFLINE, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(edge, "block_history", lambda linears: 1 / 0)
        tracker.record(make_record(tmp_path / "cell"))
    assert wandb.run is None
    (folder,) = offline_runs(tmp_path)
    assert read_run(folder).exit_code == 1
    note = tracker.closing_note()
    assert note is not None and "tiny/gsm8k-icl/wanda/50%/s0 (division by zero)" in note
    assert capsys.readouterr().err == "prune: W&B did not take tiny/gsm8k-icl/wanda/50%/s0: division by zero\n"
    tracker.record(make_record(tmp_path / "cell"))
    (folder,) = offline_runs(tmp_path)
    logged = read_run(folder)
    assert (logged.run.run_id, logged.exit_code, len(logged.history)) == ("abc123-1", 0, 2)


def test_an_interrupt_finishes_the_run_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(linears: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edge, "block_history", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_tracker(OFFLINE, tmp_path).record(make_record(tmp_path / "cell"))
    assert wandb.run is None and read_run(offline_runs(tmp_path)[0]).exit_code == 1


def test_a_tracker_that_cannot_write_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracker = build_tracker(OFFLINE, tmp_path / "file")
    tracker.record(make_record(tmp_path / "cell"))
    note = tracker.closing_note()
    assert note is not None and "did not take" in note


def test_a_cell_that_another_launch_holds_is_left_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker, record = build_tracker(OFFLINE, tmp_path), make_record(tmp_path / "cell")
    with claim(record.folder):
        tracker.record(record)
    assert offline_runs(tmp_path) == [] and tracker.closing_note() is None and capsys.readouterr().err == ""
    tracker.record(record)
    assert len(offline_runs(tmp_path)) == 1


def test_a_holder_that_may_be_dead_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = make_record(tmp_path / "cell")
    (record.folder / ".claim-0").write_text(json.dumps(asdict(replace(this_process(), host="node17", job_id=None))))
    build_tracker(OFFLINE, tmp_path).record(record)
    assert "if it is gone, remove" in capsys.readouterr().err and offline_runs(tmp_path) == []


def test_a_damaged_result_costs_nothing(tmp_path: Path) -> None:
    tracker = build_tracker(OFFLINE, tmp_path)
    tracker.record(replace(make_record(tmp_path / "cell"), result={}))
    assert tracker.closing_note() is not None


def test_online_without_a_key_goes_on_offline_and_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracker = build_tracker(TrackerConfig(name="wandb", mode=TrackerMode.online), tmp_path)
    for name in ("a", "b"):
        tracker.record(make_record(tmp_path / name, make_result(name, 3.0, 0.5)))
    assert len(offline_runs(tmp_path)) == 2
    kept = read_mirrored(tmp_path / "a")
    assert kept is not None and kept.mode == "offline"
    said = capfd.readouterr()
    reason = "there is no API key: type wandb login, or set WANDB_API_KEY"
    assert said == ("", f"prune: W&B: {reason}. Runs are kept offline from here on; no result is lost.\n")


def test_a_wrong_address_of_the_server_is_told_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "ht!tp://x y")
    build_tracker(TrackerConfig(name="wandb", mode=TrackerMode.online), tmp_path).record(make_record(tmp_path / "a"))
    said = capfd.readouterr().err
    assert "base_url: " in said and "'ht!tp://x y'" in said and "validation error" not in said


def test_log_lines_that_a_full_disk_does_not_take_leave_the_screen_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Full(logging.StreamHandler):  # type: ignore[type-arg]
        def emit(self, record: logging.LogRecord) -> None:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            except OSError:
                self.handleError(record)

    logger = logging.getLogger("tests.full")
    logger.addHandler(Full())
    tracker = build_tracker(OFFLINE, tmp_path)
    monkeypatch.setattr(tracker, "lacks", lambda *_: logger.error("a line of W&B"))
    tracker.record(make_record(tmp_path / "cell"))
    assert capfd.readouterr().err == "" and logging.raiseExceptions


@pytest.mark.parametrize("name", ["HOME", "HOME unset", "XDG_CACHE_HOME", "XDG_CACHE_HOME relative", "WANDB_CACHE_DIR"])
def test_the_log_of_the_service_goes_to_the_outputs_where_the_cache_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "file").write_text("")
    for each in ("XDG_CACHE_HOME", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(each, "")
    variable, _, how = name.partition(" ")
    monkeypatch.setenv(variable, {"unset": "", "relative": "cache"}.get(how, str(tmp_path / "file/x")))
    tracker = build_tracker(OFFLINE, tmp_path / "outputs")
    tracker.record(make_record(tmp_path / "cell"))
    wandb.teardown()
    assert capfd.readouterr() == ("", "")
    assert tracker.closing_note() is None and len(offline_runs(tmp_path / "outputs")) == 1
    assert list((tmp_path / "outputs/wandb/cache").rglob("*.log"))


def test_trackers_by_name(tmp_path: Path) -> None:
    assert isinstance(build_tracker(TrackerConfig(name="none"), tmp_path), NullTracker)
    assert isinstance(build_tracker(TrackerConfig(name="wandb", mode=TrackerMode.disabled), tmp_path), NullTracker)
    with pytest.raises(UserError, match="none, wandb"):
        build_tracker(TrackerConfig(name="mlflow"), tmp_path)


def test_disabled_leaves_nothing(tmp_path: Path) -> None:
    tracker = build_tracker(TrackerConfig(name="wandb", mode=TrackerMode.disabled), tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    assert not (tmp_path / "wandb").exists() and read_mirrored(tmp_path / "cell") is None
