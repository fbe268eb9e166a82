"""An interruption stays one where a library, cleaning up what is half made, raises an error of its own in its place."""

from collections.abc import Callable
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from omegaconf import ListConfig
from omegaconf.base import Node
from omegaconf.basecontainer import BaseContainer

from prune.cell.cell import Cell, asked_config, make_cell
from prune.cell.model_sets import calibration_set, making_folder
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.cell.state import read_status
from prune.errors import UserError, interruptions
from prune.messages.cli import leave_on_error
from prune.sweep.launchers.local.worker import run_one
from tests.conftest import Compose

LINE = ("calib=c4", "calib.num_samples=2", "calib.seq_len=48", "eval.perplexity=[]", "eval.tasks=[]", "method=magnitude")
LINE += ("tracker=none", "device=cpu", "method.skip=[0.*,1.*,2.*]")
INSIDE = [(Node, "_key", 1), (ListConfig, "_validate_set", 4), (BaseContainer, "_wrap_value_and_set", 1)]
"""Calls of functions of OmegaConf in which an interruption comes out as UnboundLocalError or AttributeError."""


class Quiet:
    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


class Cleans:
    """Raises an error of its own while it is left, as libraries do that clean up what is half made."""

    def __init__(self, stop: BaseException) -> None:
        self.stop = stop

    def stage(self, name: str) -> None:
        try:
            raise self.stop
        finally:
            raise AttributeError("'NoneType' object has no attribute 'close'")

    def advance(self, done: int, total: int) -> None:
        pass


@pytest.fixture
def line(compose_config: Compose, tmp_path: Path) -> Callable[..., Cell]:
    return lambda *overrides: make_cell(compose_config(*LINE, f"output_dir={tmp_path}/outputs", *overrides))


def interrupted(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """The function, interrupted in one of its calls."""
    calls = count(1)

    @wraps(function)
    def interrupts(*arguments: Any, **keywords: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*arguments, **keywords)

    return interrupts


def check_interrupted(cell: Cell) -> None:
    status = read_status(cell.folder()) or {}
    assert (status["state"], status["error"]) == ("failed", "interrupted")
    log = cell.files.log.read_text()
    assert "INFO interrupted; the same line goes on from here" in log and "ERROR" not in log


@pytest.mark.parametrize(("owner", "name", "call"), INSIDE, ids=[name for _, name, _ in INSIDE])
def test_a_cell_interrupted_inside_omegaconf_says_interrupted(
    owner: type, name: str, call: int, line: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, function = line(), getattr(owner, name)

    def interrupts() -> None:
        monkeypatch.setattr(owner, name, interrupted(function, call))

    interrupts()
    with pytest.raises((UnboundLocalError, AttributeError)):
        asked_config(cell)  # else the test shows nothing
    interrupts()
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, Resources(), Quiet())
    check_interrupted(cell)
    interrupts()
    with pytest.raises(KeyboardInterrupt):  # it is not among the failures of the sweep
        run_one(cell, Resources(), lambda message: None)
    assert run_cell(cell, Resources(), Quiet())["cell"] == cell.id


@pytest.mark.parametrize("overrides", [(), ("privacy=true",)], ids=["plain", "private"])
def test_a_cell_whose_cleaning_up_fails_says_interrupted(overrides: tuple[str, ...], line: Callable[..., Cell]) -> None:
    cell = line(*overrides)
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, Resources(), Cleans(KeyboardInterrupt()))
    check_interrupted(cell)


def test_a_set_that_the_model_makes_did_not_fail_when_it_was_interrupted(
    line: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    import prune.calib.store

    cell, resources = line("calib=generated", "method=wanda"), Resources()

    def cleans(*_: Any, **__: Any) -> None:
        Cleans(KeyboardInterrupt()).stage("build")

    monkeypatch.setattr(prune.calib.store, "load_or_build", cleans)
    assert cell.recipe is not None
    with pytest.raises(KeyboardInterrupt):
        calibration_set(cell, cell.recipe, resources, Quiet())
    assert (read_status(making_folder(cell)) or {})["state"] == "running" and not resources.failed_sets


def test_the_exit_of_a_job_that_goes_back_to_the_queue_stays_one(
    line: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = line()
    with pytest.raises(AttributeError):
        run_cell(cell, Resources(), Cleans(SystemExit(-1)))  # without a queue to go back to it is a fault
    assert "AttributeError" in (read_status(cell.folder()) or {})["error"]
    monkeypatch.setenv("SLURM_JOB_ID", "15")
    with pytest.raises(SystemExit):
        run_cell(cell, Resources(), Cleans(SystemExit(-1)))
    assert (read_status(cell.folder()) or {})["state"] == "running"


def raise_from(error: Exception, cause: BaseException) -> None:
    raise error from cause


def raise_hidden(error: Exception, cause: BaseException) -> None:
    try:
        raise cause
    except BaseException:
        raise error from None


def raise_between(error: Exception, cause: BaseException) -> None:
    """The interruption is below the error's context, and its cause is another."""
    try:
        raise_hidden(ValueError("cleaning"), cause)
    except ValueError:
        raise error from KeyError("unrelated")


@pytest.mark.parametrize("chained", [raise_from, raise_hidden, raise_between])
@pytest.mark.parametrize("error", [UserError("wrong"), RuntimeError("CUDA error"), OSError(28, "full")], ids=str)
def test_commands_end_as_interrupted_whatever_came_of_it(
    chained: Callable[..., None], error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, leave_on_error(stopped="Stopped here."):
        chained(error, KeyboardInterrupt())
    assert ended.value.code == 130
    assert capsys.readouterr().err == "prune: Stopped here.\n"


def test_the_words_of_an_interruption_stay() -> None:
    class Stopped(KeyboardInterrupt):
        pass

    stop = Stopped("the jobs go on")
    with pytest.raises(Stopped) as found, interruptions():
        raise_between(ValueError("half made"), stop)
    assert found.value is stop


def test_errors_without_an_interruption_are_as_they_were(line: Callable[..., Cell]) -> None:
    for error in (UserError("wrong"), SystemExit(2), GeneratorExit()):
        with pytest.raises(type(error)) as found, interruptions():
            raise error
        assert found.value is error
    cell = line()
    with pytest.raises(AttributeError):
        run_cell(cell, Resources(), Cleans(ValueError("shapes differ")))
    assert (read_status(cell.folder()) or {})["error"].startswith("AttributeError")
    assert "ERROR failed" in cell.files.log.read_text()
