"""What a line would do: its points and cells, where each stands, and how long the rest may take."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from prune.cell.cell import Cell
from prune.cell.model_sets import describe_set, is_model_made, is_stored
from prune.cell.standing import Standing
from prune.cell.state import State
from prune.config.launcher import require
from prune.messages.words import count
from prune.models.identity import is_known
from prune.sweep.cost.words import describe
from prune.sweep.launcher import Launcher
from prune.sweep.launchers.slurm.config import DryLauncherConfig
from prune.sweep.launchers.slurm.memory import memory_notes
from prune.sweep.needs import is_id_known, unknown_hubs
from prune.sweep.output.table import not_applicable_lines
from prune.sweep.preflight import check_local_models
from prune.sweep.sweep import Sweep


@dataclass(kw_only=True, slots=True)
class PlanLauncherConfig(DryLauncherConfig):
    """The grid is shown and nothing runs."""

    name: str = "plan"
    tflops: float | None = None
    """TFLOP/s that the machine which will run the cells reaches in a model's matrix products. None: the rate of this
    machine, measured for two seconds where no finished cells show the times."""

    def __post_init__(self) -> None:
        DryLauncherConfig.__post_init__(self)  # slots leave super() without its class
        require("launcher.tflops", self.tflops, self.tflops is None or 0 < self.tflops < math.inf, "a number above 0")


class PlanLauncher(Launcher):
    """Shows the grid."""

    config = PlanLauncherConfig

    def launch(self, sweep: Sweep, standings: Mapping[str, Standing], console: Console) -> None:
        """Check what local files show, and print the grid."""
        check_local_models(sweep.cells)
        sweep.write_grid(standings, is_plan=True)
        print_plan(console, sweep, standings)


LAUNCHER = PlanLauncher()

MAX_ROWS = 60
"""Cells that are listed; grid.jsonl has all."""

OPEN_STATES = (State.todo, State.failed)
"""What the next launch would run."""


def print_plan(console: Console, sweep: Sweep, standings: Mapping[str, Standing]) -> None:
    """Print the grid of a sweep; nothing runs."""
    say: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}
    distinct = [cell for cell in sweep.cells if not cell.is_dense]
    num_void = sum(point.reason is not None for point in sweep.points)
    console.print(f"sweep {sweep.name}", **say)
    dense = len(sweep.cells) - len(distinct)
    asked = f"{count(len(sweep.points), 'grid point')}, {count(len(distinct), 'distinct pruned cell')}"
    console.print(f"{asked}, {dense} dense.", **say)
    console.print(f"{count_states(sweep.cells, standings)}   not applicable {num_void}", **say)
    console.print(_table(sweep.cells, standings))
    if len(sweep.cells) > MAX_ROWS:
        console.print(f"... and {len(sweep.cells) - MAX_ROWS} more.", **say)
    open_cells = [cell for cell in sweep.cells if standings[cell.id].state in OPEN_STATES]
    notes = [*unknown_ids(sweep.cells), *job_notes(open_cells, sweep), *not_applicable_lines(sweep.points)]
    notes += sets_of_model(sweep.cells)
    for line in [*notes, *describe_cost(open_cells, sweep), f"Nothing was run. All points: {sweep.folder}/grid.jsonl"]:
        console.print(line, **say)


def sets_of_model(cells: Sequence[Cell]) -> list[str]:
    """A line for each calibration set that the dense model makes: which, whether it is there, how many cells wait for it."""
    waiting = Counter(describe_set(cell) for cell in cells if is_model_made(cell))
    stored = {describe_set(cell): is_stored(cell) for cell in cells if is_model_made(cell)}
    return [
        f"{name[0].upper()}{name[1:]} is {'there, made' if stored[name] else 'to be made once'} by the model; "
        f"cells that {'use' if stored[name] else 'wait for'} it: {count}."
        for name, count in waiting.items()
    ]


def unknown_ids(cells: Sequence[Cell]) -> list[str]:
    """The line on cells whose models or rows are not in the hub's local cache: their commits are part of the ids."""
    unknown = [cell for cell in cells if not is_id_known(cell)]
    if not unknown:
        return []
    models = [str(cell.config.model.path) for cell in unknown if not is_known(cell.config.model)]
    named = dict.fromkeys([*models, *(hub.path for cell in unknown for hub in unknown_hubs(cell))])
    return [
        f"Not in the hub's local cache: {', '.join(named)}. The ids of their cells will be known after launcher=prepare."
    ]


def job_notes(cells: Sequence[Cell], sweep: Sweep) -> list[str]:
    """What launcher=slurm would say of the memory of the jobs of `cells`."""
    launcher = sweep.config.launcher
    assert isinstance(launcher, PlanLauncherConfig), launcher
    return [f"With launcher=slurm: {note}" for note in memory_notes(cells, launcher)]


def count_states(cells: Sequence[Cell], standings: Mapping[str, Standing]) -> str:
    """`done 2   running 0   pending 0   failed 1   to do 3`."""
    counts = Counter(standings[cell.id].state for cell in cells)
    order = (State.done, State.running, State.pending, State.failed, State.todo)
    return "   ".join(f"{'to do' if state is State.todo else state.value} {counts[state]}" for state in order)


def describe_cost(cells: Sequence[Cell], sweep: Sweep) -> list[str]:
    """The lines on how long cells may take, by what finished cells took and by what the others compute."""
    launcher = sweep.config.launcher
    assert isinstance(launcher, PlanLauncherConfig), launcher
    return describe(cells, sweep.output_dir, launcher.tflops, launcher.num_workers or len(launcher.gpus) or 1)


def _table(cells: Sequence[Cell], standings: Mapping[str, Standing]) -> Table:
    table = Table(pad_edge=False)
    for heading in ("cell", "name", "state", ""):
        table.add_column(heading, no_wrap=heading in ("cell", "state"), overflow="fold")
    for cell in cells[:MAX_ROWS]:
        standing = standings[cell.id]
        state = "to do" if standing.state is State.todo else standing.state.value
        cell_id = cell.id if is_id_known(cell) else "after prepare"
        table.add_row(cell_id, cell.title, state, _remark(standing))
    return table


def _remark(standing: Standing) -> str:
    if standing.held is not None:
        return standing.held.describe()
    if standing.failure is not None:
        return f"{standing.failure.state}: {standing.failure.reason}"
    return f"job {standing.job.id} {standing.job.reason}" if standing.state is State.pending and standing.job else ""
