"""Calibration sets that the dense model makes or chooses: each is made once, by whoever needs it first; the others wait.

outputs/calib/making/<id>/ holds the claim of the process that makes a set, status.json with its end, and job.json with the
Slurm job that is to make it. The set itself appears whole, in outputs/calib/<id>/. A process that is killed leaves no set
and a dead claim: the next one makes the set. A process that fails says why in status.json, and the cells that wait fail for
that reason.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from prune.calib import set_folder
from prune.calib.recipe import Recipe
from prune.cell.cell import Cell
from prune.cell.lock import CellHeldError, claim
from prune.cell.log import log
from prune.cell.memory import LOAD_ADVICE, memory_errors
from prune.cell.resources import Resources
from prune.cell.standing import failure_of_status, last_line, read_submission
from prune.cell.state import State, read_status, write_status
from prune.cell.stops import stops_pass
from prune.cell.watcher import WAITS, Watcher
from prune.errors import UserError
from prune.models.load import resolve_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune.calib.calibration_set import CalibrationSet

PAUSE_S = 0.5
"""The pause between two looks at a set that another process makes."""


class SetNotMadeError(RuntimeError):
    """A calibration set that the model should have made is not there."""


def is_model_made(cell: Cell) -> bool:
    """Whether the dense model makes or chooses the cell's calibration set."""
    return cell.recipe is not None and cell.recipe.needs_model


def is_stored(cell: Cell) -> bool:
    """Whether the cell's calibration set is there, with its tokens."""
    assert cell.recipe is not None, "the caller has looked"
    return set_folder.is_stored(cell.recipe, cell.output_dir)


def making_folder(cell: Cell) -> Path:
    """outputs/calib/making/<id>."""
    assert cell.recipe is not None, "the caller has looked"
    return cell.output_dir / "calib" / "making" / cell.recipe.id()


def describe_set(cell: Cell) -> str:
    """`calibration set 0123456789abcdef (generated, s0)`."""
    assert cell.recipe is not None, "the caller has looked"
    calib = cell.recipe.calib
    return f"calibration set {cell.recipe.id()} ({calib.shown_name}, s{calib.seed})"


def calibration_set(cell: Cell, recipe: Recipe, resources: Resources, watcher: Watcher) -> "CalibrationSet":
    """The cell's calibration set, stored or made now; for a set that the model makes see above.

    Raises:
        SetNotMadeError: another process failed to make it, or it is to be made elsewhere and is not there.
        Exception: what making it raised.
    """
    from prune.calib.store import load_or_build

    config = cell.config
    watcher.stage("calib")
    source, tokenizer = resources.source(config.data), resources.tokenizer(config.model)

    @cache
    def dense() -> "PreTrainedModel":
        return resources.dense_model(config.model, resolve_device(config.device)).model

    def make() -> "CalibrationSet":
        for part in recipe.parts if not is_stored(cell) else ():
            if part.needs_model:  # another mixture may have it too
                calibration_set(replace(cell, recipe=part), part, resources, watcher)
        return load_or_build(recipe, source, tokenizer, cell.output_dir, dense, watcher.advance)

    if not is_model_made(cell) or is_stored(cell):
        return make()
    set_id = recipe.id()
    if set_id not in resources.failed_sets:
        try:
            return _made_once(cell, make, resources, watcher)
        except Exception as error:
            resources.failed_sets[set_id] = error
    raise resources.failed_sets[set_id]


def _made_once(cell: Cell, make: Callable[[], "CalibrationSet"], resources: Resources, watcher: Watcher) -> "CalibrationSet":
    """The set, made here under a claim, or by the process that holds it."""
    folder, waits = making_folder(cell), False
    while not is_stored(cell):
        try:
            with claim(folder):
                if not is_stored(cell):
                    _check_failures(cell, resources, waited=waits)
                    return _make(cell, folder, make, watcher)
        except CellHeldError as error:
            if not waits:
                words = f"{WAITS} {describe_set(cell)}, which the model makes: {error}"
                log.info("%s", words)
                watcher.stage(words)
            waits = True
            time.sleep(PAUSE_S)
    return make()


def _make(cell: Cell, folder: Path, make: Callable[[], "CalibrationSet"], watcher: Watcher) -> "CalibrationSet":
    """Make the set; status.json says how that ended, unless it is interrupted: then the next one makes it."""
    log.info("%s: the model makes it", describe_set(cell))
    watcher.stage("calib by the model")
    write_status(folder, State.running)
    try:
        with stops_pass(), memory_errors(f"making {describe_set(cell)}", LOAD_ADVICE):
            made = make()
    except Exception as error:
        write_status(folder, State.failed, f"{type(error).__name__}: {error}")
        raise
    write_status(folder, State.done)
    return made


def _check_failures(cell: Cell, resources: Resources, *, waited: bool) -> None:
    """Refuse to make a set that failed while we waited or since this process began, or that is to be made elsewhere.

    Raises:
        UserError, SetNotMadeError: with the reason.
    """
    folder = making_folder(cell)
    status = read_status(folder) or {"state": None}
    if status["state"] == State.failed.value and (waited or not resources.makes_sets or status["since"] > resources.began):
        failure = failure_of_status(status, None)
        words = f"{describe_set(cell)} could not be made: {failure.reason}"
        raise UserError(words) if failure.wrong_use else SetNotMadeError(words)
    if not resources.makes_sets:
        raise SetNotMadeError(f"{describe_set(cell)} is not there: {_describe_job(folder)}")


def _describe_job(folder: Path) -> str:
    submission = read_submission(folder)
    if submission is None:
        return "no job was submitted to make it. Run the same line again to submit one"
    said = last_line(Path(submission.log))
    return f"job {submission.job_id} should have made it and left none; {said}. Run the same line again to make it"
