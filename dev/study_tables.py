"""Write the tables of a study, and what its report says in words, into a page of the documentation.

    python -m dev.study_tables OUTPUTS PAGE.md

Each lies between `<!-- headline -->`, `<!-- questions -->` or `<!-- tables -->` and `<!-- end -->`; what stands between them
is replaced. A page may do without the questions. A table is one method at one sparsity; a row is one way to choose
calibration data.
"""

import argparse
import csv
import math
import re
import subprocess
import sys
import tempfile
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from statistics import fmean

from prune.report.compare.statistics import Difference

METHODS = {
    "wanda": "Wanda",
    "sparsegpt": "SparseGPT",
    "alps": "ALPS",
    "wanda+block": "Wanda, kept weights refitted",
    "sparsegpt+block": "SparseGPT, kept weights refitted",
    "alps+block": "ALPS, kept weights refitted",
}
BASELINE = "c4"
LABELS = ("calib", "prompt", "select", "weight")
Scores = Mapping[str, float]
Draws = dict[str, Scores]
"""The scores of each draw of a row."""


def main() -> None:
    """Write the page anew."""
    asked = parser_of("study_tables", __doc__).parse_args()
    with reported(asked.outputs) as (words, cells_csv):
        tables = make_tables(cells_csv)
    headline = "\n".join(f"> {line}" for line in textwrap.wrap(headline_of(words), 130))
    text = fill_in(asked.page.read_text(encoding="utf-8"), "headline", headline)
    if "<!-- questions -->" in text:
        text = fill_in(text, "questions", questions_of(words))
    asked.page.write_text(fill_in(text, "tables", tables), encoding="utf-8")


