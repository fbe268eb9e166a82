"""Figures for a paper, each as PNG and SVG: heat maps of a group, curves along the sparsity, errors by block.

Colours are those of Okabe and Ito, and of the map PuOr, which differ without red and green too. Lines also differ in their
markers, and heat maps print every number.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from prune.files import write_bytes, write_text
from prune.report.format import format_value, row_label, star
from prune.report.model import Report
from prune.report.model_findings import Curve
from prune.report.numbers import Array, Numbers

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
MAX_NUMBERS = 1000
"""In all heat maps together; a report on hundreds of groups draws the first ones."""
MAX_CURVE_LINES = 300
"""In all panels of all curves together."""
MAX_BLOCK_FIGURES = 4
MAX_LINES = 12
"""In a panel."""
MAX_ROWS = 40
DPI = 200


def write_figures(report: Report, folder: Path) -> list[str]:
    """Write the figures into `folder` and return notes on those left out.

    Raises:
        UserError: the disk does not take them.
    """
    sorts = _sorts(report)
    with rc_context({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "prune"}):
        for sort in sorts:
            for place, index in enumerate(sort.drawn):
                _save(sort.draw(report, index), folder / f"{sort.name}-{place + 1}-{_slug(report, sort.name, index)}")
    return [
        f"Drawn: {len(sort.drawn)} of {len(sort.indices)} {sort.name} figures."
        for sort in sorts
        if len(sort.indices) > len(sort.drawn)
    ]


@dataclass(frozen=True, slots=True)
class _Sort:
    """Figures of one sort, by index."""

    name: str
    draw: Callable[[Report, int], Figure]
    indices: Sequence[int]
    sizes: Sequence[int]
    """The work of drawing each: its numbers, panels or lines."""
    budget: int

    @property
    def drawn(self) -> Sequence[int]:
        """The first figures within the budget, at least one."""
        fitting = sum(total <= self.budget for total in accumulate(self.sizes))
        return self.indices[: max(1, fitting)]


def _sorts(report: Report) -> list[_Sort]:
    compared = [index for index, group in enumerate(report.groups) if len(group.rows) > 1]
    numbers = [min(MAX_ROWS, len(report.groups[index].rows)) * len(report.metrics) for index in compared]
    curves = [index for index, curve in enumerate(report.curves) if curve.axis == "sparsity"]
    lines = [min(MAX_LINES, len(report.curves[index].lines)) * len(report.metrics) for index in curves]
    with_blocks = list(dict.fromkeys(report.rows.group[blocks.row] for blocks in report.blocks))
    return [
        _Sort("heatmap", draw_heatmap, compared, numbers, MAX_NUMBERS),
        _Sort("sparsity", draw_curve, curves, lines, MAX_CURVE_LINES),
        _Sort("blocks", draw_blocks, with_blocks, [1] * len(with_blocks), MAX_BLOCK_FIGURES),
    ]


def _slug(report: Report, sort: str, index: int) -> str:
    """A figure's subject as part of a file's name: `tiny-wanda-50`."""
    curve = report.curves[index] if sort == "sparsity" else None
    label = f"{curve.model} {curve.method} {curve.setting}" if curve else report.groups[index].label
    return re.sub(r"[^A-Za-z0-9]+", "-", label).strip("-").lower()[:60]


def _save(figure: Figure, path: Path) -> None:
    """Write PNG and SVG; the first drawing finds the layout of both. (savefig would draw twice as often.)"""
    figure.set_dpi(DPI)
    png, svg = io.BytesIO(), io.StringIO()
    FigureCanvasAgg(figure).print_png(png)
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})
    write_bytes(path.with_name(f"{path.name}.png"), png.getvalue())
    write_text(path.with_name(f"{path.name}.svg"), svg.getvalue())


def draw_heatmap(report: Report, group: int) -> Figure:
    """Rows against metrics of a group: the value, its colour the difference to the baseline (without one: to the mean).

    Orange is worse and violet better, relative to the largest difference of the metric. A star: beyond noise, in brackets
    beyond that of the items only. A frame: the metric's set is the calibration set.
    """
    rows = list(report.groups[group].rows)[:MAX_ROWS]
    metrics = range(len(report.metrics))
    shades_RM = np.array([shades(report, group, rows, metric) for metric in metrics]).T
    figure = Figure(figsize=(1.8 + 0.75 * len(metrics), 1.3 + 0.24 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shades_RM, cmap="PuOr", vmin=-2, vmax=2, aspect="auto")  # the paler half: numbers stay readable
    axes.set_xticks(list(metrics), [metric.name for metric in report.metrics], rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [row_label(report, row) for row in rows])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for place, row in enumerate(rows):
        for metric in metrics:
            _mark(axes, report, row, metric, place)
    axes.set_title(f"{report.groups[group].label}, against {report.baseline or 'the mean'}", loc="left")
    return figure


def shades(report: Report, group: int, rows: Sequence[int], metric: int) -> Array:
    """-1 (worst) to 1 (best) for each row: the difference to the baseline by the largest of the metric; 0 where unknown."""
    values = np.array([report.rows.metrics[metric].mean[row] for row in rows], dtype=np.float64)
    baseline = report.groups[group].baseline_row
    centre = np.nanmean(values) if baseline not in rows else values[rows.index(baseline)]
    sign = 1 if report.metrics[metric].higher_is_better else -1
    differences = np.nan_to_num(sign * (values - centre))
    largest = float(np.max(np.abs(differences)))
    relative: Array = differences / largest if largest else differences
    return relative


def _mark(axes: Axes, report: Report, row: int, metric: int, place: int) -> None:
    columns, calib = report.rows.metrics[metric], report.rows.calib[row]
    mean, compared = columns.mean[row], columns.to_baseline
    sign = star(compared.p[row], compared.basis[row])
    text = "-" if mean is None else format_value(report.metrics[metric].decimals, mean) + sign
    weight = "bold" if columns.rank[row] == 1 else "normal"
    axes.text(metric, place, text, ha="center", va="center", weight=weight, in_layout=False)
    if calib is not None and report.calibs[calib].name == report.metrics[metric].dataset:
        axes.add_patch(Rectangle((metric - 0.48, place - 0.46), 0.96, 0.92, fill=False, linewidth=1.2, in_layout=False))


def draw_curve(report: Report, index: int) -> Figure:
    """Every metric along a curve's axis: a line for each calibration set and prompt; bands are t intervals of draws."""
    curve, num = report.curves[index], len(report.metrics)
    num_columns = min(4, num)
    num_rows = math.ceil(num / num_columns)
    figure = Figure(figsize=(2.3 * num_columns, 1.9 * num_rows + 0.5), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten().tolist()
    for panel in panels[num:]:
        panel.set_visible(False)
    for metric, panel in enumerate(panels[:num]):
        _draw_lines(panel, report, curve, metric)
    figure.supxlabel(curve.axis)
    figure.suptitle(" ".join(part for part in (curve.model, curve.method, curve.setting) if part))
    _legend(figure)
    return figure


def _draw_lines(axes: Axes, report: Report, curve: Curve, metric: int) -> None:
    columns = report.rows.metrics[metric]
    styles = list(zip(curve.lines[:MAX_LINES], cycle(OKABE_ITO), cycle(MARKERS)))
    for line, colour, marker in styles:
        mean = _along(columns.mean, line.rows)
        axes.plot(line.x, mean, color=colour, marker=marker, markersize=3, label=row_label(report, line.rows[0]))
    _dense_line(axes, columns.mean, curve.dense_row)
    if report.metrics[metric].scale == "log":
        _log_scale(axes)
    limits = axes.get_ylim()
    for line, colour, _ in styles:
        low, high = _along(columns.low, line.rows), _along(columns.high, line.rows)
        if not np.isnan(low).all():
            axes.fill_between(line.x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(limits)  # the t interval of two draws can be wider than all lines together
    axes.set_title(report.metrics[metric].name)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _log_scale(axes: Axes) -> None:
    """Logarithmic y with three ticks in plain numbers, even where it spans no power of ten."""
    low, high = axes.dataLim.intervaly
    axes.set_yscale("log")
    axes.minorticks_off()
    ticks = np.geomspace(low, high, 3) if low < high else [low]
    axes.set_yticks(ticks, [f"{tick:.3g}" for tick in ticks])


def _along(numbers: Numbers, rows: Sequence[int]) -> Array:
    return np.array([numbers[row] for row in rows], dtype=np.float64)


def _dense_line(axes: Axes, means: Numbers, dense_row: int | None) -> None:
    mean = None if dense_row is None else means[dense_row]
    if mean is not None:
        axes.axhline(mean, color="0.4", linestyle=":", linewidth=1, label="dense")


def draw_blocks(report: Report, group: int) -> Figure:
    """The relative error of every block, a line for each row of a group."""
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.add_subplot()
    curves = [blocks for blocks in report.blocks if report.rows.group[blocks.row] == group]
    for blocks, colour, marker in zip(curves[:MAX_LINES], cycle(OKABE_ITO), cycle(MARKERS)):
        errors = np.array(blocks.error, dtype=np.float64)
        axes.plot(range(len(errors)), errors, color=colour, marker=marker, markersize=3, label=row_label(report, blocks.row))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("block")
    axes.set_ylabel("relative squared output error")
    axes.set_title(report.groups[group].label, loc="left")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """One legend for all panels, to the right of them."""
    labelled = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if labelled:
        figure.legend(labelled.values(), labelled.keys(), loc="outside right upper", frameon=False)
