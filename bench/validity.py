"""Whether the report's p values hold their level: false positives and power, by simulation through the report's functions.

    python -m bench.validity [--reports 1000] [--workers 2] [--out bench/results/validity.json]

A simulated report is a group of rows whose scores on the same items are known to be equal, or one of them to be better. The
noise is that of the draws (a number for each row and seed), of the items (a number for each row and item: another mask
answers other items right), of the answers (a number for each row, seed and item), or all of them. `spread` is how many
times the noise of one row is larger than that of another, those between in even ratios; the baseline is any of them.

`false` is the share of comparisons with p < 0.05 unadjusted, `family` that of reports in which one is below by Holm, `best`
that of reports in which the winner's interval against the baseline misses the true difference, `runner_up` that of reports
in which the winner is beyond noise of the second, and `power` the share of comparisons with p < 0.05 where the row differs
by four times the standard error of two rows with the least noise.
"""

import argparse
import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from prune.cell.result import CellResult
from prune.eval.metric import Metric as Score
from prune.report.compare.compare import Column, compare_pairs, compare_rows, draw_variances
from prune.report.compare.statistics import ALPHA
from prune.report.compare.verdicts import judge
from prune.report.findings.draws import balance, compare_draws
from prune.report.findings.glance import find_glances
from prune.report.model import Comparison, Group, Metric
from prune.report.numbers import Array
from prune.report.results.items import RowItems, by_cluster, row_items
from prune.report.results.join import Joined, JoinedRow

SHIFT = 4.0
NOISES = {"draws": (1.0, 0.0, 0.0), "items": (0.0, 1.0, 0.0), "answers": (0.0, 0.0, 1.0), "all": (1.0, 1.0, 1.0)}
"""Share of the variance of a row's mean, as of one draw, by draw, item and answer."""
METRIC = "acc/simulated"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is simulated."""

    noise: str
    rows: int
    draws: int
    spread: float = 1.0
    items: int = 100
    answers: bool = False
    """Right or wrong, instead of losses."""
    cluster: int = 1
    """Items that share what is drawn."""
    dense: bool = False
    """The baseline has no draws."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares, and of how many comparisons and reports."""

    false: float
    false_error: float
    """Its standard error over reports: the comparisons of one report share their baseline."""
    family: float
    best: float
    runner_up: float
    power: float
    comparisons: int
    reports: int


def cases() -> Iterator[Case]:
    """The table's lines."""
    for noise, rows, draws, spread in itertools.product(NOISES, (2, 5, 20), (2, 3, 4, 5), (1.0, 10.0)):
        yield Case(noise=noise, rows=rows, draws=draws, spread=spread)
    for draws in (1, 2, 3, 5):
        yield Case(noise="items", rows=5, draws=draws, answers=True)
        yield Case(noise="items", rows=5, draws=draws, cluster=3)
        yield Case(noise="items" if draws == 1 else "all", rows=5, draws=draws, dense=True)


