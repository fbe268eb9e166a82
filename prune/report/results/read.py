"""The result files of a folder; unusable ones are named and counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from prune.cell.folder import CellFolder
from prune.cell.result import CellResult, UnreadableResultError, read_cell_result
from prune.cell.standing import read_submission, stand_unfinished
from prune.cell.state import State
from prune.errors import UserError, allowed
from prune.report.model import Unfinished
from prune.report.results.grids import labels_of, not_applicable, read_grids, wanted_cells
from prune.report.results.repeated import without_repeated


@dataclass(slots=True)
class Found:
    """The contents of a folder of cells."""

    results: list[CellResult] = field(default_factory=list)
    """Dense cells first, then in the order of the sweeps."""
    unfinished: list[Unfinished] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)
    """The sweeps that name the cells."""
    damaged: list[str] = field(default_factory=list)
    """A sentence on each damaged file of which the rest is used."""
    repeated: list[str] = field(default_factory=list)
    """Names of results that are left out because another draw gave the same calibration set."""


def read_results(
    outputs: Path, sweep: str | None = None, model: str | None = None, metrics: Sequence[str] | None = None
) -> Found:
    """All results under `outputs`/cells, or those of one sweep, one model and some metrics, and the unfinished cells.

    Raises:
        UserError: no such folder, sweep, model or metric, or no usable result.
    """
    if not (outputs / "cells").is_dir():
        raise UserError(f"{outputs} holds no cells. Pass the output_dir of a sweep: python -m prune.report FOLDER.")
    damaged: list[str] = []
    grids = read_grids(outputs / "sweeps", sweep, damaged)
    found = Found(sweeps=list(grids), damaged=damaged)
    wanted = wanted_cells(outputs, grids, everything=sweep is None)
    for cell_id, (name, sweep_name) in wanted.items():
        _take_cell(found, outputs / "cells" / cell_id, name, sweep_name)
    found.unfinished += not_applicable(grids)
    found.results = with_labels(found.results, labels_of(grids))
    found.results, repeated = without_repeated(found.results)
    found.repeated = [result.name for result in repeated]
    found.results.sort(key=lambda result: not result.is_dense)
    if model is not None:
        _keep_model(found, model)
    if not found.results:
        raise UserError(" ".join([_nothing_usable(outputs, found.unfinished), *(f"{one}." for one in damaged)]))
    if metrics is not None:
        found.results = [_with_metrics(result, metrics) for result in _checked_metrics(found.results, metrics)]
    return found


def with_labels(results: Sequence[CellResult], labels: Mapping[str, Sequence[str]]) -> list[CellResult]:
    """The results; a user's own set has all of its names in the grids, not only that of its first run: `old = new`."""
    names: dict[tuple[Any, ...], dict[str, None]] = {}
    for result in results:
        if result.has_own_set:
            names.setdefault(_content(result), {}).update(dict.fromkeys(labels.get(result.id, [result.axes["calib"]])))
    return [_renamed(result, " = ".join(names[_content(result)])) if result.has_own_set else result for result in results]


def _renamed(result: CellResult, name: str) -> CellResult:
    sets = {name if own == result.axes["calib"] else own: entry for own, entry in result.sets.items()}
    return replace(result, axes={**result.axes, "calib": name}, sets=sets)


def _content(result: CellResult) -> tuple[Any, ...]:
    """The content of a user's own set, whatever its name, size and draw."""
    keys = ("rows", "held_out", "column", "question", "answer", "rationale", "choices", "messages", "joiner", "bad_rows")
    return tuple(result.knobs.get(f"calib.{key}") for key in keys)


def _checked_metrics(results: Sequence[CellResult], metrics: Sequence[str]) -> Sequence[CellResult]:
    known = list(dict.fromkeys(name for result in results for name in result.scores))
    for metric in metrics:
        if metric not in known:
            raise UserError(f"--metric={metric} is in no result. {allowed(metric, known)}")
    return results


def _with_metrics(result: CellResult, metrics: Sequence[str]) -> CellResult:
    scores = {name: score for name, score in result.scores.items() if name in metrics}
    overlap = {name: counts for name, counts in result.overlap.items() if name in metrics}
    return replace(result, scores=scores, overlap=overlap)


def _take_cell(found: Found, folder: Path, name: str, sweep: str) -> None:
    """Add the cell in `folder` to the results or to the unfinished cells."""
    try:
        found.results.append(read_cell_result(folder))
    except FileNotFoundError:
        found.unfinished.append(_unfinished(folder, name, sweep))
    except UnreadableResultError as error:
        found.unfinished.append(Unfinished(id=folder.name, name=name, state=error.state, reason=str(error), sweep=sweep))


def _unfinished(folder: Path, name: str, sweep: str) -> Unfinished:
    """A cell without result.json, with the state in its status and claim."""
    say = partial(Unfinished, id=folder.name, name=name, sweep=sweep)
    try:
        standing = stand_unfinished(folder, {})
    except UserError as error:
        return say(state="corrupt", reason=str(error))
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        return say(state="corrupt", reason=f"{_damaged_state(folder)} is damaged ({type(error).__name__}: {error})")
    if standing.failure is not None:
        return say(state="failed", reason=standing.failure.reason)
    if standing.state is State.running:
        where = f" on {standing.holder.host}" if standing.holder else ""
        return say(state="running", reason=f"the cell is running{where}")
    return say(state="todo", reason="the cell has not run yet")


def _damaged_state(folder: Path) -> Path:
    """The damaged one of the two files with a cell's state."""
    try:
        read_submission(folder)
    except (OSError, TypeError, ValueError):
        return CellFolder(folder).job
    return CellFolder(folder).status


def _keep_model(found: Found, model: str) -> None:
    models = list(dict.fromkeys(result.axes["model"] for result in found.results))
    if model not in models:
        raise UserError(f"--model={model} is in no result. {allowed(model, models)}")
    found.results = [result for result in found.results if result.axes["model"] == model]
    found.unfinished = [cell for cell in found.unfinished if cell.name.partition("/")[0] in (model, "")]


def _nothing_usable(outputs: Path, unfinished: Sequence[Unfinished]) -> str:
    """The message where no result can be used."""
    cells = [cell for cell in unfinished if cell.state != "not applicable"]
    if not cells:
        return f"{outputs}/cells holds no results yet. Run a sweep with output_dir={outputs} first."
    shown = "".join(f"\n  {cell.name or cell.id} {cell.state}: {cell.reason}" for cell in cells[:5])
    more = f"\n  and {len(cells) - 5} more" if len(cells) > 5 else ""
    return f"{outputs}/cells holds no usable result. Its cells:{shown}{more}"
