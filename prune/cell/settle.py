"""Whether a cell is finished as its configuration asks, and bringing a finished cell's files up to date."""

from contextlib import suppress
from typing import Any

from prune.cell.assembly import finished_result
from prune.cell.cell import Cell
from prune.cell.folder import CellFolder
from prune.cell.lock import CellHeldError, claim
from prune.cell.state import State, read_status, write_status
from prune.errors import DamagedFileError


def finished(cell: Cell) -> dict[str, Any] | None:
    """The result of a cell that lacks nothing that its configuration asks for, as that asks for it; None for any other.

    Nothing is written.
    """
    return finished_result(cell.files, cell.scores, cell.config.save)


def settle(cell: Cell, result: dict[str, Any]) -> None:
    """Bring a finished cell's files up to date: result.json shows what its configuration asks for, status.json says done.

    Nothing is done where that is so already, or another process works on the cell.
    """
    folder = cell.files
    if folder.find_result() != result or _stated(folder) != State.done.value or _keeps_texts(cell):
        with suppress(CellHeldError), claim(folder.path):
            known = finished(cell)
            if known is not None:
                put_in_order(cell, known)


def put_in_order(cell: Cell, result: dict[str, Any]) -> None:
    """The same under a claim that this process holds; `result` is what result.json is to show."""
    folder = cell.files
    if _keeps_texts(cell):
        folder.drop_texts()
    folder.show_items(cell.scores)
    if folder.find_result() != result:
        folder.write_result(result)
    if _stated(folder) != State.done.value:
        write_status(folder.path, State.done)


def _keeps_texts(cell: Cell) -> bool:
    """Whether an earlier line kept texts of rows, and they are private now."""
    return cell.config.privacy and cell.files.holds_texts()


def _stated(folder: CellFolder) -> str | None:
    """The state that status.json names; None when it names none."""
    try:
        return (read_status(folder.path) or {}).get("state")
    except DamagedFileError:
        return None
