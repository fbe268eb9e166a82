"""Runs are sent beside the cells: nothing waits for the server, and the end of a line waits for a while."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prune.config.tracker import TrackerConfig, TrackerMode
from prune.track import beside
from prune.track.content import summary
from prune.track.registry import build_tracker_of_line

from ..conftest import Said
from .cells import DENSE, make_record, make_result
from .sent import BLOCKS, history_of, offline_runs, plain
from .test_line import LINE
from .wandb_server import WandbServer

ONLINE = TrackerConfig(name="wandb", mode=TrackerMode.online, project="p")


def test_a_line_sends_its_runs(say: Callable[..., Said], server: WandbServer, tmp_path: Path) -> None:
    said = say(*LINE, "tracker.mode=online", "tracker.project=p")
    assert said.code == 0 and said.err == ""
    names = {run.bucket["displayName"] for run in server.runs.values()}
    assert names == {"tiny/dense", "tiny/gsm8k-icl/wanda/50%/s0", "tiny/c4/wanda/50%/s0"}
    assert all(run.complete and "to_dense/ppl/wikitext2" in run.summary for run in server.runs.values())
    assert offline_runs(tmp_path / "outputs") == [] and "W&B" not in said.out
    num_asked = len(server.operations)
    again = say(*LINE, "tracker.mode=online", "tracker.project=p")
    assert again.code == 0 and len(server.operations) == num_asked, "nothing is new"


def test_a_cell_that_is_recorded_twice_is_sent_once(server: WandbServer, tmp_path: Path) -> None:
    tracker = build_tracker_of_line(ONLINE, tmp_path)
    record = make_record(tmp_path / "cell", dense=DENSE)
    tracker.record(record)
    tracker.record(record)
    tracker.finish()
    assert tracker.closing_note() is None
    run = server.runs["abc123-1"]
    assert history_of(run) == BLOCKS and plain(run.summary) == summary(record.result, DENSE)
    assert server.operations.count("RunResumeStatus") == 1, "a run begins with it"
    assert not tracker.lacks(record.folder, summary(record.result, DENSE))


def test_a_server_that_hangs_is_left_at_the_end_and_the_same_line_sends_what_is_missing(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "END_SECONDS", 0.5)
    server.delay_s = 600.0
    records = [make_record(tmp_path / name, make_result(name, 3.0, 0.5)) for name in ("a", "b")]
    tracker = build_tracker_of_line(ONLINE, tmp_path)
    for record in records:
        tracker.record(record)
    tracker.finish()
    note = tracker.closing_note()
    assert note is not None and "W&B did not get 2 runs" in note and "Run the same line again to send them" in note
    assert server.runs == {}
    server.delay_s = 0.0
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    again = build_tracker_of_line(ONLINE, tmp_path)
    for record in records:
        assert again.lacks(record.folder, summary(record.result))
        again.record(record)
    again.finish()
    assert again.closing_note() is None and sorted(server.runs) == ["a-1", "b-1"]


def test_what_the_process_says_is_shown(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.refuses_keys = True
    tracker = build_tracker_of_line(ONLINE, tmp_path)
    for name in ("a", "b"):
        tracker.record(make_record(tmp_path / name, make_result(name, 3.0, 0.5)))
    tracker.finish()
    said = capfd.readouterr().err
    assert said.count("refuses the API key") == 1 and "Runs are kept offline from here on" in said
    assert len(offline_runs(tmp_path)) == 2 and tracker.closing_note() is None


def test_a_line_without_a_finished_cell_starts_no_process(tmp_path: Path) -> None:
    tracker = build_tracker_of_line(ONLINE, tmp_path)
    tracker.finish()
    assert tracker.closing_note() is None
