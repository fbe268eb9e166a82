"""Claims: one holder at a time between processes, the living respected, the dead taken over."""

import errno
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

import prune.cell.holder
import prune.cell.lock
from prune.cell.holder import Holder, is_alive, this_process
from prune.cell.lock import CellHeldError, claim, claim_when_free, find_holder, tidy
from prune.cell.slurm_queue import Job, OwnedJob, SlurmUnavailableError, job_id
from prune.errors import UserError
from tests.conftest import HANGS_S

HOLD = """
    import pathlib, time
    from prune.cell.lock import claim
    with claim(pathlib.Path({folder!r})):
        print("held", flush=True)
        time.sleep(600)
"""

COUNT = """
    import pathlib, sys
    from prune.cell.lock import CellHeldError, claim
    folder = pathlib.Path({folder!r})
    sys.stdin.readline()
    for _ in range(200):
        try:
            with claim(folder):
                busy = folder / "busy"
                busy.touch(exist_ok=False)  # fails when two are inside
                busy.unlink()
                with (folder / "taken").open("a") as stream:
                    stream.write("x")
        except CellHeldError:
            pass
"""


@contextmanager
def running(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", textwrap.dedent(program).format(folder=str(folder))]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_job_id_names_the_array_element(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert job_id() is None
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    assert job_id() == "15"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_id() == "12_3"


def test_a_living_holder_is_respected_and_a_dead_one_replaced(tmp_path: Path) -> None:
    with running(HOLD, tmp_path) as holder:
        assert first_line(holder) == "held\n"
        with pytest.raises(CellHeldError, match=f"held by process {holder.pid} on "), claim(tmp_path):
            pass
        found = find_holder(tmp_path)
        assert found is not None and found.pid == holder.pid
    assert find_holder(tmp_path) is None
    with claim(tmp_path):
        assert (find_holder(tmp_path) or this_process()).pid == os.getpid()
    assert find_holder(tmp_path) is None


def test_a_claim_is_given_back_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), claim(tmp_path / "new"):
        raise ValueError("inside")
    with claim(tmp_path / "new"):
        assert find_holder(tmp_path / "new") is not None
    assert len(list((tmp_path / "new").iterdir())) <= 2


def test_the_same_process_cannot_hold_twice(tmp_path: Path) -> None:
    with claim(tmp_path), pytest.raises(CellHeldError), claim(tmp_path):
        pass


def test_no_two_processes_are_ever_inside(tmp_path: Path) -> None:
    processes = [running(COUNT, tmp_path) for _ in range(4)]
    with processes[0] as one, processes[1] as two, processes[2] as three, processes[3] as four:
        started = (one, two, three, four)
        for process in started:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert [(process.wait(timeout=HANGS_S), process.stderr and process.stderr.read()) for process in started] == [
            (0, "")
        ] * 4
    assert len((tmp_path / "taken").read_text()) >= 200
    assert find_holder(tmp_path) is None


def test_many_take_over_from_one_dead_holder(tmp_path: Path) -> None:
    (tmp_path / ".claim-0").write_text(json.dumps(asdict(replace(this_process(), started="0"))))

    def attempt(_: int) -> bool:
        try:
            with claim(tmp_path):
                time.sleep(0.3)
                return True
        except CellHeldError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_pid_that_another_process_has_now_is_dead() -> None:
    me = this_process()
    assert is_alive(me) is True
    assert is_alive(replace(me, started="1")) is False
    assert is_alive(replace(me, boot_id="earlier")) is False
    assert is_alive(replace(me, pid=2**22 + 1)) is False


@pytest.fixture
def squeue(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, OwnedJob]]:
    """What the queue of cluster `lab` lists, of all users; this process is outside of any job."""
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_CLUSTER_NAME", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    listed: dict[str, OwnedJob] = {}
    ours = lambda: {name: one.job for name, one in listed.items() if one.uid == os.getuid()}  # noqa: E731
    monkeypatch.setattr(prune.cell.holder, "queued_jobs", ours)
    monkeypatch.setattr(prune.cell.holder, "find_job", listed.get)
    monkeypatch.setattr(prune.cell.holder, "cluster_name", lambda: "lab")
    yield listed


