"""What is checked before a sweep's first cell: model files, windows, rows, and whether outputs can be written."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from prune.cell.cell import Cell
from prune.cell.identity import uses_calibration
from prune.cell.resources import Workshop
from prune.config.config import Config
from prune.config.sparsity import UnstructuredConfig
from prune.errors import UserError
from prune.eval.harness.rows import read_hub
from prune.files import disk_errors
from prune.models.files import check_model, check_seq_len
from prune.pruning.methods.dense import DenseConfig
from prune.sweep.needs import distinct_models, hub_tasks, needed_splits


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
    from prune.models.load import linear_names
    from prune.pruning.allocation import check_names

    for model in distinct_models(cells):
        names = linear_names(model)
        for cell in cells:
            if names is not None and cell.config.model == model:
                check_names(names, cell.config.method, cell.config.sparsity)


def check_in_cache(cells: Sequence[Cell], overrides: Sequence[str]) -> None:
    """Check that models from the hub are here whole, for cells that run without a network.

    Raises:
        UserError: the first that is not, with the line that fetches it.
    """
    from prune.models.fetch import missing_files
    from prune.sweep.missing import prepare_line

    for model in distinct_models(cells):
        if lacking := missing_files(model):
            advice = f"The cells look in the cache only. This line fetches it: {prepare_line(overrides)}"
            raise UserError(f"{lacking}\n{advice}")


def check_writable(output_dir: Path) -> None:
    """Raise UserError unless files can be made in `output_dir`."""
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
