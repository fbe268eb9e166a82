import math

import numpy as np
import pytest
from scipy import stats

from prune.report.build import build_report
from prune.report.compare.statistics import DrawNoise, add_noises, holm_factors, unpaired_t
from prune.report.model import Comparisons, Report, RowMetric
from prune.report.numbers import Basis
from prune.report.results.items import by_cluster
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


def test_accuracies_are_compared_item_by_item(outputs: Outputs) -> None:
    report = two_cells(outputs, "acc/gsm8k", ANSWERS)
    theirs = stats.ttest_rel(ANSWERS["b"], ANSWERS["a"])
    interval = theirs.confidence_interval(0.95)
    difference, low, high, p, basis = at(metric_of(report, "acc/gsm8k").to_baseline, row_of(report, "pile"))
    assert (difference, low, high) == pytest.approx(
        (np.mean(ANSWERS["b"]) - np.mean(ANSWERS["a"]), interval.low, interval.high)
    )
    assert (p, basis) == (pytest.approx(theirs.pvalue), Basis.ITEMS)


@pytest.mark.parametrize("with_items", [True, False])
@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 1), (0, 1)])
def test_answers_that_are_all_alike_have_an_interval(outputs: Outputs, with_items: bool, first: int, second: int) -> None:
    """As if one answer of each side had been another: +-t(29) sqrt(2) / 30."""
    outputs.with_items = with_items
    outputs.cell("c4", scores={"acc/rte": [first] * 30})
    outputs.cell("pile", scores={"acc/rte": [second] * 30})
    report = build_report(outputs.root)
    difference, low, high, p, _ = at(metric_of(report, "acc/rte").to_baseline, row_of(report, "pile"))
    half = stats.t.ppf(0.975, 29 if with_items else np.inf) * math.sqrt(2) / 30
    assert (difference, low, high) == pytest.approx((second - first, second - first - half, second - first + half))
    assert p == pytest.approx(1.0 if first == second else 0.0, abs=1e-9)


def test_losses_that_are_all_alike_have_no_interval(outputs: Outputs) -> None:
    for name in ("c4", "pile"):
        outputs.cell(name, scores={"ppl/wikitext2": LOSSES["a"]})
    report = build_report(outputs.root)
    assert at(metric_of(report, "ppl/wikitext2").to_baseline, row_of(report, "pile"))[1:4] == (None, None, 1.0)


def test_items_that_share_something_are_not_independent(outputs: Outputs) -> None:
    """Each of 10 premises thrice, always answered alike: as much evidence as 10 items."""
    first, second = np.random.default_rng(4).integers(0, 2, (2, 10))
    for name, answers in (("c4", first), ("pile", second)):
        folder = outputs.cell(name, scores={"acc/esnli": np.repeat(answers, 3).tolist()})
        write_items(folder, "acc/esnli", np.repeat(answers, 3).tolist(), clusters=np.repeat(range(10), 3).tolist())
    report = build_report(outputs.root)
    theirs = stats.ttest_rel(second, first)
    _, low, _, p, _ = at(metric_of(report, "acc/esnli").to_baseline, row_of(report, "pile"))
    assert (p, low) == pytest.approx((theirs.pvalue, theirs.confidence_interval(0.95).low))


