"""Cells in worker processes: the same results as in one process, and what a death, a failure or Ctrl-C costs."""

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

import prune
from prune.cell.cell import Cell, make_cell
from prune.cell.lock import claim, find_holder
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.cell.state import read_status
from prune.errors import UserError
from prune.sweep.launchers.local import workers
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.worker import ProgressSender, gpu_works
from prune.sweep.launchers.local.workers import Worker, choose_gpus, last_line, run_in_workers, take_cell, worker_environment
from prune.sweep.recorder import Outcome, Recorder
from prune.track.tracker import NullTracker

from ..conftest import HANGS_S, Compose

SMALL = ["calib.num_samples=2", "eval.tasks=[]", "eval.perplexity=[wikitext2]", "eval.num_chunks=1", "tracker=none"]
POINTS = [["method=dense"], ["calib=c4", "method=sparsegpt"], ["calib=gsm8k", "prompt=cot"]]
MakeCell = Callable[..., Cell]


@dataclass(frozen=True)
class Ran:
    """What a run left, and what it printed."""

    outcome: Outcome
    said: str


class Silent:
    """A watcher that tells nobody."""

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


def run_cells(cells: Sequence[Cell], **launcher: Any) -> Ran:
    outcome, stream = Outcome(), io.StringIO()
    recorder = Recorder("test", outcome, NullTracker())
    run_in_workers(cells, LocalLauncherConfig(**launcher), recorder, Console(file=stream, width=200))
    return Ran(outcome, stream.getvalue())


def small_cells(compose_config: Compose, folder: Path, points: Sequence[Sequence[str]]) -> list[Cell]:
    return [make_cell(compose_config(*point, *SMALL, f"output_dir={folder}/outputs")) for point in points]