def parser_of(module: str, description: str | None) -> argparse.ArgumentParser:
    """What a command of this folder takes that writes into a page: a study's outputs, and the page."""
    parser = argparse.ArgumentParser(
        prog=f"python -m dev.{module}", description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("outputs", type=Path)
    parser.add_argument("page", type=Path)
    return parser


@contextmanager
def reported(outputs: Path) -> Iterator[tuple[str, Path]]:
    """The report's words on `outputs`, and its cells.csv, which is there until the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "prune.report", str(outputs), "--out", folder]
        words = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        yield words, Path(folder) / "cells.csv"


def headline_of(words: str) -> str:
    """The headline among the report's words, with all that it says of itself: the second line, and those under it."""
    _, first, *rest = words.splitlines()
    return " ".join(f"{line.strip().rstrip('.')}." for line in (first, *takewhile(lambda line: line.startswith("  "), rest)))


def questions_of(words: str) -> str:
    """The report's questions, each with its answer: a line that ends with a question mark, and those under it."""
    lines = words.splitlines()
    answers = []
    for place, line in enumerate(lines):
        if line.endswith("?") and not line.startswith(" "):
            answer = takewhile(lambda each: each.startswith("  "), lines[place + 1 :])
            answers.append(
                textwrap.fill(f"- *{line}* {' '.join(each.strip() for each in answer)}", 140, subsequent_indent="  ")
            )
    return "\n".join(["", *answers, ""])


def bounds(found: Difference) -> str:
    """`(-0.100 to +0.200)`: the 95 % interval as of one comparison."""
    return f"({found.low:+.3f} to {found.high:+.3f})"


def fill_in(page: str, name: str, content: str) -> str:
    """The page with `content` at the place of this name.

    Raises:
        ValueError: the page does not have exactly one such place.
    """
    filled, times = re.subn(
        rf"<!-- {name} -->\n.*?<!-- end -->", lambda _: f"<!-- {name} -->\n{content}\n<!-- end -->", page, flags=re.DOTALL
    )
    if times != 1:
        raise ValueError(f"<!-- {name} --> ... <!-- end --> stands {times} times in the page")
    return filled


def make_tables(cells_csv: Path) -> str:
    """A table for each method and sparsity of the cells that the report lists."""
    groups, dense = read_cells(cells_csv)
    tables = []
    for method, sparsity in sorted(groups, key=lambda group: (-float(group[1].rstrip("%")), list(METHODS).index(group[0]))):
        title = f"**{METHODS[method]}, {sparsity.rstrip('%')} %**"
        tables.append("\n".join([title, "", *table_lines(groups[method, sparsity], dense)]))
    return "\n{}\n".format("\n\n".join(tables))


def read_cells(cells_csv: Path, column: str = "value") -> tuple[dict[tuple[str, str], dict[str, Draws]], Scores]:
    """For each method and sparsity its rows with their draws; and the dense model's scores.

    A row has its size in its name, `c4, 8 samples`, where the folder holds rows of several sizes. `column` says what is
    read of each score: its value, or its stderr over items.

    Raises:
        ValueError: two cells are the same draw of a row.
    """
    cells: dict[str, tuple[dict[str, str], dict[str, float]]] = {}
    with cells_csv.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            cells.setdefault(line["cell"], (line, {}))[1][line["metric"]] = float(line[column])
    groups: dict[tuple[str, str], dict[str, Draws]] = defaultdict(lambda: defaultdict(dict))
    dense = next((scores for line, scores in cells.values() if line["method"] == "dense"), {})
    pruned = [(line, scores) for line, scores in cells.values() if line["method"] != "dense"]
    sized = len({_place(line) for line, _ in pruned}) < len(pruned)
    for line, scores in pruned:
        method, sparsity, label, draw = _place(line)
        draws = groups[method, sparsity][f"{label}, {_size(line)}" if sized else label]
        if draw in draws:
            raise ValueError(f"{line['name']} is there twice ({line['setting']}): give the cells of one sweep alone")
        draws[draw] = scores
    return groups, dense


def _place(line: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Method, sparsity, label and draw: what tells cells of one size apart."""
    return line["method"], line["sparsity"], _label(line), line["draw"] or "0"


def _size(line: Mapping[str, str]) -> str:
    return re.sub(r"calib\.num_samples=(\d+)", r"\1 samples", line["setting"])


def split_size(row: str) -> tuple[str, str]:
    """`c4` and `, 8 samples` of a row with its size; the second is empty where there is none."""
    label, comma, size = row.partition(", ")
    return label, comma + size


def table_lines(rows: Mapping[str, Draws], dense: Scores) -> list[str]:
    """The lines of a table, the dense model first, then C4.

    Perplexities are geometric means over the draws, bits per byte arithmetic ones. The last column compares the mean of the
    bits with that of C4's cell of the same draw and size.
    """
    texts = [name for name in dense if name.startswith("ppl/")]
    sets = [name for name in dense if name.startswith("bpb/")]
    heads = ["calibration", *(name.partition("/")[2] for name in (*texts, *sets)), "mean bits", "to C4, draw by draw"]
    lines = [to_row(heads), to_row(["---"] * len(heads))]
    for row in sorted(rows, key=order):
        label, size = split_size(row)
        draws, compared = rows[row], rows[BASELINE + size]
        numbers = [_number(list(draws.values()), name) for name in (*texts, *sets)]
        mean = fmean(_bits(scores, sets) for scores in draws.values())
        pairs = [(_bits(draws[draw], sets), _bits(compared[draw], sets)) for draw in sorted(draws) if draw in compared]
        to_c4 = "" if label == BASELINE else " ".join(f"{bits - of_c4:+.3f}" for bits, of_c4 in pairs)
        lines.append(to_row([row, *numbers, f"{mean:.3f}", to_c4]))
    of_dense = [_number([dense], name) for name in (*texts, *sets)]
    return [*lines[:2], to_row(["dense", *of_dense, f"{_bits(dense, sets):.3f}", ""]), *lines[2:]]


def order(row: str) -> tuple[bool, str, list[int], str]:
    """C4 first, then by name, a set's sizes from the smallest."""
    label, size = split_size(row)
    return label != BASELINE, label, [int(number) for number in re.findall(r"\d+", size)], size


def _number(draws: Sequence[Scores], name: str) -> str:
    values = [scores[name] for scores in draws]
    return f"{math.exp(fmean(map(math.log, values))):.1f}" if name.startswith("ppl/") else f"{fmean(values):.3f}"


def _bits(scores: Scores, sets: Sequence[str]) -> float:
    return fmean(scores[name] for name in sets)


def _label(line: Mapping[str, str]) -> str:
    """`gsm8k-icl`: what was calibrated on, and how; `c4 reversed` with what else tells it apart."""
    name = "-".join(line[key] for key in LABELS if line[key])
    return f"{name} {line['knobs']}".rstrip()


def to_row(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
