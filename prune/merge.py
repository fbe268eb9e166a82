"""`python -m prune.merge CELL CELL ...`: averages pruned cells, prunes the average back, and scores it like any cell.

The line that the first cell came from is run again with `merge.cells` set: same model, method, sparsity and scores.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from prune.config.merge import Back
from prune.errors import UserError
from prune.main import main as run_line
from prune.messages.cli import leave_on_error
from prune.sweep.grid import read_grid

NOT_TAKEN = ("output_dir", "merge", "save", "launcher", "sweep")
"""Keys of the first cell's line that do not hold for the merged cell."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for; end with 2 after wrong use."""
    asked = _parse(arguments)
    with leave_on_error():
        sys.argv = ["prune.merge", *line_of(asked)]
    run_line()


def line_of(asked: argparse.Namespace) -> list[str]:
    """The line that runs the merged cell.

    Raises:
        UserError: the first cell is in no sweep of the folder.
    """
    cells = [Path(cell).name for cell in asked.cells]
    taken = [word for word in _overrides(Path(asked.output_dir), cells[0]) if _group(word) not in NOT_TAKEN]
    weights = [] if asked.weights is None else [f"merge.weights=[{','.join(map(str, asked.weights))}]"]
    merge = [f"merge.cells=[{','.join(cells)}]", *weights, f"merge.back={asked.back}"]
    return [*taken, f"output_dir={asked.output_dir}", *merge, *asked.overrides]


def _group(word: str) -> str:
    return re.split(r"[.=]", word.lstrip("+~"))[0]


def _overrides(output_dir: Path, cell: str) -> list[str]:
    """Those of a grid point whose cell it is."""
    for path in sorted((output_dir / "sweeps").glob("*/grid.jsonl")):
        rows, _ = read_grid(path)
        for row in rows:
            if row["cell"] == cell:
                return list(row["overrides"])
    raise UserError(
        f"No sweep in {output_dir}/sweeps has a cell {cell}. Give ids of finished cells, the names of the folders in "
        f"{output_dir}/cells, and the folder with --output-dir."
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m prune.merge",
        description="Average cells that were pruned on several calibration sets, and prune the average back.",
        epilog="Further words are overrides as of prune.main: eval.tasks=[gsm8k] tracker=none",
    )
    parser.add_argument("cells", nargs="+", metavar="CELL", help="id of a finished cell that kept its weights")
    parser.add_argument("--weights", nargs="+", type=float, metavar="W", help="what each cell counts; the sum is 1")
    parser.add_argument(
        "--back",
        choices=[back.name for back in Back],
        default=Back.magnitude.name,
        help="the method that prunes the average back",
    )
    parser.add_argument("--output-dir", default="outputs", help="the folder of the cells, and of the merged one")
    asked = parser.parse_args(arguments)
    asked.overrides = [word for word in asked.cells if "=" in word]
    asked.cells = [word for word in asked.cells if "=" not in word]
    return asked


if __name__ == "__main__":
    main()
