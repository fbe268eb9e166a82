"""The report in a terminal: the answers, warnings, the best rows, the questions, and the path of the page."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from prune.config.data import SAMPLE_NOTE
from prune.messages.words import count
from prune.report.format import format_p, format_value, row_label, star
from prune.report.model import Comparison, Report, Verdict

MAX_VERDICTS = 30
MAX_WARNINGS = 8

HEADINGS = ("group", "metric", "best", "value", "to baseline", "p", "runner-up", "to it", "p ")
NUMERIC = ("value", "to baseline", "p", "to it", "p ")
LEGEND = (
    "*: beyond noise (p < 0.05; to the baseline by Holm over the group's rows on the metric, to the runner-up unadjusted). "
    "(*): beyond the noise of the scored items only: one draw cannot tell a set from its draw. "
    "◆: calibrated on the set that is measured."
)


def print_summary(console: Console, report: Report, notes: Sequence[str], page: Path) -> None:
    """Print the report's summary, with `notes` on its files; the last line is the path of its page."""
    _print_line(console, f"{report.title}   {count(len(report.cells.id), 'cell')}   baseline {report.baseline or 'none'}")
    for glance in report.glances:
        name = ": ".join(filter(None, (glance.part, glance.model)))
        _print_line(console, f"{name}: {glance.sentence}" if len(report.glances) > 1 else glance.sentence)
        for detail in glance.details:
            _print_line(console, f"  {detail}")
    if report.sample_data:
        _print_line(console, SAMPLE_NOTE)
    for warning in report.warnings[:MAX_WARNINGS]:
        _print_line(console, f"! {warning}")
    if len(report.warnings) > MAX_WARNINGS:
        _print_line(console, f"! {count(len(report.warnings) - MAX_WARNINGS, 'more warning')} on the page.")
    if report.verdicts:
        _print_table(console, report)
        _print_line(console, LEGEND)
    if len(report.verdicts) > MAX_VERDICTS:
        _print_line(console, f"{count(len(report.verdicts) - MAX_VERDICTS, 'more line')} on the page.")
    for question in report.questions:
        _print_line(console, f"{question.title}\n  {question.summary}")
    for note in notes:
        _print_line(console, note)
    _print_line(console, f"Report: {page}")


def _print_line(console: Console, text: str) -> None:
    console.print(Text(text), soft_wrap=True)


def _print_table(console: Console, report: Report) -> None:
    """The table at its natural width: a narrower terminal wraps its lines, a file shows them whole."""
    table = Table(pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in NUMERIC else "left", no_wrap=True)
    group = -1
    for verdict in report.verdicts[:MAX_VERDICTS]:
        label = report.groups[verdict.group].label if verdict.group != group else ""
        group = verdict.group
        table.add_row(label, *_row(report, verdict))
    natural = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    wide = Console(file=console.file, width=max(natural, console.width), force_terminal=console.is_terminal)
    wide.print(table, crop=False)


def _row(report: Report, verdict: Verdict) -> list[str]:
    metric = report.metrics[verdict.metric]
    mean = report.rows.metrics[verdict.metric].mean[verdict.best]
    calib = report.rows.calib[verdict.best]
    own = " ◆" if calib is not None and report.calibs[calib].name == metric.dataset else ""
    best = row_label(report, verdict.best) + own + (f" and {len(verdict.ties)} more" if verdict.ties else "")
    value = "-" if mean is None else format_value(metric.decimals, mean)
    second = None if verdict.ties else verdict.runner_up
    is_baseline = verdict.best == report.groups[verdict.group].baseline_row
    to_baseline = ["is it", ""] if is_baseline else _difference(metric.decimals, verdict.baseline)
    name = "" if second is None else row_label(report, second.row)
    return [metric.name, best, value, *to_baseline, name, *_difference(metric.decimals, second)]


def _difference(decimals: int, comparison: Comparison | None) -> list[str]:
    """`+0.030*` and `0.021`; p is a question mark where the noise is not known."""
    if comparison is None:
        return ["", ""]
    p = "?" if comparison.p is None else format_p(comparison.p)
    return [format_value(decimals, comparison.difference, "+") + star(comparison.p, comparison.basis), p]
