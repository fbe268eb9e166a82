"""What is checked before a sweep's first cell: model files, windows, rows, and whether outputs can be written."""

from collections.abc import Sequence
from pathlib import Path

from prune.cell import Cell, uses_calibration
from prune.config import Config, DataSource, DenseConfig, ModelConfig, UnstructuredConfig
from prune.data import find_dataset
from prune.data.dataset import ControlSet, QuestionSet, TextSet
from prune.errors import UserError
from prune.eval.harness_data import needed_places, read_hub
from prune.eval.harness_index import Definition, read_definition
from prune.eval.harness_plan import HarnessSettings
from prune.files import disk_errors
from prune.model_files import check_model, check_seq_len
from prune.run import plan
from prune.workshop import Workshop


def check_before_running(cells: Sequence[Cell], workshop: Workshop) -> None:
    """Check what can be known before anything is loaded or written: model files, windows, and that all rows are there.

    Raises:
        UserError: the first mistake found.
    """
    for model in distinct_models(cells):
        check_model(model)
    for cell in cells:
        config = cell.config
        check_seq_len(config.model, config.eval.seq_len, "eval.seq_len")
        if uses_calibration(config):
            check_seq_len(config.model, config.calib.seq_len, "calib.seq_len")
        for dataset, split in needed_splits(cell):
            workshop.source(config.data).rows(dataset, split)
    for definition in {each.task: each for cell in cells for each in hub_tasks(cell)}.values():
        read_hub(definition)
    _check_names([cell for cell in cells if names_linears(cell.config)])


def names_linears(config: Config) -> bool:
    """Whether patterns of names say which linears are pruned, or how much."""
    if isinstance(config.method, DenseConfig):
        return False
    has_ratios = isinstance(config.sparsity, UnstructuredConfig) and bool(config.sparsity.ratios)
    return has_ratios or config.method.targets != ["*"] or bool(config.method.skip)


def _check_names(cells: Sequence[Cell]) -> None:
    """Check patterns of names against the linears of each model; nothing is imported for that where there are none."""
    if not cells:
        return
    from prune.allocation import check_names
    from prune.models import linear_names

    for model in distinct_models(cells):
        names = linear_names(model)
        for cell in cells:
            if names is not None and cell.config.model == model:
                check_names(names, cell.config.method, cell.config.sparsity)


def distinct_models(cells: Sequence[Cell]) -> list[ModelConfig]:
    """The models of `cells`, each once."""
    return list({repr(cell.config.model): cell.config.model for cell in cells}.values())


def check_in_cache(cells: Sequence[Cell], overrides: Sequence[str]) -> None:
    """Check that models from the hub are here whole, for cells that run without a network.

    Raises:
        UserError: the first that is not, with the line that fetches it.
    """
    from prune.hub_models import missing_files
    from prune.sweep.prepare import prepare_line

    for model in distinct_models(cells):
        if lacking := missing_files(model):
            advice = f"The cells look in the cache only. This line fetches it: {prepare_line(overrides)}"
            raise UserError(f"{lacking}\n{advice}")


def needed_splits(cell: Cell) -> list[tuple[TextSet | QuestionSet, str]]:
    """The splits that a cell reads: of its calibration set, and of the sets that it is scored on."""
    needed: list[tuple[TextSet | QuestionSet, str]] = []
    if uses_calibration(cell.config):
        calib = find_dataset(cell.config.calib.name)
        if not isinstance(calib, ControlSet):
            needed.append((calib, calib.train_split))
    for planned in plan(cell):
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
    settings = [planned.settings for planned in plan(cell)]
    return [read_definition(each.task) for each in settings if isinstance(each, HarnessSettings)]


def check_writable(output_dir: Path) -> None:
    """Raise UserError unless files can be made in `output_dir`."""
    probe = output_dir / ".writable"
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
