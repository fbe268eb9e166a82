"""Rows along a knob: the sparsity, the number of calibration samples, their length."""

from collections.abc import Sequence
from typing import Any

from prune.cell.result import CellResult
from prune.config.mixture import are_equal
from prune.report.model import CalibrationSet
from prune.report.model_findings import Curve, Line
from prune.report.results.join import Joined, describe_knobs, is_of_group

SIZE = ("calib.num_samples", "calib.seq_len")
KNOBS = {
    "sparsity": ("sparsity.ratio",),
    "num_samples": SIZE[:1],
    "seq_len": SIZE[1:],
    "tokens": (*SIZE, "calib.real_tokens"),
}
"""Axis of a curve -> the knobs that vary along it. N:M patterns have no ratio and are on no curve."""

Key = tuple[Any, ...]


def find_curves(results: Sequence[CellResult], joined: Joined, calibs: Sequence[CalibrationSet]) -> list[Curve]:
    """The curves that have a line of two points or more, by axis."""
    return [curve for axis in KNOBS for curve in _along(axis, results, joined, calibs)]


def _along(axis: str, results: Sequence[CellResult], joined: Joined, calibs: Sequence[CalibrationSet]) -> list[Curve]:
    lines_of: dict[Key, dict[Key, list[int]]] = {}
    for index, row in enumerate(joined.rows):
        result = results[row.cells[0]]
        if _place(axis, result) is not None:
            lines_of.setdefault(_curve_key(axis, result), {}).setdefault(_line_key(axis, result), []).append(index)
    lines = {
        key: [rows for rows in by_line.values() if _varies(axis, rows, results, joined)] for key, by_line in lines_of.items()
    }
    found = {key: of_curve for key, of_curve in lines.items() if of_curve}
    firsts = [results[joined.rows[lines[0][0]].cells[0]] for lines in found.values()]
    axes = ("model", "method", "reconstruct", *(() if axis == "sparsity" else ("sparsity",)))
    settings = describe_knobs(firsts, axes, lambda key: _is_of_curve(axis, key))
    return [
        _make_curve(axis, first, setting, lines, results, joined, calibs)
        for lines, first, setting in zip(found.values(), firsts, settings, strict=True)
    ]


def _place(axis: str, result: CellResult) -> float | None:
    """A cell's place on the axis; on `tokens` the number of real tokens in its calibration set."""
    if axis == "tokens":
        return result.num_real_tokens
    value = result.knobs.get(KNOBS[axis][0])
    return None if value is None else float(value)


def _varies(axis: str, rows: Sequence[int], results: Sequence[CellResult], joined: Joined) -> bool:
    """Whether rows make a line: two points or more, and along `tokens` several numbers of samples and several lengths."""
    knobs = [results[joined.rows[row].cells[0]].knobs for row in rows]
    several = all(len({of_row.get(key) for of_row in knobs}) > 1 for key in (SIZE if axis == "tokens" else ()))
    return len(rows) > 1 and several


def _is_of_curve(axis: str, key: str) -> bool:
    return key not in KNOBS[axis] and is_of_group(key)


def _curve_key(axis: str, result: CellResult) -> Key:
    own = sorted((key, repr(value)) for key, value in result.knobs.items() if key != "seed" and _is_of_curve(axis, key))
    return (result.dense_cell, *own)


def _line_key(axis: str, result: CellResult) -> Key:
    left_out = (*KNOBS[axis], "calib.seed", "calib.draw", "seed")
    shares = _shares(result) if axis in ("num_samples", "tokens") else {}
    return tuple(sorted((key, repr(value)) for key, value in {**result.knobs, **shares}.items() if key not in left_out))


def _shares(result: CellResult) -> dict[str, Any]:
    """The parts of a mixture as shares, which stay as its size grows: equal ones, or to the percent."""
    counts = {key: value for key, value in result.knobs.items() if key.startswith("calib.parts.")}
    if counts and are_equal(counts.values()):
        return dict.fromkeys(counts, "equal")
    return {key: round(value / sum(counts.values()), 2) for key, value in counts.items()}


def _make_curve(
    axis: str,
    first: CellResult,
    setting: str,
    lines: Sequence[Sequence[int]],
    results: Sequence[CellResult],
    joined: Joined,
    calibs: Sequence[CalibrationSet],
) -> Curve:
    names = [calib.name for calib in calibs]
    return Curve(
        axis=axis,
        model=first.axes["model"],
        method=first.method,
        sparsity=None if axis == "sparsity" else first.axes["sparsity"],
        setting=setting,
        dense_row=joined.groups[joined.rows[lines[0][0]].group].dense_row,
        lines=[_make_line(axis, rows, results, joined, names) for rows in lines],
    )


def _make_line(axis: str, rows: Sequence[int], results: Sequence[CellResult], joined: Joined, names: Sequence[str]) -> Line:
    x_of = {row: _place(axis, results[joined.rows[row].cells[0]]) or 0.0 for row in rows}
    ordered = sorted(rows, key=lambda row: x_of[row])
    row = joined.rows[ordered[0]]
    return Line(
        calib=None if row.calib is None else names.index(row.calib),
        prompt=row.prompt,
        x=[x_of[row] for row in ordered],
        rows=ordered,
    )
