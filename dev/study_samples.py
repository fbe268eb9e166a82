"""Write how the outcomes of a study move with the number of samples into a page of the documentation.

    python -m dev.study_samples OUTPUTS PAGE.md

The numbers are those of each doubling of the samples, by least squares on their binary logarithm in each draw: of a row, and
of a row against C4 over the sizes that both have. The interval is that of one comparison over draws. The table replaces what
stands between `<!-- doublings -->` and `<!-- end -->`.
"""

from collections.abc import Mapping
from statistics import linear_regression

import numpy as np

from dev.study_contrasts import BASELINE, STAGE_D, STUDIES, Contrast, measure, read_methods
from dev.study_tables import METHODS, Draws, bounds, fill_in, parser_of, reported, split_size, to_row
from prune.report.compare.statistics import Difference, paired_t, unpaired_t


def main() -> None:
    """Write the page anew."""
    asked = parser_of("study_samples", __doc__).parse_args()
    with reported(asked.outputs) as (_, cells_csv):
        methods = read_methods(cells_csv, STUDIES["samples"], "value")
    text = fill_in(asked.page.read_text(encoding="utf-8"), "doublings", doublings_table(methods))
    asked.page.write_text(text, encoding="utf-8")


def doublings_table(methods: Mapping[str, Mapping[str, Draws]]) -> str:
    """A line for each row and outcome, and for each contrast; a column for each method."""
    contrasts = list(dict.fromkeys(Contrast(_set(each.one), _set(each.other), each.outcome) for each in STAGE_D))
    alone = dict.fromkeys(Contrast(row, row, each.outcome) for each in contrasts for row in (each.other, each.one))
    lines = [to_row(["row", "outcome", *map(METHODS.__getitem__, methods)]), to_row(["---"] * (2 + len(methods)))]
    for asked in sorted(alone, key=lambda each: (each.one != BASELINE, each.one)):
        told = (_told(paired_t(np.array(slopes(rows, asked, asked.one)))) for rows in methods.values())
        lines.append(to_row([asked.one, asked.outcome, *told]))
    for asked in contrasts:
        told = (
            _told(unpaired_t(*(slopes(rows, asked, row) for row in (asked.one, asked.other)))) for rows in methods.values()
        )
        lines.append(to_row([f"{asked.one} - {asked.other}", asked.outcome, *told]))
    return "\n".join(["", *lines, ""])


def slopes(rows: Mapping[str, Draws], asked: Contrast, row: str) -> list[float]:
    """The change of a row's outcome at each doubling, draw by draw, over the sizes that both sides of `asked` have."""
    sizes = [
        size for name, size in map(split_size, rows) if name == row and {asked.one + size, asked.other + size} <= set(rows)
    ]
    doublings = {size: float(np.log2(int("".join(filter(str.isdigit, size))))) for size in sizes}
    draws = set.intersection(*(set(rows[row + size]) for size in sizes))
    return [
        linear_regression(list(doublings.values()), [measure(rows[row + size][draw], asked) for size in sizes]).slope
        for draw in sorted(draws)
    ]


def _set(row: str) -> str:
    return split_size(row)[0]


def _told(found: Difference) -> str:
    return f"{found.value:+.3f} {bounds(found)}"


if __name__ == "__main__":
    main()
