"""What the cells of a line cost: seconds by cell and stage, in words and by axis."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prune.calib.set_folder import is_stored
from prune.cell.cell import Cell
from prune.cell.identity import pass_key
from prune.cell.merging import is_merged
from prune.config.model import DType
from prune.models.identity import model_identity
from prune.sweep.cost.rate import Rate, find_rate, stated_rate
from prune.sweep.cost.scoring import Lengths, work_of_scores
from prune.sweep.cost.shape import ModelShape, model_shape
from prune.sweep.cost.work import Work, copying, work_of_pruning, work_of_set

START_S = 5.0
"""Seconds that Python and its libraries take to start, once for a line or a job; not measured."""
CELL_S = 1.0
"""Seconds for a cell's files, its record, and its share of the page; not measured."""
STAGES = ("sets", "pruning", "scores")


@dataclass(frozen=True, slots=True)
class Bill:
    """What cells take."""

    seconds: Mapping[str, Mapping[str, float]]
    """Cell -> stage -> seconds. A calibration set is on the bill of the first cell that needs it."""
    rates: Sequence[Rate]
    unknown: Sequence[str] = ()
    """Cells of models whose configuration does not tell their sizes."""
    uncounted: Sequence[str] = ()
    """Scores of kinds that are not counted."""
    unread: Sequence[str] = ()
    """Sets whose sizes are assumed."""

    def of_cell(self, cell: Cell) -> float:
        """The seconds of a cell."""
        return sum(self.seconds[cell.id].values())


def make_bill(cells: Sequence[Cell], output_dir: Path, tflops: float | None) -> Bill:
    """The bill of cells, at the rate of this machine or of one with `tflops` TFLOP/s."""
    biller = _Biller(output_dir, tflops)
    seconds = {cell.id: took for cell in cells if (took := biller.charge(cell)) is not None}
    unknown = [cell.title for cell in cells if cell.id not in seconds]
    return Bill(seconds, list(biller.rates.values()), unknown, list(biller.uncounted), list(biller.lengths.unread))


class _Biller:
    """Goes through cells in their order; what is on the bill of one is on no later bill."""

    def __init__(self, output_dir: Path, tflops: float | None) -> None:
        self._output_dir, self._tflops = output_dir, tflops
        self._sets, self._passes, self._models = set[str](), set[str](), set[str]()
        self._shapes: dict[str, ModelShape | None] = {}
        self.rates: dict[str, Rate] = {}
        self.lengths = Lengths()
        self.uncounted: dict[str, None] = {}

    def charge(self, cell: Cell) -> dict[str, float] | None:
        """The seconds of a cell by stage; None where they cannot be known."""
        key = cell.model_key
        if key not in self._shapes:
            self._shapes[key] = model_shape(cell.config.model)
        shape = self._shapes[key]
        if shape is None or is_merged(cell):
            return None
        missing = [planned.settings for planned in cell.files.missing_scores(cell.scores)]
        scores, names = work_of_scores(missing, cell.config, shape, self.lengths)
        self.uncounted |= dict.fromkeys(names)
        works = {"sets": self._set(cell, shape), "pruning": self._pruning(cell, shape), "scores": scores}
        rate = self._rate(cell, shape)
        return {stage: work.takes(rate) for stage, work in works.items()}

    def _rate(self, cell: Cell, shape: ModelShape) -> Rate:
        key, config = cell.model_key, cell.config
        if key not in self.rates:
            dtype = DType(model_identity(config.model)["dtype"])
            dtype = DType.float32 if dtype is DType.auto else dtype
            stated = stated_rate(self._tflops) if self._tflops else None
            self.rates[key] = stated or find_rate(self._output_dir, shape, dtype, config.device)
        return self.rates[key]

    def _set(self, cell: Cell, shape: ModelShape) -> Work:
        """The work of a cell's calibration set, unless it is there or an earlier cell makes it."""
        if cell.recipe is None:
            return Work()
        key = cell.recipe.id()
        if key in self._sets or is_stored(cell.recipe, cell.output_dir):
            return Work()
        self._sets.add(key)
        return work_of_set(cell.recipe, shape)

    def _pruning(self, cell: Cell, shape: ModelShape) -> Work:
        """The work of a cell's new weights, and of loading its model where no earlier cell of the line did."""
        key, shared = cell.model_key, pass_key(cell.config)
        loading = Work() if key in self._models else copying(shape, 2) + Work(seconds=0 if self._models else START_S)
        loading += Work(seconds=CELL_S)
        self._models.add(key)
        work = loading + work_of_pruning(cell.config, shape, cell.recipe, passes_again=shared not in self._passes)
        self._passes |= {shared} if shared else set()
        return work


def by_axis(cells: Sequence[Cell], bill: Bill) -> dict[str, dict[str, float]]:
    """Axis -> its value -> the seconds of the cells with it, for the axes that have several values."""
    found: dict[str, dict[str, float]] = {}
    for axis in ("model", "calib", "prompt", "select", "weight", "method", "sparsity", "seed", "draw"):
        values: dict[str, float] = defaultdict(float)
        for cell in cells:
            if cell.id in bill.seconds:
                values[_shown(cell, axis)] += bill.of_cell(cell)
        if len([value for value in values if value != "-"]) > 1:
            found[axis] = dict(values)
    return found


def _shown(cell: Cell, axis: str) -> str:
    value = getattr(cell.axes, axis)
    if value is None and axis in ("select", "weight", "draw") and cell.recipe is not None:
        return {"select": "random", "weight": "none", "draw": "0"}[axis]
    return "-" if value is None else str(value)


def by_stage(bill: Bill) -> dict[str, float]:
    """Stage -> its seconds in all cells."""
    return {stage: sum(stages[stage] for stages in bill.seconds.values()) for stage in STAGES}
