import math

import numpy as np
import pytest
from scipy import stats

from prune.report.build import build_report
from prune.report.compare.statistics import paired_bootstrap
from prune.report.model import Basis, Comparisons, Report, RowMetric
from tests.report.result_files import Outputs, change_result, write_items

RNG = np.random.default_rng(5)
LOSSES = {name: (3.0 + shift + RNG.normal(0, 0.3, 30)).tolist() for name, shift in (("d", 0.0), ("a", 0.3), ("b", 0.31))}
ANSWERS = {name: RNG.integers(0, 2, 50).tolist() for name in ("d", "a", "b")}


def metric_of(report: Report, name: str) -> RowMetric:
    """The columns of a metric."""
    return report.rows.metrics[[metric.name for metric in report.metrics].index(name)]


def row_of(report: Report, label: str) -> int:
    """The row of a calibration set with its prompt (`gsm8k-icl`); `dense` for the dense row."""
    labels = [
        "dense" if calib is None else "-".join(filter(None, (report.calibs[calib].name, prompt)))
        for calib, prompt in zip(report.rows.calib, report.rows.prompt, strict=True)
    ]
    return labels.index(label)


def at(comparisons: Comparisons, row: int) -> tuple[float | None, float | None, float | None, float | None, int]:
    """(difference, low, high, p, basis) of a row."""
    columns = (comparisons.difference, comparisons.low, comparisons.high, comparisons.p, comparisons.basis)
    return tuple(column[row] for column in columns)  # type: ignore[return-value]


def two_cells(outputs: Outputs, metric: str, values: dict[str, list[float]]) -> Report:
    """Dense, C4 (the baseline) and the Pile, one seed each."""
    outputs.dense({metric: values["d"]})
    outputs.cell("c4", scores={metric: values["a"]})
    outputs.cell("pile", scores={metric: values["b"]})
    return build_report(outputs.root)


def test_perplexities_are_compared_by_chunk_on_the_log_scale(outputs: Outputs) -> None:
    report = two_cells(outputs, "ppl/wikitext2", LOSSES)
    metric, pile, c4 = metric_of(report, "ppl/wikitext2"), row_of(report, "pile"), row_of(report, "c4")
    theirs = stats.ttest_rel(LOSSES["b"], LOSSES["a"])
    interval, base = theirs.confidence_interval(0.95), math.exp(np.mean(LOSSES["a"]))
    difference, low, high, p, basis = at(metric.to_baseline, pile)
    assert difference == pytest.approx(math.exp(np.mean(LOSSES["b"])) - base)
    assert low == pytest.approx(base * math.exp(interval.low) - base)
    assert high == pytest.approx(base * math.exp(interval.high) - base)
    assert p == pytest.approx(theirs.pvalue)
    assert basis == Basis.ITEMS
    assert at(metric.to_baseline, c4) == (None, None, None, None, Basis.NONE)
    assert at(metric.to_dense, pile)[0] == pytest.approx(math.exp(np.mean(LOSSES["b"])) - math.exp(np.mean(LOSSES["d"])))


def test_accuracies_are_compared_by_the_bootstrap_on_the_items(outputs: Outputs) -> None:
    report = two_cells(outputs, "acc/gsm8k", ANSWERS)
    expected = paired_bootstrap(np.array(ANSWERS["b"]) - np.array(ANSWERS["a"], dtype=float))
    found = at(metric_of(report, "acc/gsm8k").to_baseline, row_of(report, "pile"))
    assert found == (pytest.approx(expected.value), expected.low, expected.high, expected.p, Basis.ITEMS)


def test_without_items_the_standard_errors_stand_in(outputs: Outputs) -> None:
    outputs.with_items = False
    report = two_cells(outputs, "acc/gsm8k", ANSWERS)
    difference, low, high, p, basis = at(metric_of(report, "acc/gsm8k").to_baseline, row_of(report, "pile"))
    stderr = math.hypot(*(stats.sem(ANSWERS[name]) for name in "ab"))
    assert basis == Basis.STDERR
    assert difference is not None
    assert (low, high) == pytest.approx((difference - 1.959964 * stderr, difference + 1.959964 * stderr), rel=1e-6)
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference) / stderr))


