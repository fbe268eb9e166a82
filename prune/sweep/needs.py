"""What the cells of a sweep need: models, splits, scores."""

from collections.abc import Sequence

from prune.cell.cell import Cell, plan
from prune.cell.identity import uses_calibration
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet, RowSet
from prune.data.registry import find_dataset
from prune.eval.metric import PlannedMetric


def distinct_models(cells: Sequence[Cell]) -> list[ModelConfig]:
    """The models of `cells`, each once."""
    return list({repr(cell.config.model): cell.config.model for cell in cells}.values())


def needed_splits(cell: Cell) -> list[tuple[RowSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[RowSet, str]] = []
    if uses_calibration(cell.config):
        calib = find_dataset(cell.config.calib.name)
        if not isinstance(calib, ControlSet):
            needed.append((calib, calib.train_split))
    for planned in plan(cell):
        needed += planned.settings.reads(cell.config.data)
    return needed


def distinct_scores(cells: Sequence[Cell]) -> list[tuple[PlannedMetric, DataConfig]]:
    """The scores of `cells` with the source of their rows, each once."""
    found = {
        (planned.settings, repr(cell.config.data)): (planned, cell.config.data) for cell in cells for planned in plan(cell)
    }
    return list(found.values())
