"""The grid: points as asked for, the distinct cells behind them, and the file that keeps both."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from prune.calib.prompts import check_applicable
from prune.cell import Cell, dense_cell, make_cell, uses_calibration
from prune.config import Config, NMConfig, WandaConfig
from prune.errors import NotApplicableError, UserError
from prune.files import write_text

NOT_GRID = ("launcher", "tracker", "sweep", "output_dir", "device", "batch_size", "hydra")
"""Keys that do not change which cells a line asks for, and so not its sweep's name."""


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One combination of the values on the axes."""

    overrides: tuple[str, ...]
    cell: Cell
    reason: str | None = None
    """Why the point means nothing; None when it does."""

    @classmethod
    def from_composed(cls, composed: DictConfig, overrides: Sequence[str]) -> "GridPoint":
        """The point of a composed configuration.

        Raises:
            UserError: a value, or a pair of values, is impossible.
        """
        config = to_config(composed)
        try:
            check_pairs(config)
        except NotApplicableError as error:
            return cls(tuple(overrides), make_cell(config), str(error))
        return cls(tuple(overrides), make_cell(config))


def to_config(composed: DictConfig) -> Config:
    """The typed configuration of what Hydra composed; below this nobody sees a DictConfig."""
    composed = composed.copy()
    if "hydra" in composed:
        with open_dict(composed):
            del composed["hydra"]
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def check_pairs(config: Config) -> None:
    """Check what no single value shows.

    Raises:
        NotApplicableError: the pair is sound but means nothing, like chain of thought on a set without rationales.
        UserError: the pair is a mistake.
    """
    if isinstance(config.method, WandaConfig) and config.method.variant and isinstance(config.sparsity, NMConfig):
        raise NotApplicableError("method.variant=true needs sparsity=unstructured: it lets rows differ, n:m does not.")
    if uses_calibration(config.method):
        check_applicable(config.calib, config.prompt)


def distinct_cells(points: Sequence[GridPoint]) -> list[Cell]:
    """Each cell of the grid once: the dense cells that they are compared with, then the others in grid order."""
    cells = [point.cell for point in points if point.reason is None]
    dense = {cell.dense_id: dense_cell(cell) for cell in cells}
    return list(({cell.id: cell for cell in dense.values()} | {cell.id: cell for cell in cells}).values())


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


def write_grid(points: Sequence[GridPoint], folder: Path) -> None:
    """Write grid.jsonl: a line per grid point with its overrides, its cell, and why it is not applicable."""
    write_text(folder / "grid.jsonl", "".join(json.dumps(_row(point)) + "\n" for point in points))


def _row(point: GridPoint) -> dict[str, Any]:
    applicable = point.reason is None
    return {
        "overrides": list(point.overrides),
        "cell": point.cell.id if applicable else None,
        "name": point.cell.name,
        "not_applicable": point.reason,
    }
