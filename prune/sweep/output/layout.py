"""How a table of scores is laid out: a row per entry, or where that is too wide a row per metric, in blocks of entries."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

GAP = "  "
"""Between a score and its differences on one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model: its labels, and for each metric the texts that are shown, its score first."""

    labels: list[str]
    scores: list[list[str]]
    styles: Sequence[str] = ()
    """Of each metric's score, as rich names them; empty: plain."""

    def style(self, metric: int) -> str:
        """That of one score."""
        return self.styles[metric] if self.styles else ""


def lay_out(
    headings: Sequence[str], metrics: Sequence[str], entries: Sequence[Entry], limit: int
) -> tuple[list[Table], bool]:
    """(the tables, whether metrics are their rows); no wider than `limit` columns unless a single entry is.

    Args:
        headings: what the labels of the entries are.
    """
    upright = _upright(headings, metrics, entries)
    if natural_width(upright) <= limit or not metrics:
        return [upright], False
    tables: list[Table] = []
    first = 0
    while first < len(entries):
        last = first + 1
        while last < len(entries) and natural_width(_turned(metrics, entries[first : last + 1])) <= limit:
            last += 1
        tables.append(_turned(metrics, entries[first:last]))
        first = last
    return tables, True


def natural_width(table: Table) -> int:
    """The columns of a terminal that the table takes when nothing is cut."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table).maximum


def _upright(headings: Sequence[str], metrics: Sequence[str], entries: Sequence[Entry]) -> Table:
    table = Table(show_lines=any(len(texts) > 1 for entry in entries for texts in entry.scores), pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for name in metrics:
        table.add_column(name.replace("/", "\n"), justify="right", no_wrap=True)
    for entry in entries:
        scores = (Text("\n".join(texts), entry.style(metric)) for metric, texts in enumerate(entry.scores))
        table.add_row(*map(Text, entry.labels), *scores)
    return table


def _turned(metrics: Sequence[str], entries: Sequence[Entry]) -> Table:
    """A row per metric, with a rule between kinds of metric; a score and its differences stand on one line."""
    table = Table(pad_edge=False)
    table.add_column("", no_wrap=True)
    for entry in entries:
        table.add_column("\n".join(label for label in entry.labels if label), justify="right", no_wrap=True)
    columns = [_align(entry.scores) for entry in entries]
    kind = metrics[0].partition("/")[0]
    for number, name in enumerate(metrics):
        if name.partition("/")[0] != kind:
            table.add_section()
            kind = name.partition("/")[0]
        shown = (Text(column[number], entry.style(number)) for column, entry in zip(columns, entries, strict=True))
        table.add_row(name, *shown)
    return table


def _align(scores: Sequence[Sequence[str]]) -> list[str]:
    """One line for each metric; what is a column of its own in meaning is one on the screen."""
    num_parts = max(len(texts) for texts in scores)
    widths = [max((len(texts[part]) for texts in scores if len(texts) > part), default=0) for part in range(num_parts)]
    return [
        GAP.join(text.rjust(width) for text, width in zip(_fill(texts, num_parts), widths, strict=True)) for texts in scores
    ]


def _fill(texts: Sequence[str], number: int) -> list[str]:
    return [*texts, *[""] * (number - len(texts))]