def elsewhere(job: str | None, **changes: Any) -> Holder:
    return replace(this_process(), **{"host": "node17", "job_id": job, "cluster": job and "lab"} | changes)


def test_a_holder_elsewhere_without_a_job_cannot_be_checked(tmp_path: Path, squeue: dict[str, OwnedJob]) -> None:
    assert is_alive(elsewhere(None)) is None
    (tmp_path / ".claim-3").write_text(json.dumps(asdict(elsewhere(None))))
    with pytest.raises(CellHeldError, match=r"node17.*if it is gone, remove .*\.claim-3"), claim(tmp_path):
        pass
    (tmp_path / ".claim-3").unlink()
    with claim(tmp_path):
        pass


@pytest.mark.parametrize(
    ("state", "alive"),
    [("RUNNING", True), ("COMPLETING", True), ("SUSPENDED", True), ("PENDING", False), ("FAILED", False), (None, False)],
)
def test_a_holder_elsewhere_lives_as_long_as_its_job_runs(
    squeue: dict[str, OwnedJob], state: str | None, alive: bool
) -> None:
    if state is not None:
        squeue["7_1"] = OwnedJob(Job("7_1", state), os.getuid())
    assert is_alive(elsewhere("7_1")) is alive


@pytest.mark.parametrize(
    ("state", "alive"), [("RUNNING", True), ("COMPLETING", True), ("PENDING", False), ("FAILED", False), (None, None)]
)
def test_another_users_job_that_is_not_listed_is_not_dead(
    tmp_path: Path, squeue: dict[str, OwnedJob], state: str | None, alive: bool | None
) -> None:
    colleague = elsewhere("7_1", uid=os.getuid() + 1, user="alice")
    if state is not None:
        squeue["7_1"] = OwnedJob(Job("7_1", state), colleague.uid)
    assert is_alive(colleague) is alive
    (tmp_path / ".claim-0").write_text(json.dumps(asdict(colleague)))
    if alive is None:
        words = rf"node17 \(alice, job 7_1\), since {re.escape(colleague.since)}.*if it is gone, remove .*\.claim-0"
        with pytest.raises(CellHeldError, match=words), claim(tmp_path):
            pass
        tidy(tmp_path)
        assert find_holder(tmp_path) == colleague


def test_a_job_of_that_number_that_belongs_to_somebody_else_tells_nothing(squeue: dict[str, OwnedJob]) -> None:
    squeue["7_1"] = OwnedJob(Job("7_1", "FAILED"), os.getuid() + 2)
    assert is_alive(elsewhere("7_1", uid=os.getuid() + 1)) is None


@pytest.mark.parametrize("cluster", ["other", None])
def test_a_job_of_another_cluster_is_not_dead_whatever_our_queue_lists(
    squeue: dict[str, OwnedJob], cluster: str | None
) -> None:
    assert is_alive(elsewhere("7_1", cluster=cluster)) is None
    squeue["7_1"] = OwnedJob(Job("7_1", "FAILED"), os.getuid())
    assert is_alive(elsewhere("7_1", cluster=cluster)) is None


def test_a_machine_of_the_same_name_is_another_machine(squeue: dict[str, OwnedJob]) -> None:
    assert is_alive(replace(this_process(), machine_id="other", boot_id="other")) is None
    assert is_alive(replace(this_process(), pid_namespace="pid:[1]", started="1")) is None


def test_the_job_that_comes_back_takes_its_own_claim_over(
    monkeypatch: pytest.MonkeyPatch, squeue: dict[str, OwnedJob]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "lab")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_alive(elsewhere("15", num_restarts=0)) is False
    assert is_alive(elsewhere("15", num_restarts=1)) is None, "a job may run on several nodes at once"


