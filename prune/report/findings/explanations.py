"""Whether properties of the calibration sets explain their ranking: perplexity under the dense model, diversity.

The rows of one model and label (calibration set, prompt, knobs) are a unit, whatever the method and sparsity. Its rank is
the mean, over the groups and metrics of a kind, of the share of the other rows that it beats; a property of the set is the
mean over its draws. Rows that weigh the tokens of a set, or take its samples in reverse order, are no sets of their own, and
controls (random characters) are no text: they are left out. The correlation is Spearman's over units; above 0, sets with
more of the property score better. Its interval is Fisher's z with the standard error sqrt((1 + r^2 / 2) / (n - 3)) (Bonett
and Wright 2000); |r| is held half a swap of neighbours below 1, where there is no interval. p is of the same z; both are
adjusted by Holm over the answers on one kind of metric.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special, stats

from prune.cell.result import CellResult
from prune.data.dataset import Category
from prune.report.compare.statistics import ALPHA, holm_factors
from prune.report.findings.evidence import ALIKE, Evidence, Measure, measure_of
from prune.report.model import Metric
from prune.report.model_findings import Answer, Question
from prune.report.numbers import Array
from prune.report.results.join import Joined, JoinedRow, category_of

TITLE = "Do perplexity under the dense model and diversity of the sets explain their ranking?"
MIN_UNITS = 4
"""With three there is no interval."""
MEASURED = {
    "dense_perplexity": "perplexity under the dense model",
    "tfidf_distance": "diversity (tf-idf distance)",
    "type_token_ratio": "diversity (distinct words)",
}
"""Property of a set -> its name in a sentence."""

Unit = str
"""A label of rows."""


def explain_ranking(metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined) -> list[Question]:
    """One question, or none where no result has a property of its set."""
    if not any(result.of_set for result in results):
        return []
    answers = [
        answer
        for measure in dict.fromkeys(map(measure_of, metrics))
        for answer in _of_measure(measure, metrics, results, joined)
    ]
    found = [answer for answer in answers if answer.p is not None and answer.p < ALPHA]
    enough = any(answer.enough for answer in answers)
    summary = f"Not decided: too few sets. A correlation needs {MIN_UNITS} sets or more of one model."
    if enough:
        summary = " ".join(answer.sentence for answer in found) or f"No correlation was shown; {_resolution(answers)}."
    return [Question(title=TITLE, summary=summary, enough=enough, answers=answers)]


def _resolution(answers: Sequence[Answer]) -> str:
    """The smallest correlation to be seen: half the median interval, on the scale of Fisher's z."""
    ends = [(answer.low, answer.high) for answer in answers if answer.low is not None and answer.high is not None]
    halves = sorted((math.atanh(high) - math.atanh(low)) / 2 for low, high in ends)
    return f"these sets could have shown one of about ±{math.tanh(halves[len(halves) // 2]):.2f}"


def _of_measure(measure: Measure, metrics: Sequence[Metric], results: Sequence[CellResult], joined: Joined) -> list[Answer]:
    """The answers on one kind of metric, by model and property."""
    evidence = Evidence(measure, metrics, results, joined)
    pairs = []
    for model in dict.fromkeys(group.model for group in joined.groups):
        rows = [row for group in joined.groups if group.model == model for row in group.rows]
        ranks = _ranks(model, evidence, joined)
        for key in MEASURED:
            values = _measured(key, rows, results, joined)
            units = [unit for unit in ranks if unit in values]
            num_cells = sum(len(joined.rows[row].cells) for row in rows if _unit(joined, row) in set(units))
            arrays = np.array([values[unit] for unit in units]), np.array([ranks[unit] for unit in units])
            pairs.append((key, model, num_cells, *correlation(*arrays)))
    factors = holm_factors(np.array([math.nan if z is None else _p(z, se) for *_, z, se in pairs]))
    several = len({model for _, model, *_ in pairs}) > 1
    return [
        _answer(MEASURED[key] + (f" ({model})" if several else ""), evidence, num_cells, num_units, r, z, se, float(factor))
        for (key, model, num_cells, num_units, r, z, se), factor in zip(pairs, factors, strict=True)
    ]


