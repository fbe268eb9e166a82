"""Write the accuracy of a study's rows, pooled over the sets where it means something, into a page of the documentation.

    python -m dev.study_accuracy OUTPUTS PAGE.md

Accuracy is that in cloze form, pooled over the items of the sets on which the dense model is right more often than one who
always names the most frequent right choice would be (one-sided exact binomial test, 0.05). The table replaces what stands
between `<!-- accuracy -->` and `<!-- end -->`.
"""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

from dev.study_tables import BASELINE, METHODS, Draws, bounds, fill_in, parser_of, read_cells, reported, to_row
from prune.cell.folder import CellFolder
from prune.report.compare.statistics import ALPHA, unpaired_t

Items = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Dense:
    """How the dense model stands on a set: items that it gets right, all of them, the share of the most frequent choice."""

    num_right: int
    num_items: int
    majority: float | None
    """None: the items do not say which choice is right, as where a rationale was scored."""

    @property
    def p(self) -> float:
        """Chance that one who always names that choice gets as many right or more; 1 where it is not known."""
        if self.majority is None:
            return 1.0
        return float(stats.binomtest(self.num_right, self.num_items, self.majority, alternative="greater").pvalue)


def main() -> None:
    """Write the page anew."""
    asked = parser_of("study_accuracy", __doc__).parse_args()
    with reported(asked.outputs) as (_, cells_csv):
        groups, scores = read_cells(cells_csv)
    dense = dict(read_dense(asked.outputs, [name.removeprefix("acc_cf/") for name in scores if name.startswith("acc_cf/")]))
    text = fill_in(asked.page.read_text(encoding="utf-8"), "accuracy", accuracy_table(groups, dense))
    asked.page.write_text(text, encoding="utf-8")


def read_dense(outputs: Path, sets: Sequence[str]) -> Iterator[tuple[str, Dense]]:
    """The dense model on each set, from the items of the one dense cell in `outputs`."""
    (cell,) = (
        status.parent
        for status in outputs.glob("cells/*/result.json")
        if json.loads(status.read_text(encoding="utf-8"))["axes"]["method"] == "dense"
    )
    for name in sets:
        yield name, stand(read_items(cell, f"acc_cf/{name}"), read_items(cell, f"bpb/{name}"))


def read_items(cell: Path, metric: str) -> Items:
    """The items of a score that a cell shows."""
    lines = gzip.decompress(CellFolder(cell).shown_items(metric).read_bytes()).decode().splitlines()
    return [json.loads(line) for line in lines]


def stand(choices: Items, answers: Items) -> Dense:
    """The dense model on a set. The right choice is the one whose bits are the right answer's."""
    right = {item["id"]: item["bpb"] for item in answers}
    named = [item["bpb"].index(right[item["id"]]) for item in choices if right.get(item["id"]) in item["bpb"]]
    majority = max(Counter(named).values()) / len(named) if len(named) == len(choices) else None
    return Dense(sum(item["correct"] for item in choices), len(choices), majority)


def accuracy_table(groups: Mapping[tuple[str, str], Mapping[str, Draws]], dense: Mapping[str, Dense]) -> str:
    """What was tested, and for each method and sparsity the pooled accuracy of each row with its difference to C4."""
    kept = [name for name, found in dense.items() if found.p < ALPHA]
    if not kept:
        return "\nOn no set is the dense model shown to be better than the most frequent right choice.\n"
    lines = [to_row(["set", "dense", "most frequent choice", "p", "pooled"]), to_row(["---"] * 5)]
    for name, found in dense.items():
        tested = ("not known", "") if found.majority is None else (f"{found.majority:.2f}", f"{found.p:.3f}")
        lines.append(to_row([name, f"{found.num_right / found.num_items:.2f}", *tested, "yes" if name in kept else "no"]))
    rows = sorted({row for rows in groups.values() for row in rows}, key=lambda row: (row != BASELINE, row))
    heads = ["calibration", *(f"{METHODS[method]}, {sparsity.rstrip('%')} %" for method, sparsity in groups)]
    lines += ["", to_row(heads), to_row(["---"] * len(heads))]
    lines += [to_row([row, *(_told(rows_of, row, kept, dense) for rows_of in groups.values())]) for row in rows]
    return "\n".join(["", *lines, ""])


def _told(rows: Mapping[str, Draws], row: str, kept: Sequence[str], dense: Mapping[str, Dense]) -> str:
    """The mean over draws, and its difference to C4 with the 95 % interval over draws as of one comparison."""
    one, other = (_pooled(rows.get(name, {}), kept, dense) for name in (row, BASELINE))
    if not one:
        return "not measured"
    if row == BASELINE or min(len(one), len(other)) < 2:
        return f"{fmean(one):.3f}"
    found = unpaired_t(one, other)
    return f"{fmean(one):.3f}, {found.value:+.3f} {bounds(found)}"


def _pooled(draws: Draws, kept: Sequence[str], dense: Mapping[str, Dense]) -> list[float]:
    """The share of all items of the kept sets that each draw gets right."""
    weights = [dense[name].num_items for name in kept]
    return [fmean([scores[f"acc_cf/{name}"] for name in kept], weights) for scores in draws.values()]


if __name__ == "__main__":
    main()
