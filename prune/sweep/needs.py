"""What the cells of a sweep read: splits, lm-eval's tasks, models."""

from collections.abc import Sequence

from prune.cell.cell import Cell
from prune.cell.identity import uses_calibration
from prune.config.data import DataSource
from prune.config.model import ModelConfig
from prune.data.dataset import ControlSet, QuestionSet, TextSet
from prune.data.registry import find_dataset
from prune.eval.harness.index import Definition, read_definition
from prune.eval.harness.rows import needed_places
from prune.eval.harness.settings import HarnessSettings


def distinct_models(cells: Sequence[Cell]) -> list[ModelConfig]:
    """The models of `cells`, each once."""
    return list({repr(cell.config.model): cell.config.model for cell in cells}.values())


def needed_splits(cell: Cell) -> list[tuple[TextSet | QuestionSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[TextSet | QuestionSet, str]] = []
    if uses_calibration(cell.config):
        calib = find_dataset(cell.config.calib.name)
        if not isinstance(calib, ControlSet):
            needed.append((calib, calib.train_split))
    for planned in cell.scores:
        if isinstance(planned.settings, HarnessSettings):
            if cell.config.data.name is not DataSource.hub:
                places = needed_places(read_definition(planned.settings.task), planned.settings.num_fewshot)
                needed += [(place.dataset, place.split) for place in places]
            continue
        dataset = find_dataset(planned.dataset)
        assert not isinstance(dataset, ControlSet) and dataset.eval_split is not None, "the plan checks this"
        needed.append((dataset, dataset.eval_split))
        if isinstance(dataset, QuestionSet):
            needed.append((dataset, dataset.train_split))
    return needed


def hub_tasks(cell: Cell) -> list[Definition]:
    """The tasks of lm-eval that a cell is scored on with rows that lm-eval loads from the hub itself."""
    if cell.config.data.name is not DataSource.hub:
        return []
    settings = [planned.settings for planned in cell.scores]
    return [read_definition(each.task) for each in settings if isinstance(each, HarnessSettings)]
