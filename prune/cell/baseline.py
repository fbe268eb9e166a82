"""The cell that others are compared with: it differs from them only in being calibrated on C4."""

from dataclasses import replace

from prune.cell.cell import Cell, make_cell
from prune.config.calib import CalibConfig
from prune.config.merge import MergeConfig
from prune.config.select import SelectConfig
from prune.config.weight import WeightConfig

BASELINE = "c4"
"""The calibration set that everyone uses."""
SHARED = ("num_samples", "seq_len", "seed", "draw", "compat")
"""Knobs of the calibration that a cell and its baseline have in common."""


def baseline_cell(cell: Cell) -> Cell | None:
    """The cell that differs from `cell` only in being calibrated on plain C4; None where the method needs no such data.

    Plain means C4 without a selector, token weights, or any other knob of single sets.

    The report finds the same cell by its group: the one with this set and the seed of `cell` (prune/report/results/join.py).
    """
    if cell.axes.calib is None:
        return None
    calib = cell.config.calib
    plain = CalibConfig(name=BASELINE, **{key: getattr(calib, key) for key in SHARED})
    return make_cell(replace(cell.config, calib=plain, select=SelectConfig(), weight=WeightConfig(), merge=MergeConfig()))