def measure(case: Case, reports: int, seed: int, *, power: bool = True) -> Rates:
    """The rates of one case, power over half of the reports; without `power` that is NaN."""
    rng = np.random.default_rng(seed)
    equal = _simulate(case, reports, rng, 0.0)
    shifted = _simulate(case, reports // 2, rng, SHIFT) if power else None
    return Rates(
        false=float(np.mean(equal.p_PR < ALPHA)),
        false_error=float(np.std((equal.p_PR < ALPHA).mean(axis=1)) / math.sqrt(reports)),
        family=float(np.mean((equal.holm_PR < ALPHA).any(axis=1))),
        best=float(np.mean(equal.missed_P)),
        runner_up=float(np.mean(equal.runner_up_P)),
        power=math.nan if shifted is None else float(np.mean(shifted.p_PR[:, 0] < ALPHA)),
        comparisons=int(equal.p_PR.size),
        reports=reports,
    )


@dataclass(frozen=True)
class _Found:
    """What reports say of P groups: R rows against the baseline."""

    p_PR: Array
    holm_PR: Array
    missed_P: Array
    runner_up_P: Array


class _Items:
    """The items of all rows, as the report would read them."""

    def __init__(self, rows: Sequence[RowItems]) -> None:
        self.rows = rows

    def of_row(self, row: int, metric: str) -> RowItems | None:
        """Those of a row."""
        return self.rows[row]


def _simulate(case: Case, reports: int, rng: np.random.Generator, shift: float) -> _Found:
    places = [place for _ in range(reports) for place in rng.permutation(case.rows)]
    drawn = [not (case.dense and index % case.rows == 0) for index in range(len(places))]
    used = [_row(case, rng, place, is_drawn) for place, is_drawn in zip(places, drawn, strict=True)]
    values = [values_SN.mean(axis=1).tolist() for values_SN in used]
    if shift:
        _shift(case, used, values, shift)
    column = _column(values, drawn)
    items = _Items([row_items(values_SN, case.items if case.answers else None) for values_SN in used])
    joined = _joined(reports, case)
    rows = compare_rows(column, joined, items)
    verdicts = judge(0, column, rows, joined, items)
    baseline = np.arange(reports).repeat(case.rows - 1) * case.rows
    others = np.array([row for row in range(len(used)) if row % case.rows])
    pairs = compare_pairs(column, others, baseline, items)
    holm = np.array([math.nan if p is None else p for p in rows.to_baseline.p], dtype=np.float64)
    missed = [verdict.baseline is not None and not _holds_zero(verdict.baseline) for verdict in verdicts]
    return _Found(
        pairs.p_P.reshape(reports, -1),
        holm.reshape(reports, -1)[:, 1:],
        np.array(missed, dtype=np.float64),
        np.array([v.runner_up is not None and bool(v.runner_up.beyond_noise) for v in verdicts], dtype=np.float64),
    )


def _holds_zero(comparison: Comparison) -> bool:
    return comparison.low is None or comparison.high is None or comparison.low <= 0 <= comparison.high


def _row(case: Case, rng: np.random.Generator, place: int, is_drawn: bool) -> Array:
    """Scores of one row, shape (S, N): the row's own noise around what all rows have in common."""
    share = NOISES[case.noise] if is_drawn else (0.0, 1.0, 0.0)
    draws = case.draws if is_drawn else 1
    scale = case.spread ** (place / (case.rows - 1))
    num = case.items // case.cluster
    values_SN = scale * (
        share[0] ** 0.5 * rng.normal(size=(draws, 1))
        + (share[1] * num) ** 0.5 * rng.normal(size=(1, num))
        + (share[2] * num) ** 0.5 * rng.normal(size=(draws, num))
    )
    if case.cluster > 1:
        values_SN = np.repeat(values_SN, case.cluster, axis=1)
        clusters = np.arange(values_SN.shape[1]) // case.cluster
        values_SN = np.stack([by_cluster(values_N, clusters.tolist()) for values_N in values_SN])
    return (values_SN > 0).astype(np.float64) if case.answers else values_SN


def _shift(case: Case, used: list[Array], values: list[list[float]], shift: float) -> None:
    """Make the first compared row of each report better by so many standard errors of two equal rows."""
    share = NOISES[case.noise]
    error = math.sqrt(2 * (share[0] / case.draws + share[1] + share[2] / case.draws))
    for row in range(1, len(used), case.rows):
        used[row] = used[row] + shift * error * (0.5 / math.sqrt(case.items) if case.answers else 1.0)
        values[row] = used[row].mean(axis=1).tolist()


def _column(values: Sequence[Sequence[float]], drawn: Sequence[bool]) -> Column:
    draw_var_R, num_draws_R = draw_variances(values, drawn)
    return Column(
        metric=METRIC,
        values=values,
        mean_R=np.array([math.fsum(of_row) / len(of_row) for of_row in values]),
        item_var_R=np.full(len(values), np.nan),
        draw_var_R=draw_var_R,
        num_draws_R=num_draws_R,
        higher_is_better=True,
        is_log=False,
    )


def _joined(reports: int, case: Case) -> Joined:
    rows = [JoinedRow(index // case.rows, "set", None, "", (), ()) for index in range(reports * case.rows)]
    groups = [_group(range(first, first + case.rows), first) for first in range(0, len(rows), case.rows)]
    return Joined(rows, groups)


def _group(rows: Sequence[int], baseline: int) -> Group:
    return Group(model="m", method="wanda", sparsity="50%", setting="", baseline_row=baseline, dense_row=None, rows=rows)


def measure_question(draws: int, groups: int, reports: int, seed: int) -> float:
    """The share of false positives of question 1: two sets that are one, each draw used by so many methods and sparsities.

    A draw shifts all of its groups alike; what it does to each of them beyond that is a tenth of the variance.
    """
    rng = np.random.default_rng(seed)
    found = 0
    for _ in range(reports):
        results, sides = _two_sets(draws, groups, rng)
        balanced = balance(sides)
        assert balanced is not None, "nothing is missing"
        test, _ = compare_draws(balanced, results, None)
        found += test.p < ALPHA
    return found / reports


def _two_sets(
    draws: int, groups: int, rng: np.random.Generator
) -> tuple[list[CellResult], list[dict[int | None, dict[tuple[int, str, str], int]]]]:
    results: list[CellResult] = []
    sides: list[dict[int | None, dict[tuple[int, str, str], int]]] = []
    for _ in range(2):
        side: dict[int | None, dict[tuple[int, str, str], int]] = {}
        for draw in range(draws):
            shift = rng.normal()
            side[draw] = {}
            for group in range(groups):
                side[draw][(group, "", METRIC)] = len(results)
                results.append(_cell({METRIC: _score(50 + group + shift + 0.3 * rng.normal(), METRIC)}, draw))
        sides.append(side)
    return results, sides


HEADLINE = ("ppl/a", "ppl/b", "bpb/x", "bpb/y", "bpb/z")
"""Scores of simulated reports for the sentence at a glance: language modelling and questions."""


def measure_headline(draws: int, reports: int, seed: int, *, rows: int = 5, spread: float = 1.0) -> float:
    """The share of reports whose sentence tells a set from the baseline, though no set differs.

    A draw shifts all of its scores by one number, and each by half as much of its own; the last row's draws scatter `spread`
    times as much as the first one's.
    """
    rng = np.random.default_rng(seed)
    metrics = [_metric(name) for name in HEADLINE]
    claims = 0
    for _ in range(reports):
        results, joined = _equal_sets(draws, rows, spread, rng)
        (glance,) = find_glances(metrics, results, joined, None)
        claims += not glance.sentence.startswith(
            ("Not decided", "Stay with c4: no other set was shown to be better (5 compared).")
        )
        claims += "Worse" in glance.sentence
    return claims / reports


def _equal_sets(draws: int, rows: int, spread: float, rng: np.random.Generator) -> tuple[list[CellResult], Joined]:
    results, cells = [], []
    for row in range(rows + 1):
        scale = 0.01 * spread ** (row / rows)
        cells.append(tuple(range(len(results), len(results) + draws)))
        for draw in range(draws):
            values = 2 + scale * (rng.normal() + 0.5 * rng.normal(size=len(HEADLINE)))
            results.append(_cell({name: _score(value, name) for name, value in zip(HEADLINE, values, strict=True)}, draw))
    labels = ["c4", *(f"set{row}" for row in range(rows))]
    joined_rows = [JoinedRow(0, label, None, "", of_row, ()) for label, of_row in zip(labels, cells, strict=True)]
    group = _group(range(rows + 1), 0)
    return results, Joined(joined_rows, [group])


def _metric(name: str) -> Metric:
    score = _score(2.0, name)
    kind, _, dataset = name.partition("/")
    return Metric(
        name=name,
        kind=kind,
        label=dataset,
        dataset=dataset,
        category="pre-training" if kind == "ppl" else f"category of {dataset}",
        unit=score.unit,
        scale=score.scale,
        higher_is_better=score.higher_is_better,
        chance=None,
        num_items=1,
        protocol={},
        decimals=3,
    )


def _score(value: float, name: str) -> Score:
    is_log = name.startswith("ppl/")
    return Score(
        value=math.exp(value) if is_log else value,
        stderr=None,
        num_items=1,
        higher_is_better=name == METRIC,
        chance=None,
        protocol={},
        unit="perplexity per token" if is_log else "BLEU",
        scale="log" if is_log else "linear",
        decimals=3,
        items=None,
    )


def _cell(scores: Mapping[str, Score], draw: int) -> CellResult:
    return CellResult(
        id="",
        name="",
        folder=Path(),
        axes={"seed": draw},
        dense_cell="dense",
        scores=scores,
        knobs={},
        sparsity_reached=0.5,
        seconds={},
        memory_mb={},
        provenance={},
        source="hub",
        overlap={},
        warnings=(),
    )


def main() -> None:
    """Simulate, print the table, write it."""
    parser = argparse.ArgumentParser(prog="python -m bench.validity", description=__doc__)
    parser.add_argument("--reports", type=int, default=1000, help="simulated reports of each case")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that simulate")
    parser.add_argument("--out", type=Path, default=Path("bench/results/validity.json"))
    asked = parser.parse_args()
    lines: list[Mapping[str, object]] = []
    simulated = list(cases())
    reports = [max(asked.reports, 4 * asked.reports // (case.rows - 1)) for case in simulated]
    with ProcessPoolExecutor(asked.workers) as pool:
        for case, rates in zip(simulated, pool.map(measure, simulated, reports, itertools.count()), strict=True):
            lines.append(asdict(case) | asdict(rates))
            print(json.dumps(lines[-1]), flush=True)
    questions = [
        {"question": 1, "draws": draws, "groups": groups, "false": measure_question(draws, groups, 2 * asked.reports, 7)}
        for draws, groups in itertools.product((2, 3, 4, 5), (1, 7))
    ]
    for line in questions:
        print(json.dumps(line), flush=True)
    headlines = [
        {
            "headline": 1,
            "draws": draws,
            "spread": spread,
            "reports": asked.reports,
            "false": measure_headline(draws, asked.reports, 8, spread=spread),
        }
        for draws, spread in itertools.product((1, 2, 3, 5), (1.0, 10.0))
    ]
    for line in headlines:
        print(json.dumps(line), flush=True)
    kept = {"cases": lines, "questions": questions, "headlines": headlines}
    asked.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
