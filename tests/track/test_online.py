"""Online runs against a server of our own: what arrives, and what becomes of a cell when the server does not do its part."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prune.config.tracker import TrackerConfig, TrackerMode
from prune.track import wandb as edge
from prune.track.content import run_config, summary
from prune.track.registry import build_tracker
from prune.track.tracker import Record
from prune.track.wandb_state import read_mirrored

from .cells import ASKED, C4, DENSE, RESULT, make_record, make_result
from .offline_log import read_run
from .sent import BLOCKS, history_of, offline_runs, plain, sync
from .wandb_server import KEY, WandbServer

ONLINE = TrackerConfig(name="wandb", mode=TrackerMode.online, project="p")


def check_whole_offline_run(output_dir: Path, record: Record, run_id: str) -> None:
    """The cell's run is kept offline, with all that there is."""
    (folder,) = [folder for folder in offline_runs(output_dir) if folder.name.endswith(run_id)]
    logged = read_run(folder)
    assert logged.run.run_id == run_id
    assert [plain(line) for line in logged.history] == BLOCKS
    assert plain(logged.summary) == summary(record.result)
    kept = read_mirrored(record.folder)
    assert kept is not None and (kept.mode, kept.folder) == ("offline", str(folder))


def test_everything_arrives(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = build_tracker(ONLINE, tmp_path)
    tracker.record(make_record(tmp_path / "cell", dense=DENSE, c4=C4))
    run = server.runs["abc123-1"]
    sent = run.bucket
    assert (sent["project"], sent["groupName"], sent["jobType"]) == ("p", "my-sweep", "wanda")
    assert sent["displayName"] == "tiny/gsm8k-icl/wanda/50%/s0" and set(sent["tags"]) == {"tiny", "gsm8k", "icl"}
    assert plain(run.config) == run_config(ASKED, RESULT)
    assert history_of(run) == BLOCKS
    assert plain(run.summary) == summary(RESULT, DENSE, C4)
    assert run.complete and server.keys == {KEY}
    assert tracker.closing_note() is None and offline_runs(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_a_cell_with_an_added_score_continues_its_run(server: WandbServer, tmp_path: Path) -> None:
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell"))
    more: dict[str, Any] = make_result("abc123", 31.5, 0.75)
    more["metrics"]["acc/svamp"] = {"value": 0.25, "stderr": 0.1, "protocol": {}}
    asked = ASKED | {"eval": {"tasks": ["svamp"]}}
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell", more, config=asked))
    assert list(server.runs) == ["abc123-1"]
    run = server.runs["abc123-1"]
    assert history_of(run) == BLOCKS, "nothing is lost and nothing is there twice"
    assert plain(run.summary) == summary(more) and run.config["eval"] == {"tasks": ["svamp"]}


def test_a_run_that_was_cut_short_gets_what_it_lacks(server: WandbServer, tmp_path: Path) -> None:
    tracker = build_tracker(ONLINE, tmp_path)
    record = make_record(tmp_path / "cell")
    tracker.record(replace(record, linears=record.linears[:2]))
    (record.folder / "wandb.json").unlink()  # killed before it could say that it was done
    tracker.record(record)
    assert history_of(server.runs["abc123-1"]) == BLOCKS


def test_what_is_added_while_the_server_is_gone_holds_no_block_twice(server: WandbServer, tmp_path: Path) -> None:
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell"))
    server.refuses_keys = True
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell", dense=DENSE))
    logged = read_run(offline_runs(tmp_path)[0])
    assert logged.history == [] and plain(logged.summary) == summary(RESULT, DENSE)


def test_what_was_kept_offline_is_sent_later(server: WandbServer, tmp_path: Path) -> None:
    build_tracker(replace(ONLINE, mode=TrackerMode.offline), tmp_path).record(make_record(tmp_path / "cell"))
    assert server.runs == {} and len(offline_runs(tmp_path)) == 1
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell"))
    assert plain(server.runs["abc123-1"].summary) == summary(RESULT)
    assert offline_runs(tmp_path) == [], "the log that was never sent is not needed any more"


def test_a_deleted_id_is_followed_by_the_next(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.deleted = {"abc123-1"}
    tracker = build_tracker(ONLINE, tmp_path)
    tracker.record(make_record(tmp_path / "cell"))
    assert list(server.runs) == ["abc123-2"] and history_of(server.runs["abc123-2"]) == BLOCKS
    kept = read_mirrored(tmp_path / "cell")
    assert kept is not None and (kept.attempt, kept.mode) == (2, "online")
    assert capfd.readouterr() == ("", "")


def test_ids_are_not_tried_for_ever(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(edge, "MAX_DELETED", 1)
    server.deleted = {"abc123-1", "abc123-2"}
    record = make_record(tmp_path / "cell")
    build_tracker(ONLINE, tmp_path).record(record)
    assert server.runs == {} and "1 ids of tiny/gsm8k-icl/wanda/50%/s0 were deleted" in capfd.readouterr().err
    check_whole_offline_run(tmp_path, record, "abc123-1")


def test_a_server_that_is_down(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.close()
    tracker = build_tracker(ONLINE, tmp_path)
    records = [make_record(tmp_path / name, make_result(name, 3.0, 0.5)) for name in ("a", "b")]
    for record in records:
        tracker.record(record)
    for record in records:
        check_whole_offline_run(tmp_path, record, f"{record.cell_id}-1")
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1, "said once"
    assert f"{server.url} cannot be reached" in said.err and "Runs are kept offline from here on" in said.err
    assert tracker.closing_note() is None, "W&B took everything, offline"


def test_a_server_that_refuses_the_key(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.refuses_keys = True
    record = make_record(tmp_path / "cell")
    build_tracker(ONLINE, tmp_path).record(record)
    check_whole_offline_run(tmp_path, record, "abc123-1")
    assert f"{server.url} refuses the API key" in capfd.readouterr().err


def test_a_key_of_the_wrong_form(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    record = make_record(tmp_path / "cell")
    build_tracker(ONLINE, tmp_path).record(record)
    check_whole_offline_run(tmp_path, record, "abc123-1")
    said = capfd.readouterr().err
    assert "API key" in said and "cannot be reached" not in said and server.operations == []


def test_a_slow_server_is_waited_for(server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    server.delay_s = 0.25
    build_tracker(ONLINE, tmp_path).record(make_record(tmp_path / "cell"))
    assert plain(server.runs["abc123-1"].summary) == summary(RESULT)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_is_too_slow_is_not(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "INIT_TIMEOUT_S", 2.0)
    server.delay_s = 30.0
    record = make_record(tmp_path / "cell")
    build_tracker(ONLINE, tmp_path).record(record)
    check_whole_offline_run(tmp_path, record, "abc123-1")
    assert "cannot be reached" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["dies", "refuses the key"])
def test_a_server_that_stops_in_the_middle(
    server: WandbServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    if how == "dies":
        server.dies_at = "file_stream"
    else:
        server.refuses_from = "file_stream"
    tracker = build_tracker(ONLINE, tmp_path)
    records = [make_record(tmp_path / name, make_result(name, 3.0, 0.5)) for name in ("a", "b")]
    for record in records:
        tracker.record(record)
    assert list(server.runs) == ["a-1"] and server.runs["a-1"].history == {}
    for record in records:
        check_whole_offline_run(tmp_path, record, f"{record.cell_id}-1")
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "does not take what a run holds" in said.err


def test_wandb_sync_sends_what_was_kept_and_later_what_was_added(server: WandbServer, tmp_path: Path) -> None:
    offline = replace(ONLINE, mode=TrackerMode.offline)
    build_tracker(offline, tmp_path).record(make_record(tmp_path / "cell"))
    sync(offline_runs(tmp_path), tmp_path)
    run = server.runs["abc123-1"]
    assert history_of(run) == BLOCKS and plain(run.summary) == summary(RESULT) and run.complete
    assert plain(run.config) == run_config(ASKED, RESULT)
    (sent,) = offline_runs(tmp_path)
    for dense in (None, DENSE):
        more: dict[str, Any] = make_result("abc123", 31.5, 0.75)
        more["metrics"]["acc/svamp"] = {"value": 0.25, "stderr": 0.1, "protocol": {}}
        build_tracker(offline, tmp_path).record(make_record(tmp_path / "cell", more, dense=dense))
    added = [folder for folder in offline_runs(tmp_path) if folder != sent]
    assert len(added) == 1
    sync(added, tmp_path)
    assert history_of(run) == BLOCKS, "nothing is there twice"
    assert plain(run.summary) == summary(more, DENSE)
