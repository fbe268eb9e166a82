"""What the cells of a sweep need: models, splits, scores."""

from collections.abc import Sequence

from prune.cell.cell import Cell
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import RowSet
from prune.eval.metric import PlannedMetric


def distinct_models(cells: Sequence[Cell]) -> list[ModelConfig]:
    """The models of `cells`, each once."""
    return list({repr(cell.config.model): cell.config.model for cell in cells}.values())


def needed_splits(cell: Cell) -> list[tuple[RowSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[RowSet, str]] = []
    if cell.recipe is not None:
        needed += cell.recipe.kind.splits
    for planned in cell.scores:
        needed += planned.settings.reads(cell.config.data)
    return needed


def distinct_scores(cells: Sequence[Cell]) -> list[tuple[PlannedMetric, DataConfig]]:
    """The scores of `cells` with the source of their rows, each once."""
    found = {
        (planned.settings, repr(cell.config.data)): (planned, cell.config.data) for cell in cells for planned in cell.scores
    }
    return list(found.values())
