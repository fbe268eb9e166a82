"""A cell: its canonical form and id, its folder and status.

Two grid points whose canonical forms are equal are one cell. The form keeps what can change the pruned model, files by their
content, and drops the rest: names, evaluation settings, tracker, launcher, device and batch sizes. Each score of a cell has
an identity of its own, of its settings and its rows.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from prune.calib.recipe import Recipe
from prune.cell.folder import CellFolder
from prune.cell.identity import canonical_form, recipe_of, short_hash
from prune.cell.merged import find_parents, merged_label
from prune.config.config import Config
from prune.config.content import looked_up, one_look
from prune.config.drop import DropConfig
from prune.config.merge import MergeConfig
from prune.config.sparsity import Allocation, NMConfig, SparsityConfig, UnstructuredConfig
from prune.errors import UserError
from prune.eval.metric import PlannedMetric
from prune.eval.plan import plan_metrics
from prune.pruning.methods.dense import DenseConfig


@dataclass(frozen=True, slots=True)
class Axes:
    """A cell's place on the axes; None where an axis does not matter to it."""

    model: str
    calib: str | None
    prompt: str | None
    method: str
    sparsity: str | None
    seed: int | None
    select: str | None = None
    """None for random, too."""
    weight: str | None = None
    """None for none, too."""
    draw: int | None = None
    """None for the first, too."""
    reconstruct: str | None = None
    """None for none, too."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One pruned model (or the dense one), identified by its canonical form."""

    id: str
    axes: Axes
    canonical: dict[str, Any]
    config: Config
    dense_id: str
    scores: tuple[PlannedMetric, ...]
    """What the configuration asks for, with the rows as they were when the cell was made."""
    recipe: Recipe | None
    """The calibration set that pruning looks at; None where it looks at none."""
    apart: str = ""
    """The overrides that tell it from a cell of the same name in its line: `calib.num_samples=8`."""

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned model."""
        return self.id == self.dense_id

    @property
    def name(self) -> str:
        """`tiny/gsm8k-icl/wanda/50%/s0`, without the parts that do not matter or are at their default."""
        axes = self.axes
        calib = "-".join(part for part in (axes.calib, axes.prompt, axes.select, axes.weight) if part)
        seed = None if axes.seed is None else f"s{axes.seed}" + (f"d{axes.draw}" if axes.draw else "")
        method = method_label(axes.method, axes.reconstruct)
        return "/".join(part for part in (axes.model, calib, method, axes.sparsity, seed) if part)

    @property
    def title(self) -> str:
        """Its name, and what tells it from others of that name in its line."""
        return f"{self.name} {self.apart}".rstrip()

    @property
    def output_dir(self) -> Path:
        """outputs."""
        return Path(self.config.output_dir)

    @property
    def model_key(self) -> str:
        """Equal for cells that one loaded model serves: the same weights and tokenizer, held in the same place."""
        model = self.config.model
        return repr((self.canonical["model"], model.offload, model.device_map, self.config.device))

    def folder(self) -> Path:
        """outputs/cells/<id>."""
        return self.output_dir / "cells" / self.id

    @property
    def files(self) -> CellFolder:
        """The files in the folder."""
        return CellFolder(self.folder())


def method_label(method: str, reconstruct: str | None) -> str:
    """`wanda`, or `wanda+block` where the kept weights are refitted."""
    return f"{method}+{reconstruct}" if reconstruct else method


def describe_sparsity(config: SparsityConfig) -> str:
    """`50%`, `2:4`, `50%-owl`, `50%-mapped` where single linears have ratios of their own, or `10%-blocks`."""
    if isinstance(config, DropConfig):
        return f"{config.amount}-{config.parts}"
    if isinstance(config, UnstructuredConfig):
        allocated = "" if config.allocation is Allocation.uniform else f"-{config.allocation.value}"
        how = "-mapped" if config.ratios else allocated
        return f"{100 * config.ratio:g}%{how}"
    assert isinstance(config, NMConfig)
    return f"{config.n}:{config.m}"


def make_cell(config: Config) -> Cell:
    """The cell of a configuration, with its files as they are at this moment.

    Raises:
        UserError: a score that is asked for does not exist, or a file that counts cannot be read.
    """
    form = canonical_form(config)
    dense = form if isinstance(config.method, DenseConfig) else canonical_form(replace(config, method=DenseConfig()))
    asked = ("scores", repr(config.eval), repr(config.data))
    scores = looked_up(asked, lambda: tuple(plan_metrics(config.eval, config.data)))
    recipe = recipe_of(config)
    return Cell(short_hash(form), _axes(config, form, recipe), form, config, short_hash(dense), scores, recipe)


def check_unchanged(cell: Cell) -> None:
    """Make sure that the files behind a cell have not changed since it was made.

    Raises:
        UserError: one has changed since.
    """
    with one_look():
        again = make_cell(cell.config)
    if again.id == cell.id and [score.asked for score in again.scores] == [score.asked for score in cell.scores]:
        return
    raise UserError(
        f"{cell.name}: files of its model or rows have changed since this line began, so its results would be stored under "
        "the id of the old content. Run the same line again; it keeps what the change does not affect."
    )


def dense_cell(cell: Cell) -> Cell:
    """The unpruned model that `cell` is compared with."""
    return make_cell(replace(cell.config, method=DenseConfig(), merge=MergeConfig()))


def _axes(config: Config, form: dict[str, Any], recipe: Recipe | None) -> Axes:
    calib = form.get("calib")
    shown = recipe.calib.shown_name if recipe is not None else None
    if config.merge.cells and calib:
        shown = merged_label(find_parents(config))
    return Axes(
        model=config.model.name,
        calib=shown if calib else None,
        prompt=calib and calib.get("prompt") and config.prompt.name.value,
        method=_method(config),
        sparsity=describe_sparsity(config.sparsity) if "sparsity" in form else None,
        seed=config.calib.seed if calib or "seed" in form else None,
        select=config.select.name if calib and "select" in calib else None,
        weight=config.weight.name if "weight" in form else None,
        draw=calib and calib.get("draw"),
        reconstruct=config.reconstruct.name if "reconstruct" in form else None,
    )


def _method(config: Config) -> str:
    """The method's name, or what chooses the parts that are dropped."""
    if isinstance(config.sparsity, DropConfig) and not isinstance(config.method, DenseConfig):
        return config.sparsity.chooser
    return config.method.name


def asked_config(cell: Cell) -> dict[str, Any]:
    """The configuration as it was asked for, as plain nested values."""
    asked = OmegaConf.to_container(OmegaConf.structured(cell.config), enum_to_str=True)
    assert isinstance(asked, dict)
    return {str(key): value for key, value in asked.items()}
