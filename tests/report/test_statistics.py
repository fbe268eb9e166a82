import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prune.report.compare.statistics import (
    add_variances,
    holm,
    paired_bootstrap,
    paired_t,
    pooled_variance,
    rank,
    summarise,
    t_comparison,
    welch,
)


def test_mean_sd_and_t_interval_of_seeds() -> None:
    summary = summarise([1.0, 2.0, 6.0])
    # mean 3, sd sqrt((4 + 1 + 9) / 2) = sqrt(7), t(0.975, 2) = 4.302653
    assert summary.mean == 3.0
    assert summary.sd == pytest.approx(math.sqrt(7))
    assert summary.high == pytest.approx(3 + 4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert summary.low == pytest.approx(3 - 4.302653 * math.sqrt(7 / 3), rel=1e-6)


def test_one_seed_has_no_spread() -> None:
    summary = summarise([0.25])
    assert (summary.mean, summary.sd, summary.low, summary.high) == (0.25, None, None, None)


def test_paired_t_is_scipys_ttest_rel() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(3.0, 1.0, 40), rng.normal(2.8, 1.0, 40)
    ours, theirs = paired_t(first - second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_paired_t_without_spread(difference: float, p: float) -> None:
    ours = paired_t(np.full(5, difference))
    assert (ours.low, ours.high, ours.p) == (difference, difference, p)


def test_welch_is_scipys() -> None:
    first, second = [0.51, 0.55, 0.57], [0.40, 0.48, 0.47, 0.46]
    ours, theirs = welch(first, second), stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


@pytest.mark.parametrize("step", [1.0, 0.5, 1 / 3])
def test_the_bootstrap_is_that_of_drawing_items_one_by_one(step: float) -> None:
    rng = np.random.default_rng(2)
    differences = step * rng.choice([-2.0, -1.0, 0.0, 1.0, 2.0], size=80, p=[0.05, 0.1, 0.55, 0.2, 0.1])
    drawn = differences[rng.integers(0, 80, size=(40_000, 80))].mean(axis=1)
    ours = paired_bootstrap(differences)
    assert ours.value == pytest.approx(differences.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=step / 80 + 1e-9)
    assert ours.p == pytest.approx(2 * (drawn <= 1e-12).mean(), abs=0.006)
    assert ours.p > 0.01


def test_the_bootstrap_agrees_with_scipys_on_the_interval() -> None:
    differences = np.array([1.0] * 30 + [0.0] * 60 + [-1.0] * 10)
    theirs = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, rng=3)
    ours = paired_bootstrap(differences)
    interval = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.011)


def test_the_bootstrap_of_two_items_by_hand() -> None:
    # Resamples of {-1, 3}: means -1 (1/4), 1 (1/2), 3 (1/4); a quarter is <= 0.
    ours = paired_bootstrap(np.array([-1.0, 3.0]))
    assert (ours.value, ours.low, ours.high, ours.p) == (1.0, -1.0, 3.0, pytest.approx(0.5))


def test_the_bootstrap_of_many_items_tends_to_the_normal_distribution() -> None:
    differences = np.array([1.0] * 900 + [-1.0] * 800 + [0.0] * 8300)
    ours, z = paired_bootstrap(differences), 0.01 / (differences.std() / 100)
    assert ours.p == pytest.approx(2 * stats.norm.sf(z), abs=0.001)
    assert (ours.low, ours.high) == pytest.approx((0.01 - 1.96 * 0.01 / z, 0.01 + 1.96 * 0.01 / z), abs=0.0001)


def test_the_bootstrap_without_any_difference() -> None:
    ours = paired_bootstrap(np.zeros(9))
    assert (ours.low, ours.high, ours.p) == (0.0, 0.0, 1.0)
    always = paired_bootstrap(np.full(9, 1.0))
    assert (always.low, always.high, always.p) == (1.0, 1.0, 0.0)


def test_the_bootstrap_sees_signs_alike_and_refuses_what_has_no_step() -> None:
    differences = np.array([1.0, 1.0, 0.0, -1.0, 1.0, 0.0])
    ours, mirrored = paired_bootstrap(differences), paired_bootstrap(-differences)
    assert ours.p == pytest.approx(mirrored.p)
    with pytest.raises(ValueError, match="no multiples"):
        paired_bootstrap(np.array([0.1, np.pi]))


def test_variances_add_with_satterthwaites_degrees_of_freedom() -> None:
    # v = 1 with 4 df and 3 with 9 df: (1 + 3)^2 / (1 / 4 + 9 / 9) = 16 / 1.25 = 12.8
    total, df = add_variances([np.array([1.0, 0.0]), np.array([3.0, 0.0])], [np.array([4.0, 4.0]), np.array([9.0, np.inf])])
    assert total.tolist() == [4.0, 0.0]
    assert df.tolist() == [12.8, np.inf]


def test_an_infinite_df_is_the_normal_distribution() -> None:
    low, high, p = t_comparison(np.array([2.0]), np.array([1.0]), np.array([np.inf]))
    assert (low[0], high[0]) == pytest.approx((2 - 1.959964, 2 + 1.959964), rel=1e-6)
    assert p[0] == pytest.approx(2 * stats.norm.sf(2))


def test_an_unknown_variance_gives_nothing() -> None:
    low, high, p = t_comparison(np.array([2.0]), np.array([np.nan]), np.array([3.0]))
    assert np.isnan([low[0], high[0], p[0]]).all()


def test_pooled_variance_by_hand() -> None:
    # {1, 3}: 2, {2, 2, 5}: 6, {9}: nothing; (2 + 6) / (1 + 2)
    variance, df = pooled_variance([[1.0, 3.0], [2.0, 2.0, 5.0], [9.0], []])
    assert (variance, df) == (pytest.approx(8 / 3), 3)
    assert pooled_variance([[1.0], []])[1] == 0


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0])
def test_t_intervals_are_scipys(df: float) -> None:
    low, _, p = t_comparison(np.array([1.2]), np.array([0.25]), np.array([df]))
    assert low[0] == pytest.approx(1.2 - 0.5 * stats.t.ppf(0.975, df))
    assert p[0] == pytest.approx(2 * stats.t.sf(2.4, df))


@given(st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7]), max_size=8))
def test_ranks_are_scipys_minimum_ranks(values: list[float]) -> None:
    assert rank(values, higher_is_better=False) == stats.rankdata(values, method="min").astype(int).tolist()
    assert rank(values, higher_is_better=True) == stats.rankdata([-v for v in values], method="min").astype(int).tolist()


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 = 0.04, 0.06, 0.06, 0.04, never falling
    adjusted = holm(np.array([0.04, 0.01, np.nan, 0.03, 0.02]))
    assert adjusted[[0, 1, 3, 4]].tolist() == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert np.isnan(adjusted[2])
    assert holm(np.array([0.7, 0.9])).tolist() == [1.0, 1.0]


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=6))
def test_holm_rejects_what_the_closed_test_rejects(p_values: list[float]) -> None:
    """The closure principle with Bonferroni's test of every intersection is Holm's procedure."""
    for index, adjusted in enumerate(holm(np.array(p_values))):
        sets = [
            chosen
            for size in range(1, len(p_values) + 1)
            for chosen in itertools.combinations(range(len(p_values)), size)
            if index in chosen
        ]
        closed = max(min(1.0, len(chosen) * min(p_values[i] for i in chosen)) for chosen in sets)
        assert adjusted == pytest.approx(closed)
