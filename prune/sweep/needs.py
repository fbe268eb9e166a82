"""What the cells of a sweep need: models, splits, repositories of rows, scores."""

from collections.abc import Sequence

from prune.cell.cell import Cell
from prune.config.data import DataConfig
from prune.config.model import ModelConfig
from prune.data.dataset import Hub, RowSet
from prune.data.identity import repositories
from prune.data.sources.commits import not_fetched
from prune.eval.metric import PlannedMetric
from prune.models.identity import is_known


def distinct_models(cells: Sequence[Cell]) -> list[ModelConfig]:
    """The models of `cells`, each once."""
    return list({repr(cell.config.model): cell.config.model for cell in cells}.values())


def needed_splits(cell: Cell) -> list[tuple[RowSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[RowSet, str]] = []
    if cell.recipe is not None:
        needed += cell.recipe.splits
    for planned in cell.scores:
        needed += planned.settings.reads(cell.config.data)
    return needed


def unknown_hubs(cell: Cell) -> list[Hub]:
    """The repositories of a cell's rows whose commits, a part of its identity or of its scores', the local cache lacks."""
    hubs = [hub for dataset, _ in needed_splits(cell) for hub in repositories(dataset, cell.config.data)]
    return not_fetched([*hubs, *(hub for planned in cell.scores for hub in planned.hubs)])


def is_id_known(cell: Cell) -> bool:
    """Whether all is here that the cell's id is made of."""
    splits = cell.recipe.splits if cell.recipe is not None else []
    hubs = [hub for dataset, _ in splits for hub in repositories(dataset, cell.config.data)]
    return is_known(cell.config.model) and not not_fetched(hubs)


def distinct_scores(cells: Sequence[Cell]) -> list[tuple[PlannedMetric, DataConfig]]:
    """The scores of `cells` with the source of their rows, each once."""
    found = {
        (planned.settings, repr(cell.config.data)): (planned, cell.config.data) for cell in cells for planned in cell.scores
    }
    return list(found.values())
