"""The grid: points as asked for, the distinct cells behind them, and the file that keeps both."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prune.calib.recipe import Recipe
from prune.cell.cell import Cell, dense_cell, make_cell
from prune.cell.identity import looks_at_inputs, pass_key, recipe_of
from prune.cell.lock import claim_when_free
from prune.cell.standing import Standing
from prune.cell.state import State
from prune.config.calib import Compat, PromptStyle
from prune.config.config import Config, Save
from prune.config.drop import DropConfig, ExpertsConfig
from prune.config.sparsity import NMConfig
from prune.errors import NotApplicableError, UserError
from prune.files import write_text
from prune.models.attention import hidden_attention
from prune.models.chat import check_chat_template
from prune.models.fetch import settings_here
from prune.models.files import too_long, window_of
from prune.pruning.methods.dense import DenseConfig
from prune.pruning.methods.wanda import WandaConfig
from prune.pruning.registry import needs_attention

NOT_GRID = ("launcher", "tracker", "sweep", "output_dir", "device", "save", "batch_size", "privacy", "table", "hydra")
"""Keys that do not change which cells a line asks for, and so not its sweep's name."""


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One combination of the values on the axes."""

    overrides: tuple[str, ...]
    cell: Cell
    reason: str | None = None
    """Why the point means nothing; None when it does."""

    @classmethod
    def of_config(cls, config: Config, overrides: Sequence[str]) -> "GridPoint":
        """The point of a configuration.

        Raises:
            UserError: a pair of values is impossible.
        """
        try:
            check_pairs(config)
        except NotApplicableError as error:
            return cls(tuple(overrides), make_cell(config), str(error))
        return cls(tuple(overrides), make_cell(config))


def check_pairs(config: Config) -> None:
    """Check what no single value shows.

    Raises:
        NotApplicableError: the pair is sound but means nothing, like chain of thought on a set without rationales.
        UserError: the pair is a mistake.
    """
    drops = isinstance(config.sparsity, DropConfig) and not isinstance(config.method, DenseConfig)
    if drops:
        check_drop(config)
    if isinstance(config.method, WandaConfig) and config.method.variant and isinstance(config.sparsity, NMConfig):
        raise NotApplicableError(
            "method.variant=true needs sparsity=unstructured: it lets rows differ in sparsity, and n:m does not."
        )
    if recipe := recipe_of(config):
        check_recipe(recipe)
        if not drops:
            check_weight(config)
    if config.eval.chat and config.eval.tasks:
        check_chat_template(config.model, "eval.chat=true")


def check_drop(config: Config) -> None:
    """Check that nothing is asked of dropped parts that applies to single weights only.

    Raises:
        NotApplicableError: it is.
    """
    name, method = config.sparsity.name, config.method
    if method.targets != ["*"] or method.skip:
        key = "method.skip" if method.skip else "method.targets"
        raise NotApplicableError(
            f"{key} names linears, but sparsity={name} drops whole {name} and prunes no linear. Leave it out; "
            "sparsity.keep_first and sparsity.keep_last keep blocks at the ends."
        )
    if isinstance(config.sparsity, ExpertsConfig) and config.model.offload:
        raise NotApplicableError(
            "sparsity=experts holds all experts of a model and a copy of the kept ones, and model.offload=true has no room "
            "for both. "
            "Leave model.offload out, or spread the model over GPUs (model.device_map=auto)."
        )
    if config.save is Save.mask:
        raise NotApplicableError(
            f"save=mask keeps one bit per weight, but sparsity={name} leaves a smaller model. Give save=model to keep it; "
            f"result.json names the dropped {name} in any case."
        )


def check_recipe(recipe: Recipe) -> None:
    """Check what the configuration and the tokenizer's files show of a calibration set.

    Raises:
        NotApplicableError: the set, its prompt and the model mean nothing together.
        UserError: they are a mistake.
    """
    kind, real_tokens = recipe.kind, recipe.calib.real_tokens
    kind.check()
    window, seq_len = window_of(settings_here(recipe.model)), recipe.calib.seq_len
    if window is not None and window < seq_len != recipe.model.seq_len:  # model.seq_len is checked by itself
        raise NotApplicableError(too_long(recipe.model.name, seq_len, window, "calib.seq_len"))
    if kind.prompt is not None and kind.prompt.name is PromptStyle.chat:
        check_chat_template(recipe.model, "prompt=chat")
    if real_tokens is not None and recipe.calib.compat is not Compat.study:
        raise NotApplicableError(
            f"calib.real_tokens={real_tokens} needs calib.compat=study, where padding counts. Elsewhere padding does not "
            f"count, and calib.seq_len={real_tokens} gives the same set."
        )


def check_weight(config: Config) -> None:
    """Check that the token weights can be known on this model, as far as its config.json shows.

    Raises:
        NotApplicableError: they look at attention, and the model's cannot be seen.
    """
    if (
        looks_at_inputs(config)
        and needs_attention(config.weight)
        and (reason := hidden_attention(settings_here(config.model)))
    ):
        raise NotApplicableError(
            f"weight={config.weight.name} needs the attention in each block, and that of model {config.model.name} cannot "
            f"be seen: {reason}. Choose a weight that needs none, such as weight=activation_norm."
        )


def distinct_cells(points: Sequence[GridPoint]) -> list[Cell]:
    """Each cell of the grid once: the dense cells that they are compared with, then the others in grid order.

    Cells that can share a pass over the dense model follow the first of them.
    """
    cells = [point.cell for point in points if point.reason is None]
    dense = {cell.dense_id: dense_cell(cell) for cell in cells}
    of_points: dict[str, Cell] = {}
    for cell in cells:
        of_points.setdefault(cell.id, cell)
    distinct = ({cell.id: cell for cell in dense.values()} | of_points).values()
    sharing: dict[str, list[Cell]] = {}
    for cell in distinct:
        sharing.setdefault(pass_key(cell.config) or cell.id, []).append(cell)
    return [cell for several in sharing.values() for cell in several]


def told_apart(cells: Sequence[Cell], points: Sequence[GridPoint]) -> list[Cell]:
    """The cells, those of one name each with the overrides of its first point that not all of that name share.

    Of a dense cell the overrides of the model count.
    """
    asked: dict[str, Sequence[str]] = {}
    for point in points:
        asked.setdefault(point.cell.id, point.overrides)
        asked.setdefault(point.cell.dense_id, [one for one in point.overrides if is_of_model(one.partition("=")[0])])
    shared: dict[str, set[str]] = {}
    for cell in cells:
        own = set(asked.get(cell.id, ()))
        shared[cell.name] = shared.get(cell.name, own) & own
    differing = [_kept(set(asked.get(cell.id, ())) - shared[cell.name]) for cell in cells]
    return [replace(cell, apart=" ".join(kept)) for cell, kept in zip(cells, differing, strict=True)]


def is_of_model(key: str) -> bool:
    """Whether an override's key is one of the model: model, model.dtype."""
    return key.lstrip("+~").partition(".")[0] == "model"


