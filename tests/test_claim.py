"""Claims: one holder at a time between processes, the living respected, the dead taken over."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import prune.cell.lock
from prune.cell.holder import Holder, is_alive, this_process
from prune.cell.lock import CellHeldError, claim, claim_when_free, find_holder
from prune.cell.slurm_queue import Job, SlurmUnavailableError, job_id
from prune.errors import UserError

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
        assert [(process.wait(timeout=60), process.stderr and process.stderr.read()) for process in started] == [(0, "")] * 4
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


def elsewhere(job: str | None) -> Holder:
    return replace(this_process(), host="node17", job_id=job)


def test_a_holder_elsewhere_without_a_job_cannot_be_checked(tmp_path: Path) -> None:
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
    monkeypatch: pytest.MonkeyPatch, state: str | None, alive: bool
) -> None:
    monkeypatch.setattr(prune.cell.lock, "queued_jobs", lambda: {"7_1": Job("7_1", state)} if state else {})
    assert is_alive(elsewhere("7_1")) is alive


def test_the_job_that_comes_back_takes_its_own_claim_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    assert is_alive(elsewhere("15")) is False


def test_a_holder_is_left_alone_while_slurm_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> dict[str, Job]:
        raise SlurmUnavailableError("no controller")

    monkeypatch.setattr(prune.cell.lock, "queued_jobs", silent)
    assert is_alive(elsewhere("7_1")) is None


def test_waiting_for_a_claim(tmp_path: Path) -> None:
    with running(HOLD, tmp_path) as holder:
        first_line(holder)
        with pytest.raises(UserError, match="run the same line again"), claim_when_free(tmp_path, timeout_s=0.3):
            pass
    with claim_when_free(tmp_path, timeout_s=5):
        assert find_holder(tmp_path) is not None


def test_a_damaged_claim_names_the_file(tmp_path: Path) -> None:
    (tmp_path / ".claim-0").write_text("{")
    with pytest.raises(UserError, match=r"\.claim-0 is damaged"), claim(tmp_path):
        pass
