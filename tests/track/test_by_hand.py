"""Offline runs that are sent by hand: in any order, twice, after more scores, after a deletion on the server."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from prune.config.tracker import TrackerConfig, TrackerMode
from prune.track.content import summary
from prune.track.registry import build_tracker
from prune.track.tracker import Record
from prune.track.wandb_state import read_mirrored

from .cells import DENSE, make_record, make_result
from .sent import BLOCKS, history_of, offline_runs, plain, sync
from .wandb_server import WandbServer

OFFLINE = TrackerConfig(name="wandb", project="p")
ONLINE = replace(OFFLINE, mode=TrackerMode.online)


def with_scores(cell: str, *names: str) -> dict[str, Any]:
    """result.json of a cell with these further scores."""
    result = make_result(cell, 31.5, 0.75)
    result["metrics"] |= {name: {"value": 0.25, "stderr": 0.1, "protocol": {}} for name in names}
    return result


def keep(output_dir: Path, record: Record) -> Path:
    """Keep a run offline as another line would; returns its folder."""
    build_tracker(OFFLINE, output_dir).record(record)
    kept = read_mirrored(record.folder)
    assert kept is not None
    return Path(kept.folder)


def check_whole(server: WandbServer, run_id: str, numbers: dict[str, float], times: int = 1) -> None:
    """The run has all numbers, and the lines of its blocks as often as they were sent."""
    run = server.runs[run_id]
    assert history_of(run) == BLOCKS * times and plain(run.summary) == numbers and run.complete


def test_in_any_order_and_twice(server: WandbServer, tmp_path: Path) -> None:
    kept = [keep(tmp_path, make_record(tmp_path / name, make_result(name, 3.0, 0.5))) for name in ("a", "b", "c")]
    for folders in ([kept[2]], kept[:2], [kept[0]]):
        said = sync(folders, tmp_path)
    assert "No runs to sync" in said, "the second time"
    assert sorted(server.runs) == ["a-1", "b-1", "c-1"]
    for name in "abc":
        check_whole(server, f"{name}-1", summary(make_result(name, 3.0, 0.5)))


def test_scores_that_are_added_to_a_copy_that_was_sent_elsewhere(server: WandbServer, tmp_path: Path) -> None:
    """Nothing here says that the first log was sent: the second has the blocks too."""
    record = make_record(tmp_path / "cell")
    keep(tmp_path, record)
    shutil.copytree(tmp_path / "wandb", tmp_path / "laptop")  # only there is a network
    sync(sorted((tmp_path / "laptop").glob("offline-run-*")), tmp_path)
    more = with_scores("abc123", "acc/svamp")
    again = keep(tmp_path, replace(record, result=more, dense=DENSE))
    shutil.copytree(again, tmp_path / "laptop" / again.name)
    sync(sorted((tmp_path / "laptop").glob("offline-run-*")), tmp_path)
    assert list(server.runs) == ["abc123-1"]
    check_whole(server, "abc123-1", summary(more, DENSE), times=2)


def test_a_copy_that_brings_back_its_marker(server: WandbServer, tmp_path: Path) -> None:
    record = make_record(tmp_path / "cell")
    folder = keep(tmp_path, record)
    shutil.copytree(tmp_path / "wandb", tmp_path / "laptop")
    sync(sorted((tmp_path / "laptop").glob("offline-run-*")), tmp_path)
    (marker,) = (tmp_path / "laptop" / folder.name).glob("*.synced")
    shutil.copy(marker, folder)
    more = with_scores("abc123", "acc/svamp")
    sync([keep(tmp_path, replace(record, result=more))], tmp_path)
    check_whole(server, "abc123-1", summary(more))


def test_each_line_adds_a_score_and_the_last_is_sent(server: WandbServer, tmp_path: Path) -> None:
    names = ["acc/svamp", "acc/mawps", "acc/rte"]
    for number in range(len(names)):
        more = with_scores("abc123", *names[: number + 1])
        kept = keep(tmp_path, make_record(tmp_path / "cell", more))
        if number == 0:
            sync([kept], tmp_path)
    sync(offline_runs(tmp_path), tmp_path)
    assert list(server.runs) == ["abc123-1"]
    check_whole(server, "abc123-1", summary(more))


def test_a_run_that_was_deleted_is_sent_anew_by_the_line_that_the_note_names(server: WandbServer, tmp_path: Path) -> None:
    record = make_record(tmp_path / "cell")
    sync([keep(tmp_path, record)], tmp_path)
    server.delete("abc123-1")
    more = with_scores("abc123", "acc/svamp")
    added = keep(tmp_path, replace(record, result=more))
    build_tracker(ONLINE, tmp_path).record(replace(record, result=more))
    assert list(server.runs) == ["abc123-2"], "the id cannot be taken again"
    check_whole(server, "abc123-2", summary(more))
    assert not added.exists(), "wandb sync does not meet it any more"
    later = with_scores("abc123", "acc/svamp", "acc/mawps")
    sync([keep(tmp_path, replace(record, result=later))], tmp_path)
    check_whole(server, "abc123-2", summary(later))
