"""The report as tables: every number in a tidy file, and rows against metrics for a paper.

In a paper's table a number is the mean over draws with their standard deviation, the best of a group is bold, and a star
says that it differs from the baseline beyond noise (p < 0.05 by Holm over the rows of the group on that metric): in brackets
where one draw leaves the noise of the items only.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from prune.files import write_text, write_whole
from prune.report.format import format_value, row_label, star
from prune.report.model import Report

FORMULA = r"^([=+\-@\t\r])"
"""The beginning of a text that a spreadsheet runs."""


def write_cells(report: Report, folder: Path) -> None:
    """Write cells.csv and cells.parquet, a row for each cell and metric.

    Raises:
        UserError: the disk does not take them.
    """
    table = cells_table(report)
    write_whole(folder / "cells.csv", lambda stream: pyarrow.csv.write_csv(as_text(table), stream))
    write_whole(folder / "cells.parquet", lambda stream: pyarrow.parquet.write_table(table, stream))


def as_text(table: Any) -> Any:
    """The table for a spreadsheet: an apostrophe stands before a text that it would take for a formula."""
    columns = [
        pa.compute.replace_substring_regex(column, FORMULA, r"'\1") if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def cells_table(report: Report) -> Any:
    """The tidy table, a line for each score of a cell; `row` and `group` are indices into the report's."""
    cells, rows, metrics = report.cells, report.rows, report.metrics
    known = [[value is not None for value in column] for column in cells.values]
    cell_P, metric_P = np.nonzero(np.array(known, dtype=bool).reshape(len(metrics), len(cells.id)).T)
    of_cell = partial(_taken, places_P=metric_P * len(cells.id) + cell_P)
    of_row = partial(_taken, places_P=metric_P * len(rows.group) + np.array(cells.row, dtype=np.int64)[cell_P])
    columns: dict[str, Any] = {name: pa.array(values).take(cell_P) for name, values in _cell_columns(report).items()}
    columns |= {
        "metric": pa.array([metric.name for metric in metrics], pa.string()).take(metric_P),
        "kind": pa.array([metric.kind for metric in metrics], pa.string()).take(metric_P),
        "unit": pa.array([metric.unit for metric in metrics], pa.string()).take(metric_P),
        "scale": pa.array([metric.scale for metric in metrics], pa.string()).take(metric_P),
        "dataset": pa.array([metric.dataset for metric in metrics], pa.string()).take(metric_P),
        "dataset_category": pa.array([metric.category for metric in metrics], pa.string()).take(metric_P),
        "higher_is_better": pa.array([metric.higher_is_better for metric in metrics], pa.bool_()).take(metric_P),
        "chance": pa.array([metric.chance for metric in metrics], pa.float64()).take(metric_P),
        "value": of_cell(cells.values, pa.float64()),
        "stderr": of_cell(cells.stderrs, pa.float64()),
        "num_items": of_cell(_num_items(report), pa.int64()),
        "row_mean": of_row([metric.mean for metric in rows.metrics], pa.float64()),
        "row_rank": of_row([metric.rank for metric in rows.metrics], pa.int64()),
    }
    for name in ("to_baseline", "to_dense"):
        compared = [getattr(metric, name) for metric in rows.metrics]
        for field in ("difference", "low", "high", "p"):
            columns[f"row_{name}_{field}"] = of_row([getattr(column, field) for column in compared], pa.float64())
    return pa.table(columns)


def _taken(columns: Sequence[Sequence[Any]], kind: Any, places_P: NDArray[np.int64]) -> Any:
    """The entries at `places_P` of the columns laid one after another, as an array of the `kind`."""
    return pa.array(chain.from_iterable(columns), kind).take(places_P)


def _cell_columns(report: Report) -> dict[str, Any]:
    """The columns that do not depend on the metric."""
    cells, rows = report.cells, report.rows
    calibs = [rows.calib[row] for row in cells.row]
    groups = [report.groups[rows.group[row]] for row in cells.row]
    return {
        "cell": cells.id,
        "name": cells.name,
        "model": [group.model for group in groups],
        "calib": pa.array([None if calib is None else report.calibs[calib].name for calib in calibs], pa.string()),
        "category": pa.array([None if calib is None else report.calibs[calib].category for calib in calibs], pa.string()),
        "prompt": pa.array([rows.prompt[row] for row in cells.row], pa.string()),
        "select": pa.array([rows.select[row] for row in cells.row], pa.string()),
        "weight": pa.array([rows.weight[row] for row in cells.row], pa.string()),
        "method": [group.method for group in groups],
        "sparsity": pa.array([group.sparsity for group in groups], pa.string()),
        "seed": pa.array(cells.seed, pa.int64()),
        "draw": pa.array(cells.draw, pa.int64()),
        "setting": [group.setting for group in groups],
        "knobs": [rows.knobs[row] for row in cells.row],
        "group": [rows.group[row] for row in cells.row],
        "row": cells.row,
        "sparsity_reached": pa.array(cells.sparsity_reached, pa.float64()),
        **{f"seconds_{stage}": pa.array(numbers, pa.float64()) for stage, numbers in cells.seconds.items()},
        "host_mb": pa.array(cells.host_mb, pa.float64()),
        "device_mb": pa.array(cells.device_mb, pa.float64()),
    }


