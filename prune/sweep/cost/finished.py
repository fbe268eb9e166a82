"""How long finished cells took that are like those of a line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from prune.cell.cell import Cell, method_label
from prune.cell.folder import CellFolder
from prune.cell.knobs import read_knobs

Kind = tuple[str, str, str | None, str | None]
"""Model, method, and the number and length of the sequences of a calibration set."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished cell."""

    folder: CellFolder
    seconds: float
    on_gpu: bool


@dataclass(frozen=True, slots=True)
class Alike:
    """How long a cell may take, by finished cells of its model, method and size that have its scores."""

    seconds: float
    gpu_seconds: float
    """The part of it on GPUs."""
    cells: frozenset[str]
    """The folders of these cells."""


def alike(cells: Sequence[Cell], output_dir: Path) -> dict[str, Alike]:
    """Cell -> what finished cells like it took, for the cells that have such."""
    finished = find_finished(output_dir) if cells else {}
    found: dict[str, Alike] = {}
    known: dict[str, Alike | None] = {}
    for cell in cells:
        kind = _kind_of(cell)
        key = repr((kind, [planned.asked for planned in cell.scores]))
        if key not in known:
            known[key] = _mean([each for each in finished.get(kind, ()) if not each.folder.missing_scores(cell.scores)])
        if (took := known[key]) is not None:
            found[cell.id] = took
    return found


def _mean(cells: Sequence[Finished]) -> Alike | None:
    if not cells:
        return None
    on_gpu = mean(each.seconds * each.on_gpu for each in cells)
    return Alike(mean(each.seconds for each in cells), on_gpu, frozenset(str(each.folder.path) for each in cells))


def _kind_of(cell: Cell) -> Kind:
    sizes = () if cell.recipe is None else (cell.recipe.calib.num_samples, cell.recipe.calib.seq_len)
    first, second = map(str, sizes) if sizes else (None, None)
    return cell.axes.model, method_label(cell.axes.method, cell.axes.reconstruct), first, second


def find_finished(output_dir: Path) -> dict[Kind, list[Finished]]:
    """The finished cells in a folder, by their kinds; what cannot be read is left out."""
    found: dict[Kind, list[Finished]] = {}
    for path in sorted((output_dir / "cells").glob("*/result.json")):
        folder = CellFolder(path.parent)
        try:
            result, knobs = folder.find_result() or {}, read_knobs(folder.config)
            seconds, on_gpu = float(result["seconds"]["total"]), result["provenance"]["device"].startswith("cuda")
            sizes = [
                None if (size := knobs.get(f"calib.{key}")) is None else str(size) for key in ("num_samples", "seq_len")
            ]
            axes = result["axes"]
            kind = (axes["model"], method_label(axes["method"], axes.get("reconstruct")), sizes[0], sizes[1])
        except (KeyError, TypeError, AttributeError, ValueError):  # damaged
            continue
        found.setdefault(kind, []).append(Finished(folder, seconds, on_gpu))
    return found
