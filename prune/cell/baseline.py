"""The cell that others are compared with: it differs from them only in being calibrated on C4."""

from dataclasses import replace

from prune.cell.cell import Cell, make_cell
from prune.config.own import OwnSetConfig, own_fields

BASELINE = "c4"
"""The calibration set that everyone uses."""


def baseline_cell(cell: Cell) -> Cell | None:
    """The cell that differs from `cell` only in being calibrated on C4; None where the method looks at no calibration data.

    The report finds the same cell by its group: the one with this set and the seed of `cell` (prune/report/results/join.py).
    """
    if cell.axes.calib is None:
        return None
    calib = replace(cell.config.calib, **own_fields(OwnSetConfig()), name=BASELINE)
    return make_cell(replace(cell.config, calib=calib))
