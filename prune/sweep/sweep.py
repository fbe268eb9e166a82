"""A sweep: the grid points of one line and the distinct cells behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune.cell.cell import Cell
from prune.cell.standing import Standing
from prune.config.config import Config
from prune.errors import UserError
from prune.messages.cli import report
from prune.sweep.grid import GridPoint, distinct_cells, sweep_name, told_apart, write_grid


@dataclass(frozen=True, slots=True)
class Sweep:
    """One command line: its grid points and the distinct cells behind them."""

    name: str
    points: Sequence[GridPoint]
    cells: Sequence[Cell]
    overrides: Sequence[str]
    config: Config
    """Of the first point; what a line has once, like its launcher, is the same in all."""

    @property
    def output_dir(self) -> Path:
        """Where cells, calibration sets and sweeps are kept."""
        return Path(self.config.output_dir)

    @property
    def folder(self) -> Path:
        """outputs/sweeps/<name>."""
        return self.output_dir / "sweeps" / self.name

    def write_grid(self, standings: Mapping[str, Standing], *, is_plan: bool = False) -> None:
        """Add the points of the line to grid.jsonl; see `grid.write_grid`."""
        damage = write_grid(self.points, self.folder, standings, is_plan=is_plan)
        if damage is not None:
            report(damage)


def make_sweep(points: Sequence[GridPoint], overrides: Sequence[str]) -> Sweep:
    """The sweep of a line.

    Raises:
        UserError: no point means anything, or something is varied that a line has once.
    """
    if all(point.reason is not None for point in points):
        raise UserError("\n".join(dict.fromkeys(point.reason or "" for point in points)))
    config = points[0].cell.config
    for key in ("launcher", "tracker", "sweep", "output_dir", "privacy", "table"):
        values = [getattr(point.cell.config, key) for point in points]
        if any(value != values[0] for value in values):
            raise UserError(
                f"{key} cannot take several values in one line: all cells of a line share it. Run a line for each."
            )
    cells = told_apart(distinct_cells(points), points)
    apart = {cell.id: cell.apart for cell in cells}
    named = [replace(point, cell=replace(point.cell, apart=apart.get(point.cell.id, ""))) for point in points]
    return Sweep(sweep_name(config, overrides), named, cells, overrides, config)