@pytest.fixture
def short_rows(tmp_path: Path) -> list[str]:
    """Overrides for rows that are too short for a calibration sequence and for a perplexity chunk."""
    for path in ("c4/train.jsonl", "wikitext2/test.jsonl"):
        (tmp_path / "rows" / path).parent.mkdir(parents=True)
        (tmp_path / "rows" / path).write_text('{"text": "too short"}\n' * 3)
    return ["data=local", f"data.root={tmp_path}/rows"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread here and in the workers: their number changes the last bits of a Cholesky factorisation (sparsegpt)."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(num_threads)


def busy_time(cell: Cell) -> tuple[datetime, datetime]:
    """From the first to the last line of the cell's log."""
    lines = (cell.folder() / "run.log").read_text().splitlines()
    first, *_, last = [datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f") for line in lines if line[:2] == "20"]
    return first, last


def test_two_workers_do_what_one_process_does(compose_config: Compose, tmp_path: Path, short_rows: list[str]) -> None:
    cells = small_cells(compose_config, tmp_path / "many", POINTS)
    failing, held = small_cells(compose_config, tmp_path / "many", [["calib=c4", *short_rows], ["calib=oscar"]])
    with claim(held.folder()):
        ran = run_cells([cells[0], failing, held, *cells[1:]], num_workers=2)

    resources = Resources()
    for cell in small_cells(compose_config, tmp_path / "one", POINTS):
        alone, among = run_cell(cell, resources, Silent()), ran.outcome.results[cell.id]
        assert among["metrics"] == alone["metrics"] and among["weights_sha256"] == alone["weights_sha256"]
    assert set(ran.outcome.results) == {cell.id for cell in cells}

    assert list(ran.outcome.held) == [held.id] and f"process {os.getpid()}" in ran.outcome.held[held.id]
    assert list(ran.outcome.failures) == [failing.id]
    failure = ran.outcome.failures[failing.id]
    assert failure.state == "failed" and failure.wrong_use and "calib.seq_len" in failure.reason
    assert failure.log == failing.folder() / "run.log" and "Traceback" in failure.log.read_text()

    pids = {(read_status(cell.folder()) or {})["pid"] for cell in cells}
    assert len(pids) <= 2 and os.getpid() not in pids and not any(map(lives, pids))
    times = [busy_time(cell) for cell in [*cells, failing]]
    assert max(sum(begin <= moment < end for begin, end in times) for moment, _ in times) == 2

    lines = ran.said.splitlines()
    assert lines[:2] == [f"[1/5] {cells[0].name}", f"[2/5] {failing.name}"]
    assert len(lines) == 10 and sum(f"s  {cells[0].name}  ppl/wikitext2" in line for line in lines) == 1


def test_a_death_costs_one_cell(compose_config: Compose, tmp_path: Path) -> None:
    killed, crashed, *others = small_cells(compose_config, tmp_path, POINTS)
    killers = [
        threading.Thread(target=signal_worker, args=(cell, number))
        for cell, number in ((killed, signal.SIGKILL), (crashed, signal.SIGSEGV))
    ]
    for killer in killers:
        killer.start()
    ran = run_cells([killed, crashed, *others], num_workers=2)
    for killer in killers:
        killer.join()
    assert set(ran.outcome.results) == {cell.id for cell in others}
    death, crash = ran.outcome.failures[killed.id], ran.outcome.failures[crashed.id]
    assert death.state == "killed by signal 9" and killed.id in death.reason and death.log == killed.folder() / "run.log"
    assert crash.state == "killed by signal 11" and crash.reason == "Fatal Python error: Segmentation fault"
    assert crash.log is not None and "most recent call first" in crash.log.read_text()
    assert (read_status(killed.folder()) or {})["state"] == "running" and find_holder(killed.folder()) is None
    assert run_cell(killed, Resources(), Silent())["cell"] == killed.id


@pytest.mark.slow
def test_dense_wrong_use_stops_the_sweep_and_a_broken_gpu_its_worker(
    compose_config: Compose, tmp_path: Path, short_rows: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [["calib=c4", *short_rows], ["method=random"], ["method=dense", *short_rows], ["calib=c4"]]
    failing, good, dense, last = small_cells(compose_config, tmp_path, points)
    receive = Worker.receive
    monkeypatch.setattr(Worker, "receive", lambda self: exiting(receive(self)))
    with pytest.raises(UserError, match="wikitext2"):
        run_cells([failing, good, dense, last], num_workers=1, gpus=[0])
    pids = [(read_status(cell.folder()) or {})["pid"] for cell in (failing, good, dense)]
    assert pids[0] != pids[1] == pids[2] and not any(map(lives, pids))
    assert not last.folder().exists()


def exiting(message: dict[str, Any] | None) -> dict[str, Any] | None:
    return message | {"exits": True} if message and message.get("ended") == "failed" else message


PROGRAM = """
import pickle, sys
from pathlib import Path
from rich.console import Console
from prune.sweep.launchers.local.config import LocalLauncherConfig
from prune.sweep.launchers.local.workers import run_in_workers
from prune.sweep.recorder import Outcome, Recorder
from prune.track.tracker import NullTracker
cells = pickle.loads(Path(sys.argv[1]).read_bytes())
run_in_workers(cells, LocalLauncherConfig(num_workers=2), Recorder("test", Outcome(), NullTracker()), Console())
"""


@pytest.mark.parametrize(
    ("number", "whole_group"),
    [(signal.SIGINT, True), pytest.param(signal.SIGINT, False, marks=pytest.mark.slow), (signal.SIGKILL, False)],
    ids=["ctrl-c", "interrupt", "kill"],
)
def test_no_worker_outlives_its_parent(
    compose_config: Compose, tmp_path: Path, number: signal.Signals, whole_group: bool
) -> None:
    cells = small_cells(compose_config, tmp_path, POINTS)
    (tmp_path / "cells").write_bytes(pickle.dumps(cells))
    parent = start(PROGRAM, str(tmp_path / "cells"))
    pids = [wait_for_worker(cell) for cell in cells[:2]]
    (os.killpg if whole_group else os.kill)(parent.pid, number)
    _, complaint = parent.communicate(timeout=HANGS_S)
    assert parent.returncode == -number and ("KeyboardInterrupt" in complaint) == (number == signal.SIGINT)
    wait_for(lambda: not any(map(lives, pids)), f"the end of {pids}")
    for cell in cells[:2]:
        status = read_status(cell.folder()) or {}
        assert (status["state"], status["error"]) in {("failed", "interrupted"), ("running", None)}
        assert find_holder(cell.folder()) is None
    assert not cells[2].folder().exists()


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process group of its own, as a shell makes it, that hears Ctrl-C even where the tests were started deaf to it."""
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = os.environ | {"PYTHONPATH": str(Path(prune.__file__).resolve().parents[1])}
    try:
        return subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0, env=environment,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, heard)


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Return as soon as `holds`; the limit only ends what hangs."""
    end = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


def wait_for_worker(cell: Cell) -> int:
    """The process that works on `cell`, once one does."""
    wait_for(lambda: (read_status(cell.folder()) or {}).get("state") == "running", f"a worker of {cell.name}")
    return int((read_status(cell.folder()) or {})["pid"])


def signal_worker(cell: Cell, number: signal.Signals) -> None:
    """Send a signal to the process that works on `cell`, after the first line of its log."""
    pid, log = wait_for_worker(cell), cell.folder() / "run.log"
    while lives(pid) and not (log.exists() and log.read_text()):
        time.sleep(0.02)
    os.kill(pid, number)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the second when it goes while it is read
        return False


def environment(place: int, inherited: Mapping[str, str], seen: Sequence[str] = (), **launcher: Any) -> dict[str, str]:
    return worker_environment(place, LocalLauncherConfig(**launcher), seen, inherited, num_cores=8)


def test_a_worker_sees_its_gpu() -> None:
    seen = [environment(place, {}, ["3", "1"], num_workers=2, gpus=[3, 1]) for place in (0, 1)]
    assert [found["CUDA_VISIBLE_DEVICES"] for found in seen] == ["3", "1"]
    assert seen[0]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    among = environment(1, {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, ["GPU-a", "GPU-b"], num_workers=2)
    assert among["CUDA_VISIBLE_DEVICES"] == "GPU-b" and "CUDA_DEVICE_ORDER" not in among
    assert "CUDA_VISIBLE_DEVICES" not in environment(0, {}, num_workers=2)


def test_gpus_are_those_named_or_listed_or_all(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "all_gpus", lambda: ["0", "1"])
    cells, cpu = [make_cell(compose_config())], [make_cell(compose_config("device=cpu"))]
    two = LocalLauncherConfig(num_workers=2)
    named = LocalLauncherConfig(num_workers=2, gpus=[5, 4])
    assert choose_gpus(cells, named, {"CUDA_VISIBLE_DEVICES": "0"}) == ["5", "4"]
    assert choose_gpus(cells, two, {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == ["GPU-a", "GPU-b"]
    assert choose_gpus(cells, two, {"CUDA_VISIBLE_DEVICES": ""}) == []
    assert choose_gpus(cells, two, {}) == ["0", "1"]
    assert choose_gpus(cpu, two, {}) == [] and choose_gpus(cells, LocalLauncherConfig(), {}) == []
    with pytest.raises(UserError, match="one cell at a time"):
        choose_gpus(cells, LocalLauncherConfig(num_workers=3), {})
    with pytest.raises(UserError, match=r"GPUs here \(1\)"):
        choose_gpus(cells, two, {"CUDA_VISIBLE_DEVICES": "2"})


def test_workers_share_the_cores_unless_the_user_says_otherwise() -> None:
    shared = environment(0, {}, num_workers=3)
    assert shared["OMP_NUM_THREADS"] == shared["MKL_NUM_THREADS"] == "2"
    assert environment(0, {}, num_workers=20)["OMP_NUM_THREADS"] == "1"
    asked = environment(0, {"OMP_NUM_THREADS": "5"}, num_workers=3)
    assert asked["OMP_NUM_THREADS"] == "5" and "MKL_NUM_THREADS" not in asked


def test_a_worker_imports_this_prune() -> None:
    root = str(Path(prune.__file__).resolve().parents[1])
    assert environment(0, {})["PYTHONPATH"] == root
    assert environment(0, {"PYTHONPATH": "more"})["PYTHONPATH"] == f"{root}{os.pathsep}more"


def test_a_worker_keeps_to_its_model(compose_config: Compose) -> None:
    points = [["model=tiny"], ["model=opt_125m"], ["model=tiny", "calib=c4"]]
    tiny, opt, again = cells = [make_cell(compose_config(*point)) for point in points]
    waiting = list(cells)
    taken = [take_cell(waiting, model) for model in (None, tiny.model_key, "other", None)]
    assert taken == [tiny, again, opt, None]


def test_progress_is_told_a_few_times_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    milliseconds = [1_000]
    monkeypatch.setattr("prune.sweep.launchers.local.worker.time", SimpleNamespace(monotonic=lambda: milliseconds[0] / 1000))
    watcher = ProgressSender(told.append)
    watcher.stage("prune")
    for done in range(1, 1001):
        watcher.advance(done, 1000)
        milliseconds[0] += 1
    assert told[:2] == [{"stage": "prune"}, {"advance": [1, 1000]}] and told[-1] == {"advance": [1000, 1000]}
    assert len(told) in {11, 12}  # in this second


def test_a_broken_gpu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    for synchronize, works in ((fail, False), (lambda: None, True)):
        cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=synchronize)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        assert gpu_works() is works


def test_last_words() -> None:
    assert last_line("one\ntwo\n\n") == "two" and last_line(" \n") == ""
    assert last_line("x\nFatal Python error: Aborted\n\nCurrent thread:\n  File a") == "Fatal Python error: Aborted"
