"""A job whose time is over says so, wherever the signal met it."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import UncompletedJobError

import prune.cell.run as run
from prune.cell.cell import make_cell
from prune.cell.provenance import code_state
from prune.cell.run import CellRun
from prune.cell.state import State, read_status, write_status
from prune.errors import UserError
from prune.sweep.launchers.slurm.job import CellsJob, is_timeout

from ...conftest import Compose


def wrapped(*between: Exception) -> Exception:
    """What a caller sees of the signal's error once libraries have caught it and raised others."""
    error: Exception = UncompletedJobError("Job not requeued because: timed-out too many times.")
    for each in between:
        try:
            try:
                raise error
            except Exception as below:
                raise each from below
        except Exception as raised:
            error = raised
    return error


LOADING = (ModuleNotFoundError("Could not import module 'LlamaForCausalLM'."), UserError("the model could not be loaded"))


@pytest.mark.parametrize("between", [(), LOADING, (OSError("cannot read"),)])
def test_a_time_limit_is_told_as_one(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: tuple[Exception, ...]
) -> None:
    def fail(*_: Any) -> None:
        raise wrapped(*between)

    told: list[str | None] = []

    def keep(folder: Path, state: State, error: str | None = None) -> None:
        told.append(error)
        write_status(folder, state, error)

    monkeypatch.setattr(run.CellRun, "_prune_and_score", fail)
    monkeypatch.setattr(run, "write_status", keep)
    cell = make_cell(compose_config(f"output_dir={tmp_path}", "tracker=none"))
    with pytest.raises((UncompletedJobError, UserError, OSError)) as raised:
        CellsJob([cell], "s", [], code_state(), "its time was over", str(tmp_path))()
    assert is_timeout(raised.value) and not is_timeout(UserError("the model could not be loaded"))
    status = read_status(cell.folder()) or {}
    assert (status["state"], status["error"]) == ("failed", "TIMEOUT: its time was over")
    assert told == [None, "TIMEOUT: its time was over"], "who reads the status at once reads the same"


@pytest.mark.parametrize("step", ["stage", "advance"])
def test_a_time_limit_that_a_library_swallowed_stops_the_job_at_its_next_step(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """As one that looks by an import whether it has another, at the very moment of the signal."""
    cell = make_cell(compose_config(f"output_dir={tmp_path}", "tracker=none"))
    job = CellsJob([cell], "s", [], code_state(), "its time was over", str(tmp_path))
    began: list[CellRun] = []

    def load_and_score(run: CellRun) -> None:
        began.append(run)
        with contextlib.suppress(ImportError, Exception):
            assert job.checkpoint().function == replace(job), "what comes back from the queue has its time before it"
            raise UncompletedJobError("Job not requeued because: timed-out too many times.")
        getattr(run._watcher, step)(*(["ppl/c4"] if step == "stage" else [1, 2]))
        raise AssertionError("the cell went on")

    monkeypatch.setattr(CellRun, "_prune_and_score", load_and_score)
    with pytest.raises(UncompletedJobError):
        job()
    status = read_status(cell.folder()) or {}
    assert len(began) == 1
    assert (status["state"], status["error"]) == ("failed", "TIMEOUT: its time was over")
