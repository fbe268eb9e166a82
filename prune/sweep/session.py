"""What one launch holds while its cells run, and what it does with each as it ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prune.cell import Cell
from prune.results import read_linears
from prune.run import asked_config
from prune.sweep.outcome import Failure, Outcome
from prune.track import Record, Tracker


@dataclass(frozen=True, slots=True)
class Session:
    """The sweep's name, what became of its cells so far, and where they are mirrored."""

    sweep: str
    outcome: Outcome
    tracker: Tracker
    overrides: Sequence[str] = ()
    """Of the command line; for naming the line that fetches what a cell misses."""

    def finish(self, cell: Cell, result: dict[str, Any]) -> str:
        """Keep a result and mirror it; return what to say of it."""
        self.outcome.held.pop(cell.id, None)
        self.outcome.results[cell.id] = result
        self.tracker.record(make_record(cell, result, self.sweep))
        return describe_result(result)

    def fail_with(self, cell: Cell, error: Exception) -> str:
        """Keep that a cell raised `error`; return what to say of it."""
        from prune.sweep.prepare import explain_missing

        known = explain_missing(error, self.overrides, cell.config.model) or error
        return self.fail(cell, Failure.of_exception(known, cell.folder() / "run.log"))

    def fail(self, cell: Cell, failure: Failure) -> str:
        """Keep a failure; return what to say of it."""
        self.outcome.held.pop(cell.id, None)
        self.outcome.failures[cell.id] = failure
        return f"{failure.state}: {failure.reason}"

    def hold(self, cell: Cell, holder: str) -> str:
        """Keep that another process has the cell; return what to say of it."""
        self.outcome.held[cell.id] = holder
        return holder


def make_record(cell: Cell, result: dict[str, Any], sweep: str) -> Record:
    """What a tracker is told about a finished cell."""
    return Record(
        cell_id=cell.id,
        name=cell.name,
        group=sweep,
        config=asked_config(cell),
        result=result,
        linears=read_linears(cell.folder()),
        folder=cell.folder(),
    )


def describe_result(result: dict[str, Any]) -> str:
    """The scores of a result in one line."""
    return "  ".join(f"{name} {metric['value']:.4g}" for name, metric in result["metrics"].items())
