"""What is checked before a sweep's first cell: model files, windows, rows, and whether outputs can be written."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from prune.cell.cell import Cell
from prune.cell.identity import uses_calibration
from prune.cell.resources import Resources
from prune.config.config import Config
from prune.config.drop import BlocksConfig, DropConfig, ExpertsConfig
from prune.config.sparsity import NMConfig, UnstructuredConfig
from prune.data.sources.commits import not_fetched
from prune.data.sources.source import Source
from prune.errors import UserError
from prune.files import disk_errors
from prune.models.checks import has_experts, num_layers
from prune.models.fetch import missing_files
from prune.models.files import check_model, check_seq_len, local_folder, model_linears, model_settings
from prune.models.load import built_linears
from prune.models.zeros import linear_zeros
from prune.pruning.block_search import allowed_blocks
from prune.pruning.linear_checks import check_against, check_names, check_zeros
from prune.pruning.methods.dense import DenseConfig
from prune.sweep.missing import prepare_line
from prune.sweep.needs import distinct_models, distinct_scores, needed_splits, unknown_hubs


def check_before_running(cells: Sequence[Cell], resources: Resources) -> None:
    """Check what can be known before anything is loaded or written: model files, windows, and that all rows are there.

    Raises:
        UserError: the first mistake found.
    """
    for model in distinct_models(cells):
        check_model(model)
    check_linears(cells)
    for cell in cells:
        config = cell.config
        check_seq_len(config.model, config.eval.seq_len, "eval.seq_len")
        if uses_calibration(config):
            check_seq_len(config.model, config.calib.seq_len, "calib.seq_len")
        for dataset, split in needed_splits(cell):
            resources.source(config.data).rows(dataset, split)
        check_rows(cell, resources.source(config.data))
    for planned, data in distinct_scores(cells):
        planned.settings.check_rows(resources.source(data))


def names_linears(config: Config) -> bool:
    """Whether patterns of names say which linears are pruned, or how much."""
    if isinstance(config.method, DenseConfig) or isinstance(config.sparsity, DropConfig):
        return False
    has_ratios = isinstance(config.sparsity, UnstructuredConfig) and bool(config.sparsity.ratios)
    return has_ratios or config.method.targets != ["*"] or bool(config.method.skip)


def check_local_models(cells: Sequence[Cell]) -> None:
    """Check what the configuration and the headers of models in folders show; nothing is fetched, and no rows are read.

    Raises:
        UserError: the first mistake found.
    """
    local = [cell for cell in cells if local_folder(cell.config.model) is not None]
    for model in distinct_models(local):
        check_model(model)
    check_linears(local, builds=False)


def check_linears(cells: Sequence[Cell], *, builds: bool = True) -> None:
    """Check names of linears, n:m and ratios against the linears of each model, and their zeros, as its files show them.

    Where they do not, the model is built without weights: for n:m, whose groups a width may not fit, and with `builds` also
    for the names that a line gives.

    Raises:
        UserError: the first mistake found.
    """
    pruned = [cell for cell in cells if not isinstance(cell.config.method, DenseConfig)]
    for cell in pruned:
        check_parts(cell.config)
    pruned = [cell for cell in pruned if not isinstance(cell.config.sparsity, DropConfig)]
    for model in distinct_models(pruned):
        shapes = model_linears(model)
        own = [cell.config for cell in pruned if cell.config.model == model]
        if shapes is not None:
            for config in own:
                check_against(shapes, config)
            if (zeros := linear_zeros(model)) is not None:
                for config in own:
                    check_zeros(zeros, shapes, config)
            continue
        asking = [config for config in own if has_groups(config) or (builds and names_linears(config))]
        built = built_linears(model) if asking else None
        for config in asking if built else ():
            if has_groups(config):
                check_against(built or {}, config)
            else:
                check_names(list(built or {}), config.method, config.sparsity)


def check_parts(config: Config) -> None:
    """Check the parts to drop against config.json, where there is one.

    Raises:
        UserError: the model has too few blocks, or no experts.
    """
    if not isinstance(config.sparsity, DropConfig) or config.model.gguf_file is not None:
        return
    settings = model_settings(config.model)
    if isinstance(config.sparsity, BlocksConfig) and (num_blocks := num_layers(settings)):
        allowed_blocks(num_blocks, config.sparsity)
    if isinstance(config.sparsity, ExpertsConfig) and not has_experts(settings):
        raise UserError(
            f"sparsity=experts: model {config.model.name} is not a mixture of experts according to its config.json. Give "
            "one that is, or "
            "drop whole blocks, as in sparsity=blocks."
        )


def has_groups(config: Config) -> bool:
    """Whether linears are pruned n of each m consecutive inputs."""
    return isinstance(config.sparsity, NMConfig)


def check_rows(cell: Cell, source: Source) -> None:
    """Check that the rows can give what a cell's calibration asks of them: rationales with the asked number of steps.

    Raises:
        UserError: they cannot.
    """
    if cell.recipe is not None:
        cell.recipe.kind.check(source, cell.config.data)


def check_in_cache(cells: Sequence[Cell], overrides: Sequence[str]) -> None:
    """Check that models from the hub are here whole, and rows met, for cells that run without a network.

    Raises:
        UserError: the first that is not, with the line that fetches it.
    """
    advice = f"The cells look only in the cache. This line fetches it: {prepare_line(overrides)}"
    for model in distinct_models(cells):
        if lacking := missing_files(model):
            raise UserError(f"{lacking}\n{advice}")
    for hub in not_fetched(hub for cell in cells for hub in unknown_hubs(cell)):
        raise UserError(f"{hub.path} at {hub.revision}: nothing of these rows is in the hub's local cache.\n{advice}")


def check_writable(output_dir: Path) -> None:
    """Raise UserError unless files can be made in `output_dir`."""
    with disk_errors(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_dir):
            pass
