"""The grid: points as asked for, the distinct cells behind them, and the file that keeps both."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune.calib.prompts import check_applicable
from prune.cell.cell import Cell, dense_cell, make_cell
from prune.cell.identity import pass_key, uses_calibration
from prune.cell.state import State
from prune.config.config import Config
from prune.config.sparsity import NMConfig
from prune.errors import NotApplicableError, UserError
from prune.files import write_text
from prune.pruning.methods.wanda import WandaConfig

if TYPE_CHECKING:
    from prune.cell.state import Standing

NOT_GRID = ("launcher", "tracker", "sweep", "output_dir", "device", "save", "batch_size", "hydra")
"""Keys that do not change which cells a line asks for, and so not its sweep's name."""


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One combination of the values on the axes."""

    overrides: tuple[str, ...]
    cell: Cell
    reason: str | None = None
    """Why the point means nothing; None when it does."""

    @classmethod
    def of_config(cls, config: Config, overrides: Sequence[str]) -> "GridPoint":
        """The point of a configuration.

        Raises:
            UserError: a pair of values is impossible.
        """
        try:
            check_pairs(config)
        except NotApplicableError as error:
            return cls(tuple(overrides), make_cell(config), str(error))
        return cls(tuple(overrides), make_cell(config))


def check_pairs(config: Config) -> None:
    """Check what no single value shows.

    Raises:
        NotApplicableError: the pair is sound but means nothing, like chain of thought on a set without rationales.
        UserError: the pair is a mistake.
    """
    if isinstance(config.method, WandaConfig) and config.method.variant and isinstance(config.sparsity, NMConfig):
        raise NotApplicableError("method.variant=true needs sparsity=unstructured: it lets rows differ, n:m does not.")
    if uses_calibration(config):
        check_applicable(config.calib, config.prompt)


def distinct_cells(points: Sequence[GridPoint]) -> list[Cell]:
    """Each cell of the grid once: the dense cells that they are compared with, then the others in grid order.

    Cells that can share a pass over the dense model follow the first of them.
    """
    cells = [point.cell for point in points if point.reason is None]
    dense = {cell.dense_id: dense_cell(cell) for cell in cells}
    distinct = ({cell.id: cell for cell in dense.values()} | {cell.id: cell for cell in cells}).values()
    sharing: dict[str, list[Cell]] = {}
    for cell in distinct:
        sharing.setdefault(pass_key(cell.config) or cell.id, []).append(cell)
    return [cell for several in sharing.values() for cell in several]


def sweep_name(config: Config, overrides: Sequence[str]) -> str:
    """The sweep's name: the one given, or one made of the overrides, so that the same line is the same sweep."""
    if config.sweep.name is not None:
        return check_name(config.sweep.name)
    kept = sorted(override for override in overrides if re.split(r"[.=]", override.lstrip("+~"))[0] not in NOT_GRID)
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:8]
    slug = re.sub(r"[^A-Za-z0-9=,.-]+", "-", "_".join(kept)).strip("-")[:60] or "default"
    return f"{slug}-{digest}"


def check_name(name: str) -> str:
    """Return `name` if it can be a folder's name, else raise UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9=,._-]{0,119}", name):
        raise UserError(
            f"sweep.name={name!r} is not possible: letters, digits and =,._- only, at most 120, the first a letter or digit."
        )
    return name


def write_grid(points: Sequence[GridPoint], folder: Path, standings: "Mapping[str, Standing]") -> None:
    """Write grid.jsonl: a line per grid point with its overrides, its cell and that one's state, or why it means nothing.

    `standings` holds the cells' by their id; a cell that is not in it is still to do.
    """
    write_text(folder / "grid.jsonl", "".join(json.dumps(_row(point, standings)) + "\n" for point in points))


def _row(point: GridPoint, standings: "Mapping[str, Standing]") -> dict[str, Any]:
    applicable = point.reason is None
    state = standings[point.cell.id].state if point.cell.id in standings else State.todo
    return {
        "overrides": list(point.overrides),
        "cell": point.cell.id if applicable else None,
        "dense_cell": point.cell.dense_id if applicable else None,
        "name": point.cell.name,
        "state": state.value if applicable else None,
        "not_applicable": point.reason,
    }