def test_unequal_clusters_have_the_variance_of_a_ratio() -> None:
    values, clusters = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]), [0, 0, 0, 1, 2, 2]
    sums = np.array([2.0 - 3 * values.mean(), 1.0 - values.mean(), 1.0 - 2 * values.mean()])
    joined = by_cluster(values, clusters)
    assert joined.mean() == pytest.approx(values.mean())
    assert np.var(joined, ddof=1) / 3 == pytest.approx(3 / 2 * np.sum(sums**2) / 6**2)


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
    """The naive twin: variance of the draws, each row's own, and of the items without what the draws' answers scatter by."""
    rng = np.random.default_rng(6)
    of_set = {name: rng.normal(0, 0.3, 30) for name in ("c4", "pile")}
    runs = {
        name: [(3.0 + of_set[name] + rng.normal(0, 0.02) + rng.normal(0, 0.2, 30)).tolist() for _ in range(count)]
        for name, count in (("c4", 3), ("pile", 3))
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
    draw_vars = [np.var(of_set, ddof=1) / 3 for of_set in means.values()]
    twice = 0.0
    for losses in runs.values():
        table = np.array(losses)
        rest = [
            [x - row.mean() - column.mean() + table.mean() for x, column in zip(row, table.T, strict=True)] for row in table
        ]
        twice += float(np.sum(np.square(rest))) / (2 * 29) / (3 * 30)
    own = item_var - twice
    total = own + sum(draw_vars)
    _, df = add_noises(np.array([own]), np.array([29.0]), DrawNoise(*np.array([*draw_vars, 3, 3]).reshape(4, 1)))
    half = stats.t.ppf(0.975, float(df[0])) * math.sqrt(total)
    base = math.exp(means["c4"].mean())
    assert own > 0

    difference, low, high, p, basis = at(metric.to_baseline, pile)
    assert basis == Basis.ITEMS_AND_SEEDS
    assert difference == pytest.approx(math.exp(means["pile"].mean()) - base)
    assert low == pytest.approx(base * math.expm1(difference_N.mean() - half))
    assert high == pytest.approx(base * math.expm1(difference_N.mean() + half))
    assert p == pytest.approx(2 * stats.t.sf(abs(difference_N.mean()) / math.sqrt(total), df))
    assert metric.to_dense.basis[pile] == Basis.ITEMS_AND_SEEDS  # dense has no seed: nothing of it is unknown
    assert metric.mean[pile] == pytest.approx(math.exp(means["pile"].mean()))
    assert metric.sd[pile] == pytest.approx(np.std(np.exp(means["pile"]), ddof=1))
    assert metric.num_draws[pile] == 3


def test_a_metric_without_items_has_the_noise_of_its_seeds(outputs: Outputs) -> None:
    """One score of one item each: the unpaired test of the scores."""
    outputs.measures["bleu/wmt14"] = {"unit": "BLEU"}
    scores = {"c4": [21.0, 24.0, 22.5], "pile": [25.0, 30.0, 26.0]}
    for name, of_seeds in scores.items():
        for seed, value in enumerate(of_seeds):
            outputs.cell(name, scores={"bleu/wmt14": [value]}, seed=seed)
    report = build_report(outputs.root)
    theirs = unpaired_t(scores["pile"], scores["c4"])
    _, low, high, p, basis = at(metric_of(report, "bleu/wmt14").to_baseline, row_of(report, "pile"))
    assert (low, high, p, basis) == pytest.approx((theirs.low, theirs.high, theirs.p, Basis.SEEDS))


def test_seeds_have_a_mean_and_its_t_interval(outputs: Outputs) -> None:
    outputs.measures["bleu/wmt14"] = {"unit": "BLEU"}
    for name, of_seeds in {"c4": [1.0, 2.0, 6.0], "pile": [0.1, 0.1, 0.1], "gsm8k": [0.25]}.items():
        for seed, value in enumerate(of_seeds):
            outputs.cell(name, scores={"bleu/wmt14": [value]}, seed=seed)
    metric = metric_of(report := build_report(outputs.root), "bleu/wmt14")
    c4, pile, gsm8k = (row_of(report, name) for name in ("c4", "pile", "gsm8k"))
    # mean 3, sd sqrt((4 + 1 + 9) / 2) = sqrt(7), t(0.975, 2) = 4.302653
    assert (metric.mean[c4], metric.sd[c4]) == pytest.approx((3.0, math.sqrt(7)))
    assert (metric.low[c4], metric.high[c4]) == pytest.approx((3 - 4.302653 * (7 / 3) ** 0.5, 3 + 4.302653 * (7 / 3) ** 0.5))
    assert (metric.sd[pile], metric.low[pile], metric.high[pile]) == (0.0, None, None), "equal seeds do not prove no spread"
    assert (metric.mean[gsm8k], metric.sd[gsm8k], metric.low[gsm8k]) == (0.25, None, None)


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
    to_baseline = metric_of(report, "ppl/c4").to_baseline
    assert {name: to_baseline.p[row_of(report, name)] for name in expected} == pytest.approx(expected)
    for name, adjusted in expected.items():
        interval = stats.ttest_rel(shifted[name], base).confidence_interval(1 - 0.05 * raw[name] / adjusted)
        assert to_baseline.low[row_of(report, name)] == pytest.approx(math.exp(base.mean()) * math.expm1(interval.low))


def test_differences_to_dense_are_adjusted_too(outputs: Outputs) -> None:
    rng = np.random.default_rng(7)
    base = rng.normal(3, 0.2, 30)
    pruned = {name: base + rng.normal(shift, 0.05, 30) for name, shift in (("c4", 0.03), ("pile", 0.02), ("rte", 0.018))}
    outputs.dense({"ppl/c4": base.tolist()})
    for name, losses in pruned.items():
        outputs.cell(name, scores={"ppl/c4": losses.tolist()})
    report = build_report(outputs.root)
    p = metric_of(report, "ppl/c4").to_dense.p
    raw = np.array([stats.ttest_rel(losses, base).pvalue for losses in pruned.values()])
    assert [p[row_of(report, name)] for name in pruned] == pytest.approx(np.minimum(1, holm_factors(raw) * raw).tolist())


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
    assert (svamp.mean[pile], svamp.rank[pile], svamp.num_draws[pile]) == (None, None, 0)
    assert at(svamp.to_baseline, pile) == (None, None, None, None, Basis.NONE)
    assert "acc/svamp was not measured in 1 of 2 cells: m/pile/wanda/50%/s0." in report.warnings


def test_a_perplexity_beyond_every_float(outputs: Outputs) -> None:
    folder = outputs.cell("pile", scores={"ppl/c4": [1.0, 2.0]})
    outputs.cell("c4", scores={"ppl/c4": [1.0, 2.0]})
    overflow = {"value": 1.7976931348623157e308, "stderr": None, "num_items": 2, "higher_is_better": False, "chance": None}
    measure = {
        "unit": "perplexity per token",
        "scale": "log",
        "decimals": 2,
        "items": {"metric": "ppl/c4", "keys": ["loss"], "weight_keys": None},
    }
    change_result(folder, metrics={"ppl/c4": overflow | measure | {"protocol": {"kind": "test", "overflow": True}}})
    report = build_report(outputs.root)
    metric = metric_of(report, "ppl/c4")
    assert metric.rank[row_of(report, "pile")] == 2
    assert metric.to_baseline.basis[row_of(report, "pile")] == Basis.NONE