def _num_items(report: Report) -> list[list[int | None]]:
    """[metric][cell]."""
    of_model = {(protocol.metric, protocol.model): protocol.num_items for protocol in report.protocols}
    models = [report.groups[report.rows.group[row]].model for row in report.cells.row]
    return [
        [of_model.get((index, model), metric.num_items) for model in models] for index, metric in enumerate(report.metrics)
    ]


def write_tables(report: Report, folder: Path) -> None:
    """Write tables.md and tables.tex: for each group and kind of metric rows against metrics, the dense row on top.

    Raises:
        UserError: the disk does not take them.
    """
    parts = [(group, kind) for group in range(len(report.groups)) for kind in _kinds(report) if _is_shown(report, group)]
    write_text(folder / "tables.md", "\n".join(_markdown(report, group, kind) for group, kind in parts))
    head = (
        "% \\usepackage{booktabs}; a star: beyond noise against the baseline (p < 0.05, Holm over the rows of a column), "
        "in brackets: beyond that of the items only (one draw)\n"
    )
    write_text(folder / "tables.tex", head + "\n".join(_latex(report, group, kind) for group, kind in parts))


def _kinds(report: Report) -> list[str]:
    return list(dict.fromkeys(metric.kind for metric in report.metrics))


def _is_shown(report: Report, group: int) -> bool:
    """Whether a group has a table: dense rows are in every other table, and have one only where there is nothing else."""
    only_dense = all(other.dense_row in other.rows for other in report.groups)
    return only_dense or report.groups[group].dense_row not in report.groups[group].rows


def _markdown(report: Report, group: int, kind: str) -> str:
    bold: Callable[[str], str] = "**{}**".format
    heads, body = _grid(report, group, kind, bold, " ± ", "\\*")
    lines = [f"### {_escape_markdown(f'{report.groups[group].label}: {kind}')}", ""]
    lines += [f"| {' | '.join(['calibration', *map(_escape_markdown, heads)])} |", f"|{'---|' * (len(heads) + 1)}"]
    rows = [" | ".join([_escape_markdown(line[0]), *line[1:]]) for line in body]
    return "\n".join([*lines, *(f"| {row} |" for row in rows), ""])


def _latex(report: Report, group: int, kind: str) -> str:
    bold: Callable[[str], str] = "\\textbf{{{}}}".format
    heads, body = _grid(report, group, kind, bold, " $\\pm$ ", "$^*$")
    lines = [
        f"% {' '.join(f'{report.groups[group].label}: {kind}'.split())}",
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}",
        "\\toprule",
    ]
    lines.append(" & ".join(["calibration", *map(_escape, heads)]) + " \\\\")
    rows = [" & ".join([_escape(line[0]), *line[1:]]) + " \\\\" for line in body]
    return "\n".join([*lines, "\\midrule", *rows, "\\bottomrule", "\\end{tabular}", ""])


def _escape_markdown(text: str) -> str:
    """Text as one cell of a table, shown literally; an underscore inside a word needs no escape."""
    one_line = " ".join(text.split())
    escaped = re.sub(r"([\\`*|<>\[\]~&#!])", r"\\\1", one_line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def _escape(text: str) -> str:
    """Text as LaTeX prints it, on one line."""
    special = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in " ".join(text.split()))


def _grid(
    report: Report, group: int, kind: str, bold: Callable[[str], str], plus_minus: str, sign: str
) -> tuple[list[str], list[list[str]]]:
    """(the labels of the kind's metrics, a line for each row: its label and its numbers)."""
    metrics = [index for index, metric in enumerate(report.metrics) if metric.kind == kind]
    dense = report.groups[group].dense_row
    rows = [*([] if dense is None else [dense]), *(row for row in report.groups[group].rows if row != dense)]
    body = [
        [row_label(report, row), *(_number(report, row, metric, bold, plus_minus, sign, row == dense) for metric in metrics)]
        for row in rows
    ]
    return [report.metrics[metric].label for metric in metrics], body


def _number(
    report: Report, row: int, metric: int, bold: Callable[[str], str], plus_minus: str, sign: str, is_dense: bool
) -> str:
    columns, decimals = report.rows.metrics[metric], report.metrics[metric].decimals
    mean, sd, compared = columns.mean[row], columns.sd[row], columns.to_baseline
    if mean is None:
        return "-"
    text = format_value(decimals, mean) + ("" if sd is None else plus_minus + format_value(decimals, sd))
    text = bold(text) if columns.rank[row] == 1 and not is_dense else text
    return text + star(compared.p[row], compared.basis[row], sign)