@pytest.mark.parametrize("items", [ANSWERS["b"][:-1], [1 - ANSWERS["b"][0], *ANSWERS["b"][1:]]])
def test_items_of_another_measurement_are_not_used(outputs: Outputs, items: list[int]) -> None:
    outputs.dense({"acc/gsm8k": ANSWERS["d"]})
    outputs.cell("c4", scores={"acc/gsm8k": ANSWERS["a"]})
    write_items(outputs.cell("pile", scores={"acc/gsm8k": ANSWERS["b"]}), "acc/gsm8k", items)
    report = build_report(outputs.root)
    assert metric_of(report, "acc/gsm8k").to_baseline.basis[row_of(report, "pile")] == Basis.STDERR


def test_damaged_items_are_not_used(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/gsm8k": ANSWERS["a"]})
    folder = outputs.cell("pile", scores={"acc/gsm8k": ANSWERS["b"]})
    (folder / "items" / "acc-gsm8k.jsonl.gz").write_bytes(b"\x1f\x8b rubbish")
    report = build_report(outputs.root)
    assert metric_of(report, "acc/gsm8k").to_baseline.basis[row_of(report, "pile")] == Basis.STDERR


def test_seeds_and_items_add_up(outputs: Outputs) -> None:
    """The naive twin: variance of the item mean + pooled variance of seeds over their number on both sides."""
    rng = np.random.default_rng(6)
    runs = {
        name: [(3.0 + rng.normal(0, 0.3, 30)).tolist() for _ in range(count)] for name, count in (("c4", 2), ("pile", 3))
    }
    outputs.dense({"ppl/wikitext2": LOSSES["d"]})
    for name, losses in runs.items():
        for seed, of_seed in enumerate(losses):
            outputs.cell(name, scores={"ppl/wikitext2": of_seed}, seed=seed)
    report = build_report(outputs.root)
    metric, pile = metric_of(report, "ppl/wikitext2"), row_of(report, "pile")

    difference_N = np.mean(runs["pile"], axis=0) - np.mean(runs["c4"], axis=0)
    item_var = np.var(difference_N, ddof=1) / 30
    means = {name: np.mean(losses, axis=1) for name, losses in runs.items()}
    pooled = sum(np.sum((of_set - of_set.mean()) ** 2) for of_set in means.values()) / 3
    seed_vars = [pooled / 2, pooled / 3]
    total = item_var + sum(seed_vars)
    seed_df = sum(seed_vars) ** 2 / sum(v**2 / 3 for v in seed_vars)
    df = total**2 / (item_var**2 / 29 + sum(seed_vars) ** 2 / seed_df)
    half = stats.t.ppf(0.975, df) * math.sqrt(total)
    base = math.exp(means["c4"].mean())

    difference, low, high, p, basis = at(metric.to_baseline, pile)
    assert basis == Basis.ITEMS_AND_SEEDS
    assert difference == pytest.approx(math.exp(means["pile"].mean()) - base)
    assert low == pytest.approx(base * math.expm1(difference_N.mean() - half))
    assert high == pytest.approx(base * math.expm1(difference_N.mean() + half))
    assert p == pytest.approx(2 * stats.t.sf(abs(difference_N.mean()) / math.sqrt(total), df))
    assert metric.to_dense.basis[pile] == Basis.ITEMS_AND_SEEDS  # dense has no seed: nothing of it is unknown
    assert metric.mean[pile] == pytest.approx(math.exp(means["pile"].mean()))
    assert metric.sd[pile] == pytest.approx(np.std(np.exp(means["pile"]), ddof=1))
    assert metric.num_seeds[pile] == 3


def test_one_seed_on_one_side_leaves_the_seeds_unknown(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/gsm8k": ANSWERS["a"]})
    for seed in range(2):
        outputs.cell("pile", scores={"acc/gsm8k": ANSWERS["b"]}, seed=seed)
    report = build_report(outputs.root)
    assert metric_of(report, "acc/gsm8k").to_baseline.basis[row_of(report, "pile")] == Basis.ITEMS


def test_p_is_adjusted_by_holm_over_the_rows_of_a_group(outputs: Outputs) -> None:
    rng = np.random.default_rng(7)
    base = rng.normal(3, 0.2, 30)
    shifted = {name: base + rng.normal(shift, 0.05, 30) for name, shift in (("pile", 0.03), ("oscar", 0.02), ("rte", 0.0))}
    outputs.cell("c4", scores={"ppl/c4": base.tolist()})
    for name, losses in shifted.items():
        outputs.cell(name, scores={"ppl/c4": losses.tolist()})
    raw = {name: stats.ttest_rel(losses, base).pvalue for name, losses in shifted.items()}
    by_size = sorted(raw, key=lambda name: raw[name])
    expected, largest = {}, 0.0
    for place, name in enumerate(by_size):
        largest = max(largest, min(1.0, (3 - place) * raw[name]))
        expected[name] = largest
    report = build_report(outputs.root)
    p = metric_of(report, "ppl/c4").to_baseline.p
    assert {name: p[row_of(report, name)] for name in expected} == pytest.approx(expected)


def test_ranks_go_by_what_is_better_and_ties_share_one(outputs: Outputs) -> None:
    scores = {"c4": (0.1, [1, 0]), "pile": (0.3, [1, 1]), "oscar": (0.2, [1, 1])}
    for name, (loss, answers) in scores.items():
        outputs.cell(name, scores={"ppl/c4": [loss, loss], "acc/gsm8k": answers})
    report = build_report(outputs.root)
    ranks = {
        name: [metric_of(report, metric).rank[row_of(report, name)] for metric in ("ppl/c4", "acc/gsm8k")] for name in scores
    }
    assert ranks == {"c4": [1, 3], "pile": [3, 1], "oscar": [2, 1]}


def test_a_metric_that_a_cell_lacks_is_unknown_and_said(outputs: Outputs) -> None:
    outputs.cell("c4", scores={"acc/gsm8k": [1, 0], "acc/svamp": [1, 0]})
    outputs.cell("pile", scores={"acc/gsm8k": [1, 0]})
    report = build_report(outputs.root)
    svamp, pile = metric_of(report, "acc/svamp"), row_of(report, "pile")
    assert (svamp.mean[pile], svamp.rank[pile], svamp.num_seeds[pile]) == (None, None, 0)
    assert at(svamp.to_baseline, pile) == (None, None, None, None, Basis.NONE)
    assert "acc/svamp was not measured in 1 of 2 cells: m/pile/wanda/50%/s0." in report.warnings


def test_a_perplexity_beyond_every_float(outputs: Outputs) -> None:
    folder = outputs.cell("pile", scores={"ppl/c4": [1.0, 2.0]})
    outputs.cell("c4", scores={"ppl/c4": [1.0, 2.0]})
    overflow = {"value": 1.7976931348623157e308, "stderr": None, "num_items": 2, "higher_is_better": False, "chance": None}
    measure = {
        "unit": "perplexity per token",
        "scale": "log",
        "items": {"metric": "ppl/c4", "keys": ["loss"], "weight_keys": None},
    }
    change_result(folder, metrics={"ppl/c4": overflow | measure | {"protocol": {"kind": "test", "overflow": True}}})
    report = build_report(outputs.root)
    metric = metric_of(report, "ppl/c4")
    assert metric.rank[row_of(report, "pile")] == 2
    assert metric.to_baseline.basis[row_of(report, "pile")] == Basis.NONE
