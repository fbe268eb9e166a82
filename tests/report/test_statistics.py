import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from prune.report.compare.statistics import (
    DrawNoise,
    add_noises,
    holm,
    holm_factors,
    paired_t,
    rank,
    summarise,
    t_comparison,
    welch,
    wilson,
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


def test_equal_seeds_are_no_proof_of_no_spread() -> None:
    summary = summarise([0.25, 0.25, 0.25])
    assert (summary.mean, summary.sd, summary.low, summary.high) == (0.25, 0.0, None, None)


def test_paired_t_is_scipys_ttest_rel() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(3.0, 1.0, 40), rng.normal(2.8, 1.0, 40)
    ours, theirs = paired_t(first - second), stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


@pytest.mark.parametrize(("difference", "p"), [(0.0, 1.0), (0.5, math.nan)])
def test_differences_without_spread_have_no_interval(difference: float, p: float) -> None:
    ours = paired_t(np.full(5, difference))
    assert (ours.low, ours.high, ours.p) == pytest.approx((math.nan, math.nan, p), nan_ok=True)


def test_welch_is_scipys() -> None:
    first, second = [0.51, 0.55, 0.57], [0.40, 0.48, 0.47, 0.46]
    ours, theirs = welch(first, second), stats.ttest_ind(first, second, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


def noises(items: float, item_df: float, first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """(variance, degrees of freedom); sides are (variance of the mean, number of draws)."""
    draws = DrawNoise(*(np.array([number]) for number in (first[0], second[0], first[1], second[1])))
    variance, df = add_noises(np.array([items]), np.array([item_df]), draws)
    return float(variance[0]), float(df[0])


@pytest.mark.parametrize("size", [2, 3, 5])
def test_draws_alone_are_welchs_test_where_sides_have_equally_many(size: int) -> None:
    first, second = np.random.default_rng(size).normal(0, [[1.0], [4.0]], (2, size))
    theirs = stats.ttest_ind(first, second, equal_var=False)
    variance, df = noises(0.0, np.inf, (first.var(ddof=1) / size, size), (second.var(ddof=1) / size, size))
    assert (df, variance) == pytest.approx((theirs.df, ((first.mean() - second.mean()) / theirs.statistic) ** 2))


def test_a_side_without_draws_leaves_the_others_degrees_of_freedom() -> None:
    assert noises(0.0, np.inf, (2.0, 4), (0.0, np.inf)) == pytest.approx((2.0, 3.0))


def test_items_alone_keep_their_degrees_of_freedom() -> None:
    assert noises(0.5, 99.0, (0.0, np.inf), (0.0, np.inf)) == pytest.approx((0.5, 99.0))
    assert noises(0.5, 99.0, (0.0, 3), (0.0, 3)) == pytest.approx((0.5, 99.0))


def test_the_parts_degrees_of_freedom_are_joined_by_their_shares() -> None:
    # draws: 2 of 4, Satterthwaite's 4 degrees of freedom of 3 and 3 equally noisy draws; items: 2 of 4 with 49
    assert noises(2.0, 49.0, (1.0, 3), (1.0, 3)) == pytest.approx((4.0, 1 / (0.5 / 4 + 0.5 / 49)))


def test_unlike_numbers_of_draws_have_fewer_degrees_of_freedom_than_satterthwaites() -> None:
    # 2 draws hold 3/4 of the variance, 5 draws 1/4: 1 / (0.75 / 1 + 0.25 / 4); where the 2 hold nothing, twice their df
    assert noises(0.0, np.inf, (0.75, 2), (0.25, 5))[1] == pytest.approx(1 / 0.8125)
    assert noises(0.0, np.inf, (0.0, 2), (0.25, 5))[1] == pytest.approx(2.0)
    assert noises(0.0, np.inf, (0.75, 3), (0.25, 5))[1] == pytest.approx(1 / (0.75**1.75 / 2 + 0.25**1.75 / 4))


def test_an_infinite_df_is_the_normal_distribution() -> None:
    low, high, p = t_comparison(np.array([2.0]), np.array([1.0]), np.array([np.inf]))
    assert (low[0], high[0]) == pytest.approx((2 - 1.959964, 2 + 1.959964), rel=1e-6)
    assert p[0] == pytest.approx(2 * stats.norm.sf(2))


def test_an_unknown_variance_gives_nothing() -> None:
    low, high, p = t_comparison(np.array([2.0]), np.array([np.nan]), np.array([3.0]))
    assert np.isnan([low[0], high[0], p[0]]).all()


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


@given(st.lists(st.floats(0.0001, 0.9999), min_size=1, max_size=6), st.floats(0.05, 3.0))
def test_an_interval_among_several_holds_zero_exactly_where_p_is_not_below_its_level(
    p_values: list[float], scale: float
) -> None:
    differences = -stats.t.ppf(np.array(p_values) / 2, 4.0) * scale
    variances, dfs = np.full(len(p_values), scale**2), np.full(len(p_values), 4.0)
    _, _, p_R = t_comparison(differences, variances, dfs)
    low_R, _, _ = t_comparison(differences, variances, dfs, holm_factors(p_R))
    adjusted = holm(p_R)
    assert all((low > 0) == (p < 0.05) for low, p in zip(low_R, adjusted, strict=True) if abs(p - 0.05) > 1e-9)


def test_one_of_several_has_a_wider_interval_and_a_larger_p() -> None:
    alone = paired_t(np.array([1.0, 2.0, 4.0, 3.0]))
    among = alone.among(3.0)
    half = stats.t.ppf(1 - 0.025 / 3, 3) * math.sqrt(np.var([1.0, 2.0, 4.0, 3.0], ddof=1) / 4)
    assert among.p == pytest.approx(3 * alone.p)
    assert (among.low, among.high) == pytest.approx((2.5 - half, 2.5 + half))


@pytest.mark.parametrize(("num_right", "num_items"), [(0, 30), (7, 30), (30, 30), (1, 1), (500, 1000)])
def test_a_share_has_wilsons_interval(num_right: int, num_items: int) -> None:
    theirs = stats.binomtest(num_right, num_items).proportion_ci(method="wilson")
    assert wilson(num_right / num_items, num_items) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