def test_job_15_of_another_cluster_or_user_is_not_this_job_15(
    monkeypatch: pytest.MonkeyPatch, squeue: dict[str, OwnedJob]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "lab")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_alive(elsewhere("15", num_restarts=0, cluster="other")) is None
    assert is_alive(elsewhere("15", num_restarts=0, uid=os.getuid() + 1)) is None


@pytest.mark.parametrize("silent", ["queued_jobs", "cluster_name"])
def test_a_holder_is_left_alone_while_slurm_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, squeue: dict[str, OwnedJob], silent: str
) -> None:
    def fail() -> Any:
        raise SlurmUnavailableError("no controller")

    monkeypatch.setattr(prune.cell.holder, silent, fail)
    assert is_alive(elsewhere("7_1")) is None


def test_waiting_for_a_claim(tmp_path: Path) -> None:
    with running(HOLD, tmp_path) as holder:
        first_line(holder)
        with pytest.raises(UserError, match="run the same line again"), claim_when_free(tmp_path, timeout_s=0.3):
            pass
    with claim_when_free(tmp_path, timeout_s=5):
        assert find_holder(tmp_path) is not None


def wrong_claims() -> list[str]:
    whole = json.dumps(asdict(this_process()))
    return ["{", "{}", "[]", "null", "3", '"x"', whole[:-9], whole.replace(f'"pid": {os.getpid()}', '"pid": "x"'), "\0"]


@pytest.mark.parametrize("text", wrong_claims())
def test_a_damaged_claim_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / ".claim-0").write_text(text)
    with pytest.raises(UserError, match=r"\.claim-0 is damaged"), claim(tmp_path):
        pass
    tidy(tmp_path)
    assert (tmp_path / ".claim-0").read_text() == text


def test_a_claim_on_a_disk_that_became_read_only_hides_no_other_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, length: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "truncate", refuse)
    with pytest.raises(UserError, match="the first"), claim(tmp_path):
        raise UserError("the first")


def test_what_a_killed_process_left_goes_with_the_next_claim(tmp_path: Path, squeue: dict[str, OwnedJob]) -> None:
    """Also what it left on another node, once its job is known to be over; another's drafts there stay."""
    dead, other = elsewhere("7_1", pid=77), elsewhere("8", pid=78)
    (tmp_path / ".claim-4").write_text(json.dumps(asdict(dead)))
    (tmp_path / "scores").mkdir()
    left = [tmp_path / f".result.json.{dead.tag}.0123abcd.draft", tmp_path / "scores" / f".x.json.{dead.tag}.0123abcd.draft"]
    stays = tmp_path / f".result.json.{other.tag}.0123abcd.draft"
    folder = tmp_path / f".model.{dead.tag}.89abcdef.draft"
    folder.mkdir()
    for path in [*left, stays, folder / "weights"]:
        path.write_text("half")
    with claim(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".claim-4", ".claim-5", "scores", stays.name])
        assert list((tmp_path / "scores").iterdir()) == []


def test_tidying_gives_back_the_claim_of_the_dead_and_leaves_that_of_the_living(tmp_path: Path) -> None:
    (tmp_path / ".claim-0").write_text(json.dumps(asdict(replace(this_process(), started="1"))))
    tidy(tmp_path)
    assert (tmp_path / ".claim-0").read_text() == ""
    with claim(tmp_path):
        tidy(tmp_path)
        assert find_holder(tmp_path) is not None
    tidy(tmp_path / "absent")


def test_a_folder_that_is_moved_away_while_it_is_claimed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, link, moved = tmp_path / "cell", os.link, []

    def move_first(source: Path, target: Path) -> None:
        if not moved:
            moved.append(folder.rename(tmp_path / "moved"))
        link(source, target)

    monkeypatch.setattr(os, "link", move_first)
    with claim(folder):
        assert find_holder(folder) is not None
