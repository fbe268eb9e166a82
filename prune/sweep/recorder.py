"""Records the cells of a sweep as they end: results, failures, and their mirrors in a tracker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from prune.cell.cell import Cell, asked_config
from prune.cell.failure import Failure
from prune.cell.gpu import read_samples
from prune.errors import DamagedFileError
from prune.messages.cli import report
from prune.sweep.baseline import compared_results
from prune.sweep.missing import explain_missing
from prune.track.content import summary
from prune.track.tracker import NullTracker, Record, Tracker


@dataclass(slots=True)
class Outcome:
    """What is known of a sweep's cells, by cell id."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    """Cells that another process works on or that wait in the queue -> the process or the job."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """Keeps how the cells of one launch ended, and mirrors finished ones."""

    sweep: str
    outcome: Outcome
    tracker: Tracker
    overrides: Sequence[str] = ()
    """Of the command line; for naming the line that fetches what a cell misses."""

    def finish(self, cell: Cell, result: dict[str, Any]) -> str:
        """Keep a result and mirror it; return its line for the terminal."""
        self.outcome.held.pop(cell.id, None)
        self.outcome.results[cell.id] = result
        self.tracker.record(make_record(cell, result, self.sweep, self.outcome.results))
        return describe_result(result)

    def catch_up(self, cells: Sequence[Cell]) -> None:
        """Mirror what became known of finished cells after they were mirrored: the dense cell's scores, the C4 cell's."""
        if isinstance(self.tracker, NullTracker):
            return
        for cell in cells:
            result = self.outcome.results.get(cell.id)
            if result is not None and self._is_behind(cell, result):
                self.tracker.record(make_record(cell, result, self.sweep, self.outcome.results))

    def _is_behind(self, cell: Cell, result: dict[str, Any]) -> bool:
        return self.tracker.lacks(cell.folder(), summary(result, *compared_results(cell, self.outcome.results)))

    def fail_with(self, cell: Cell, error: Exception) -> str:
        """Keep that a cell raised `error`; return its line for the terminal."""

        known = explain_missing(error, self.overrides, cell.config.model) or error
        return self.fail(cell, Failure.of_exception(known, cell.folder() / "run.log"))

    def fail(self, cell: Cell, failure: Failure) -> str:
        """Keep a failure; return its line for the terminal."""
        self.outcome.held.pop(cell.id, None)
        self.outcome.failures[cell.id] = failure
        return f"{failure.state}: {failure.reason}"

    def hold(self, cell: Cell, holder: str) -> str:
        """Keep that another process has the cell; return its line for the terminal."""
        self.outcome.held[cell.id] = holder
        return holder


def make_record(
    cell: Cell, result: dict[str, Any], sweep: str, known: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> Record:
    """What a tracker gets of a finished cell; `known` are results by cell id, others are read from their files."""
    dense, c4 = compared_results(cell, known)
    return Record(
        cell_id=cell.id,
        name=cell.name,
        group=sweep,
        config=asked_config(cell),
        result=result,
        linears=_find_linears(cell),
        folder=cell.folder(),
        dense=dense,
        c4=c4,
        gpu=read_samples(cell.folder()),
    )


def _find_linears(cell: Cell) -> list[dict[str, Any]]:
    """The linears of a cell; none, and a message, where their file is damaged."""
    try:
        return cell.files.read_linears()
    except DamagedFileError as error:
        report(str(error))
        return []


def describe_result(result: dict[str, Any]) -> str:
    """The scores of a result in one line."""
    return "  ".join(f"{name} {metric['value']:.4g}" for name, metric in result["metrics"].items())


def by_id(cells: Iterable[Cell]) -> dict[str, Cell]:
    """The cells by their id."""
    return {cell.id: cell for cell in cells}
