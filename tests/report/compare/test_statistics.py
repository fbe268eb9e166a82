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
    holm_factors,
    paired_t,
    rank,
    t_comparison,
    unpaired_t,
)
from prune.report.numbers import Array


def holm(p_R: Array) -> Array:
    """p values adjusted by Holm's step-down."""
    return np.minimum(1, holm_factors(p_R) * p_R)


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


def noises(items: float, item_df: float, first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """(variance, degrees of freedom); sides are (variance of the mean, number of draws)."""
    draws = DrawNoise(*(np.array([number]) for number in (first[0], second[0], first[1], second[1])))
    variance, df = add_noises(np.array([items]), np.array([item_df]), draws)
    return float(variance[0]), float(df[0])


@pytest.mark.parametrize("size", [2, 3, 5])
def test_equal_variances_of_draws_have_more_degrees_of_freedom(size: int) -> None:
    assert noises(0.0, np.inf, (1.5, size), (1.5, size)) == pytest.approx((3.0, (size - 1) / 0.35))


@pytest.mark.parametrize(("size", "power"), [(2, 6), (3, 4), (5, 4)])
def test_unequal_variances_of_draws_have_fewer(size: int, power: int) -> None:
    # shares 3/4 and 1/4: 4 * 3/4 * 1/4 = 3/4
    assert noises(0.0, np.inf, (3.0, size), (1.0, size))[1] == pytest.approx((size - 1) / (1 - 0.65 * 0.75**power))
    assert noises(0.0, np.inf, (3.0, size), (0.0, size))[1] == pytest.approx(size - 1)


def test_a_side_without_draws_leaves_the_others_degrees_of_freedom() -> None:
    assert noises(0.0, np.inf, (2.0, 4), (0.0, np.inf)) == pytest.approx((2.0, 3.0))


def test_items_alone_keep_their_degrees_of_freedom() -> None:
    assert noises(0.5, 99.0, (0.0, np.inf), (0.0, np.inf)) == pytest.approx((0.5, 99.0))
    assert noises(0.5, 99.0, (0.0, 3), (0.0, 3)) == pytest.approx((0.5, 99.0))


def test_the_parts_degrees_of_freedom_are_joined_by_their_shares() -> None:
    # half of the variance each; 4 equally noisy draws have 3 / 0.35 degrees of freedom, 3 have 2 / 0.35 and count 1.08 times
    assert noises(2.0, 49.0, (1.0, 4), (1.0, 4)) == pytest.approx((4.0, 1 / (0.5 * 0.35 / 3 + 0.5 / 49)))
    assert noises(2.0, 49.0, (1.0, 3), (1.0, 3)) == pytest.approx((4.0, 1 / (0.54 * 0.35 / 2 + 0.46 / 49)))
    cube_root = 0.5 ** (1 / 3)
    assert noises(2.0, 49.0, (1.0, 2), (1.0, 2)) == pytest.approx((4.0, 1 / (cube_root * 0.35 + (1 - cube_root) / 49)))


def test_unlike_numbers_of_draws_count_the_fewer_by_the_cube_root_of_their_share() -> None:
    share = 0.75 ** (1 / 3)
    assert noises(0.0, np.inf, (0.75, 2), (0.25, 5))[1] == pytest.approx(1 / (share + (1 - share) / 4))
    equality = 0.65 * 0.75**4
    inverse = share / 2 + (1 - share) / 4 - equality * (1 / 2 + 1 / 4) / 2
    assert noises(0.0, np.inf, (0.75, 3), (0.25, 5))[1] == noises(0.0, np.inf, (0.25, 5), (0.75, 3))[1]
    assert noises(0.0, np.inf, (0.75, 3), (0.25, 5))[1] == pytest.approx(1 / inverse)


def level(sizes: tuple[int, int], spread: float, items: float) -> float:
    """The share of false positives at 0.05, by integrating over the variances that draws show.

    Args:
        spread: how many times the second side's draws scatter as the first's.
        items: their share of the difference's variance, as if it were known.
    """
    shares = (np.arange(400) + 0.5) / 400
    first, second = (stats.chi2.ppf(shares, size - 1) / (size - 1) / size for size in sizes)
    first_P, second_P = first.repeat(400), spread**2 * np.tile(second, 400)
    true = (1 / sizes[0] + spread**2 / sizes[1]) / (1 - items)
    draws = DrawNoise(first_P, second_P, *(np.full(len(first_P), float(size)) for size in sizes))
    variance_P, df_P = add_noises(np.full(len(first_P), items * true), np.full(len(first_P), np.inf), draws)
    inverse = np.linspace(1e-4, 1.1, 2000)
    quantile_P = np.interp(1 / df_P, inverse, stats.t.ppf(0.975, 1 / inverse))
    return float(np.mean(2 * stats.norm.sf(quantile_P * np.sqrt(variance_P / true))))


SPREADS = (1.0, 2.0, 5.0, 10.0, 20.0)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_equal_numbers_of_draws_hold_their_level_at_any_spread(size: int) -> None:
    levels = [level((size, size), spread, 0.0) for spread in SPREADS]
    assert max(levels) <= 0.05
    assert size == 2 or min(levels) >= 0.03


@pytest.mark.parametrize("sizes", [(2, 3), (2, 5), (3, 4), (3, 5), (4, 5)])
def test_unlike_numbers_of_draws_hold_their_level_at_any_spread(sizes: tuple[int, int]) -> None:
    assert max(level(sizes, spread, 0.0) for spread in (*SPREADS, 0.5, 0.2, 0.1)) <= 0.051


@pytest.mark.parametrize("size", [2, 3, 5])
def test_noise_of_the_items_beside_that_of_the_draws_holds_the_level(size: int) -> None:
    levels = [level((size, size), spread, items) for spread in SPREADS for items in (0.02, 0.05, 0.1, 0.3, 0.6, 0.9)]
    assert max(levels) <= 0.053
    assert size == 2 or min(levels) >= 0.03


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_family_of_twenty_rows_with_unequal_spreads_holds_its_level(size: int) -> None:
    """The first step of Holm: the smallest p of 19 against a row of any spread, those between 1 and 10."""
    rng, num = np.random.default_rng(1), 8000
    spread_PR = 10.0 ** (rng.permuted(np.tile(np.arange(20), (num, 1)), axis=1) / 19)
    draws_PRS = rng.normal(size=(num, 20, size)) * spread_PR[:, :, None]
    mean_PR, variance_PR = draws_PRS.mean(axis=2), draws_PRS.var(axis=2, ddof=1) / size
    numbers, baseline = np.full((num, 19), float(size)), variance_PR[:, :1].repeat(19, axis=1)
    nothing = np.zeros((num, 19))
    noise = DrawNoise(variance_PR[:, 1:], baseline, numbers, numbers)
    variance, df = add_noises(nothing, nothing + np.inf, noise)
    _, _, p = t_comparison(mean_PR[:, 1:] - mean_PR[:, :1], variance, df)
    assert np.mean(p.min(axis=1) < 0.05 / 19) <= 0.05


def test_unpaired_values_are_compared_as_draws_are() -> None:
    first, second = [0.51, 0.55, 0.57], [0.40, 0.48, 0.47, 0.46]
    ours = unpaired_t(first, second)
    variance, df = noises(0.0, np.inf, (np.var(first, ddof=1) / 3, 3), (np.var(second, ddof=1) / 4, 4))
    statistic = (np.mean(first) - np.mean(second)) / math.sqrt(variance)
    assert ours.p == pytest.approx(2 * stats.t.sf(statistic, df))
    assert statistic == pytest.approx(stats.ttest_ind(first, second, equal_var=False).statistic)


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
