"""A job whose time is over says so, wherever the signal met it."""

from pathlib import Path
from typing import Any

import pytest
from submitit.core.utils import UncompletedJobError

import prune.sweep.launchers.slurm.job as job
from prune.cell.cell import make_cell
from prune.cell.provenance import code_state
from prune.cell.state import read_status
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
    def run_cell(*_: Any) -> None:
        raise wrapped(*between)

    monkeypatch.setattr(job, "run_cell", run_cell)
    cell = make_cell(compose_config(f"output_dir={tmp_path}", "tracker=none"))
    cell.folder().mkdir(parents=True)
    with pytest.raises((UncompletedJobError, UserError, OSError)) as raised:
        CellsJob([cell], "s", [], code_state(), "its time was over", str(tmp_path))()
    assert is_timeout(raised.value) and not is_timeout(UserError("the model could not be loaded"))
    status = read_status(cell.folder()) or {}
    assert (status["state"], status["error"]) == ("failed", "TIMEOUT: its time was over")
