"""The sets that a cell reads, as result.json names them: a later reader may not have the user's own sets."""

from typing import Any

from prune.cell.cell import Cell
from prune.config.data import DataSource
from prune.data.dataset import ControlSet, Dataset, MixtureSet, QuestionSet, TextSet
from prune.data.registry import find_dataset, is_known

OWN = "own"
"""The source of a user's own sets."""


def describe_sets(cell: Cell) -> dict[str, dict[str, Any]]:
    """Name -> category and source of the calibration set, under its label, of what a selector compares its rows with, and of
    the sets that scores are measured on."""
    data = cell.config.data
    sets: dict[str, Dataset] = {
        planned.dataset: find_dataset(planned.dataset, data.sets)
        for planned in cell.scores
        if is_known(planned.dataset, data.sets)
    }
    if cell.recipe is not None and cell.axes.calib is not None:
        compared = {
            dataset.name: dataset for dataset, _ in cell.recipe.compared if isinstance(dataset, TextSet | QuestionSet)
        }
        sets = compared | sets | {cell.axes.calib: cell.recipe.kind.dataset}
    described = {
        name: {"category": dataset.category.value, "source": _source(dataset, data.name)} for name, dataset in sets.items()
    }
    if cell.recipe is not None and cell.axes.calib is not None and not cell.recipe.kind.splits:
        described[cell.axes.calib]["source"] = None  # written from BOS alone
    if cell.recipe is not None and cell.axes.calib is not None and cell.recipe.parts:
        sources = {_source(part.kind.dataset, data.name) for part in cell.recipe.parts}
        described[cell.axes.calib]["source"] = data.name.value if data.name.value in sources else None
    return described


def reads_sample(cell: Cell) -> bool:
    """Whether any row of the cell is generated."""
    described = describe_sets(cell)
    of_lm_eval = any(planned.dataset not in described for planned in cell.scores if planned.data)
    from_sample = any(entry["source"] == DataSource.sample.value for entry in described.values())
    return from_sample or (of_lm_eval and cell.config.data.name is DataSource.sample)


def _source(dataset: Dataset, source: DataSource) -> str | None:
    if isinstance(dataset, ControlSet | MixtureSet):
        return None
    return source.value if dataset.own is None else OWN