def _unit(joined: Joined, row: int) -> Unit:
    return joined.rows[row].label


def _is_set(joined: Joined, row: JoinedRow) -> bool:
    if row.calib is None or row.weight is not None or row.is_reversed:
        return False
    return category_of(row.calib, joined.categories) != Category.CONTROL.value


def _ranks(model: str, evidence: Evidence, joined: Joined) -> dict[Unit, float]:
    """Unit -> the share of the other rows of its group that it beats, mean over groups and metrics."""
    shares: dict[Unit, list[float]] = {}
    for group in joined.groups:
        rows = [row for row in group.rows if _is_set(joined, joined.rows[row])]
        for metric in range(len(evidence.metrics)) if group.model == model else ():
            known = {row: value for row in rows if not math.isnan(value := evidence.row_score(row, metric))}
            if len(known) < 2:
                continue
            order = stats.rankdata(list(known.values())) - 1
            for row, place in zip(known, order.tolist(), strict=True):
                beaten = place if evidence.higher_is_better else len(known) - 1 - place
                shares.setdefault(_unit(joined, row), []).append(beaten / (len(known) - 1))
    return {unit: math.fsum(values) / len(values) for unit, values in shares.items()}


def _measured(key: str, rows: Sequence[int], results: Sequence[CellResult], joined: Joined) -> Mapping[Unit, float]:
    """Unit -> the mean of a property over its cells."""
    values: dict[Unit, list[float]] = {}
    for row in rows:
        for cell in joined.rows[row].cells:
            if (value := results[cell].of_set.get(key)) is not None:
                values.setdefault(_unit(joined, row), []).append(value)
    return {unit: math.fsum(each) / len(each) for unit, each in values.items()}


def correlation(values: Array, ranks: Array) -> tuple[int, float | None, float | None, float]:
    """(units, Spearman's r, its Fisher z, the standard error of z); no r with fewer than 4 units, or where all are alike."""
    num_units = len(values)
    if num_units < MIN_UNITS or np.ptp(values) == 0 or np.ptp(ranks) == 0:
        return num_units, None, None, math.nan
    r = float(stats.spearmanr(values, ranks).statistic)
    most = 1 - 6 / (num_units * (num_units**2 - 1))
    held = max(-most, min(most, r))
    return num_units, r, math.atanh(held), math.sqrt((1 + held**2 / 2) / (num_units - 3))


def _p(z: float, se: float) -> float:
    return float(2 * special.ndtr(-abs(z) / se))


def _answer(
    name: str,
    evidence: Evidence,
    num_cells: int,
    num_units: int,
    r: float | None,
    z: float | None,
    se: float,
    factor: float,
) -> Answer:
    low = high = p = None
    outcome = ALIKE if num_units >= MIN_UNITS else "too few sets" if num_units else "not measured"
    sentence = f"On {evidence.kind}, {name}: {outcome} ({num_units} sets; a correlation needs {MIN_UNITS} that differ)."
    if r is not None and z is not None:
        reach = float(special.ndtri(1 - ALPHA / factor / 2)) * se
        low, high, p = math.tanh(z - reach), math.tanh(z + reach), min(1.0, factor * _p(z, se))
        outcome = "no correlation shown" if p >= ALPHA else "better" if r > 0 else "worse"
        shown = f"sets with {'more' if r > 0 else 'less'} {name} score better"
        told = shown if p < ALPHA else f"no correlation between {name} and the ranking was shown"
        numbers = f"rank correlation {r:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, {num_units} sets"
        sentence = f"On {evidence.kind} {told} ({numbers})."
    return Answer(
        contrast=name,
        category=None,
        kind=evidence.kind,
        unit="rank correlation",
        higher_is_better=True,
        decimals=2,
        effect=r,
        low=low,
        high=high,
        p=p,
        num_cells=num_cells,
        num_units=num_units,
        units="sets",
        enough=r is not None,
        outcome=outcome,
        sentence=sentence,
    )
