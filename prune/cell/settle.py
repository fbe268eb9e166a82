"""Whether a cell is finished as its configuration asks, and bringing a finished cell's files up to date."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from prune.cell.cell import Cell, plan
from prune.cell.lock import CellHeldError, claim
from prune.cell.results import find_result, finished_result, show_items, write_result
from prune.cell.state import State, read_status, write_status
from prune.errors import DamagedFileError


def finished(cell: Cell) -> dict[str, Any] | None:
    """The result of a cell that lacks nothing that its configuration asks for, as that asks for it; None for any other.

    Nothing is written.
    """
    return finished_result(cell.folder(), plan(cell), cell.config.save)


def settle(cell: Cell, result: dict[str, Any]) -> None:
    """Let the files of a finished cell say so: result.json shows what its configuration asks for, status.json says done.

    Nothing is done where that is so already, or another process works on the cell.
    """
    if not _is_in_order(cell.folder(), result):
        with suppress(CellHeldError), claim(cell.folder()):
            known = finished(cell)
            if known is not None:
                put_in_order(cell, known)


def put_in_order(cell: Cell, result: dict[str, Any]) -> None:
    """The same under a claim that this process holds; `result` is what result.json is to show."""
    folder = cell.folder()
    show_items(folder, plan(cell))
    if find_result(folder) != result:
        write_result(folder, result)
    if _stated(folder) != State.done.value:
        write_status(folder, State.done)


def _is_in_order(folder: Path, result: dict[str, Any]) -> bool:
    return find_result(folder) == result and _stated(folder) == State.done.value


def _stated(folder: Path) -> str | None:
    """The state that status.json names; None when it names none."""
    try:
        return (read_status(folder) or {}).get("state")
    except DamagedFileError:
        return None