def sweep_name(config: Config, overrides: Sequence[str]) -> str:
    """The sweep's name: the one given, or one made of the overrides, so that the same line is the same sweep."""
    if config.sweep.name is not None:
        return check_name(config.sweep.name)
    kept = _kept(overrides)
    digest = hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:8]
    slug = re.sub(r"[^A-Za-z0-9=,.-]+", "-", "_".join(kept)).strip("-")[:60] or "default"
    return f"{slug}-{digest}"


def check_name(name: str) -> str:
    """Return `name` if it can be a folder's name, else raise UserError."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9=,._-]{0,119}", name):
        raise UserError(
            f"sweep.name={name!r} is not possible: it takes at most 120 letters, digits and =,._-, and begins with a "
            "letter or digit."
        )
    return name


def write_grid(
    points: Sequence[GridPoint], folder: Path, standings: Mapping[str, Standing], *, is_plan: bool = False
) -> str | None:
    """Add the points to grid.jsonl; return what is damaged there, and so lost, or None.

    A line per grid point, with its overrides, its cell, that one's state and scores, or why it means nothing. The points of
    other lines under the same sweep.name stay, so that a grid can be extended; points that were only planned do not.

    Args:
        standings: those of the cells by their id; a cell that is not in it is still to do.
        is_plan: whether nothing of it will run.
    """
    path = folder / "grid.jsonl"
    scores: dict[str, list[str]] = {}
    own = [_row(point, standings, scores) for point in points]  # before the folder is made: a wrong line leaves nothing
    with claim_when_free(folder, timeout_s=60):
        earlier, damage = read_grid(path)
        rows = {_key(row): row for row in earlier if not row.get("is_plan")}
        for row in own:
            rows[_key(row)] = row | ({"is_plan": True} if is_plan and _key(row) not in rows else {})
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows.values()))
    return damage


def read_grid(path: Path) -> tuple[list[dict[str, Any]], str | None]:
    """(the rows of a grid.jsonl, what is damaged there or None); no rows where there is no such file."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return [], None
    rows: list[dict[str, Any]] = []
    damaged: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if _is_row(row):
            rows.append(row)
        else:
            damaged.append(str(number))
    if not damaged:
        return rows, None
    which = f"line {damaged[0]}" if len(damaged) == 1 else f"{len(damaged)} of {len(lines)} lines"
    return rows, f"{path} is damaged ({which}): points are missing. Run the sweep's lines again; what is finished is kept."


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        return False
    cells, lists = (row.get("cell"), row.get("dense_cell")), (row.get("overrides", []), row.get("scores", []))
    has_cells = cells == (None, None) or all(isinstance(cell, str) and cell for cell in cells)
    return has_cells and all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists)


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes a point the same in a later line: the overrides that can change its cell or its scores."""
    return tuple(_kept(row.get("overrides", ()))) or (row["name"],)


def _kept(overrides: Iterable[str]) -> list[str]:
    """The overrides that say which cells are asked for, sorted."""
    return sorted(override for override in overrides if re.split(r"[.=]", override.lstrip("+~"))[0] not in NOT_GRID)


def _row(point: GridPoint, standings: Mapping[str, Standing], scores: dict[str, list[str]]) -> dict[str, Any]:
    """A point's line; `scores` keeps the names of the score files for the points that ask for the same."""
    cell, applicable = point.cell, point.reason is None
    asked = repr((cell.config.eval, cell.config.data, cell.config.model)) if applicable else ""
    if asked and asked not in scores:
        scores[asked] = [cell.files.score(planned).name for planned in cell.scores]
    state = standings[cell.id].state if cell.id in standings else State.todo
    return {
        "overrides": list(point.overrides),
        "cell": cell.id if applicable else None,
        "dense_cell": cell.dense_id if applicable else None,
        "name": cell.name,
        "apart": cell.apart,
        "calib": cell.axes.calib,
        "state": state.value if applicable else None,
        "scores": scores.get(asked, []),
        "not_applicable": point.reason,
    }
