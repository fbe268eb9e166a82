"""A program: runs a cell again and again, each time in a folder of its own, killed before its k-th change of a file.

    python -m tests.cell.killed_cell FOLDER OVERRIDES...

For k = 0, 1, 2, ... it prints a line of JSON: what the process was about to do, how it ended, and what the cell has after it
was run again. The last line is the first run that came to its end. Processes are forked from one that has run such a cell:
libraries, rows and the model are loaded once. A hook of the interpreter sees every change of a file, whoever makes it.
"""

import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from prune.cell.cell import Cell, make_cell
from prune.cell.resources import Resources
from prune.cell.run import run_cell
from prune.config.folders import CONFIG_DIR
from prune.files import write_json
from prune.sweep.compose import to_config
from prune.sweep.schemas import register_schemas

CHANGES = {"os.link", "os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "shutil.rmtree"}
NO_POOL = 75
"""How a forked process ends in which PyTorch has lost its thread pool, as happens after a fork: it is tried again."""
KEPT = ("weights_sha256", "sparsity", "linears", "metrics", "calib", "warnings")


class Silent:
    """A watcher that says nothing."""

    def stage(self, name: str) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass


def kill_at(folder: Path, kth: int, note: Path) -> None:
    """Let this process kill itself before its k-th change of a file below `folder`, and write to `note` what that was."""
    changes = itertools.count()

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in CHANGES) or not isinstance(arguments[0], str | os.PathLike):
            return
        path = Path(arguments[0]).absolute()
        changes_nothing = event != "open" and path.exists() is (event == "os.mkdir")
        if path.is_relative_to(folder) and not changes_nothing and next(changes) == kth:
            note.write_text(f"{event} {path.relative_to(folder)}")
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked process that does `work`, negative when a signal ended it."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            traceback.print_exc()
            os._exit(NO_POOL if "Invalid thread pool" in str(error) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def cell_of(overrides: Sequence[str], place: Path) -> Cell:
    """The cell of a line whose outputs lie in `place`."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return make_cell(to_config(compose("config", overrides=[*overrides, f"output_dir={place}/outputs"])))


def main(folder: Path, overrides: Sequence[str]) -> None:
    """Print a line for each k."""
    torch.set_num_threads(1)  # threads do not survive a fork
    register_schemas()
    resources, first = Resources(), cell_of(overrides, folder / "first")
    run_cell(first, Resources(), Silent())
    resources.dense_model(first.config.model, "cpu")
    tries = itertools.count()
    kth = 0
    while True:
        place = folder / str(next(tries))
        place.mkdir()
        cell, note, kept = cell_of(overrides, place), place / "note", place / "kept.json"

        def killed(cell: Cell = cell, kth: int = kth, note: Path = note) -> None:
            kill_at(note.parent / "outputs", kth, note)
            run_cell(cell, resources, Silent())

        def again(cell: Cell = cell, kept: Path = kept) -> None:
            result = run_cell(cell, resources, Silent())
            write_json(kept, {key: result[key] for key in KEPT})

        said = {"at": None, "ended": in_child(killed), "again": in_child(again)}
        if NO_POOL in (said["ended"], said["again"]):
            continue
        kth += 1
        said["at"] = note.read_text() if note.exists() else None
        said["kept"] = json.loads(kept.read_text()) if kept.exists() else None
        said["left"] = sorted(str(path.relative_to(place)) for path in (place / "outputs").rglob("*") if path.is_file())
        print(json.dumps(said), flush=True)
        if said["at"] is None:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
