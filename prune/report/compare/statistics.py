"""Means with intervals, comparisons, and the correction for many of them. Pure functions of numbers.

What is by hand here was chosen by simulation: bench/validity.py has the false positives and the power of each choice.

Arrays: R comparisons, N items, S draws (seeds). NaN in, NaN out, unless a function says otherwise. Intervals are 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import fmean, stdev

import numpy as np
from scipy import special

from prune.report.model import Array

CONFIDENCE = 0.95
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of several seeds in a few numbers."""

    mean: float
    sd: float | None
    """With n - 1 in the denominator; None for one value."""
    low: float | None
    """None for one value, and for equal values: they do not say that there is no noise."""
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference with its variance, and the interval and two-sided p of the t distribution."""

    value: float
    variance: float
    df: float
    low: float
    high: float
    p: float

    def among(self, factor: float) -> "Difference":
        """As one of several: p times `factor` (at most 1), in an interval that holds 0 exactly where p is 0.05 or more."""
        value, variance, df = (np.array([number]) for number in (self.value, self.variance, self.df))
        (low,), (high,), (p,) = t_comparison(value, variance, df, factor)
        return replace(self, low=float(low), high=float(high), p=float(np.minimum(1.0, factor * p)))


def _difference(value: float, variance: float, df: float) -> Difference:
    return Difference(value, variance, df, math.nan, math.nan, math.nan).among(1.0)


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and t interval of at least one value: mean -+ t(0.975, n - 1) sd / sqrt(n)."""
    mean = fmean(values)
    if len(values) < 2:
        return Summary(mean, None, None, None)
    sd = stdev(values)
    if sd == 0:
        return Summary(mean, sd, None, None)
    half = _t_quantile(len(values) - 1) * sd / math.sqrt(len(values))
    return Summary(mean, sd, mean - half, mean + half)


@cache
def _t_quantile(df: int) -> float:
    """So many standard errors to either side of a mean hold the true one with CONFIDENCE."""
    return float(special.stdtrit(df, 0.5 + CONFIDENCE / 2))


def paired_t(differences_N: Array) -> Difference:
    """The mean of paired differences of at least two items with its t interval; p as in scipy's ttest_rel.

    Differences without any spread tell nothing of the noise: see t_comparison.
    """
    variance = float(np.var(differences_N, ddof=1)) / len(differences_N)
    return _difference(float(np.mean(differences_N)), variance, len(differences_N) - 1.0)


def t_comparison(
    differences_R: Array, variances_R: Array, df_R: Array, factor: float | Array = 1.0
) -> tuple[Array, Array, Array]:
    """(low, high, p) of differences with the given variances and degrees of freedom; df may be infinite (normal).

    A variance of 0 is no knowledge: there is no interval, and p is 1 of a difference of 0, else NaN.

    Args:
        factor: how often smaller than 0.05 the share of intervals is that miss; p is not multiplied by it.
    """
    variances_R = np.where(variances_R > 0, variances_R, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        scales_R = np.sqrt(variances_R)
        half_R = -special.stdtrit(df_R, (1 - CONFIDENCE) / 2 / factor) * scales_R
        p_R = 2 * special.stdtr(df_R, -np.abs(differences_R) / scales_R)
    p_R = np.where(np.isnan(variances_R) & (differences_R == 0), 1.0, p_R)
    return differences_R - half_R, differences_R + half_R, p_R


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """mean(first) - mean(second) with its interval and p by Welch's test; two values at least on each side."""
    variances = [float(np.var(side, ddof=1)) / len(side) for side in (first, second)]
    shares = sum(variance**2 / (len(side) - 1) for variance, side in zip(variances, (first, second), strict=True))
    df = sum(variances) ** 2 / shares if shares else math.inf
    return _difference(float(np.mean(first) - np.mean(second)), sum(variances), df)


@dataclass(frozen=True, slots=True)
class DrawNoise:
    """The noise of two sides' draws in the difference of their means."""

    first_R: Array
    """Variance of the first side's mean: that of its draws over their number. 0 of a side that is drawn once and for all."""
    second_R: Array
    num_first_R: Array
    """Draws of the first side; infinite where nothing is drawn."""
    num_second_R: Array


def add_noises(items_R: Array, item_df_R: Array, draws: DrawNoise) -> tuple[Array, Array]:
    """(variance, degrees of freedom) of differences with the noise of their items and of their draws.

    Each side's draws have a spread of their own (Welch 1947). Satterthwaite's degrees of freedom are too many where few
    draws meet many items, or sides have unlike numbers of draws: at 0.05, 12 % false positives of 2 draws each with a tenth
    of the variance from the items, 10 % of 2 against 5 draws. So the parts' degrees of freedom are joined less boldly; the
    exponents are those that hold 6.5 % in bench/validity.py and lose least power.

    Args:
        items_R: variance of the difference from the items, without the part that a draw's items add to `draws`.
        item_df_R: its degrees of freedom.
    """
    draws_R = draws.first_R + draws.second_R
    variance_R = items_R + draws_R
    fewest_R = np.minimum(draws.num_first_R, draws.num_second_R) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        part_R = np.where(variance_R > 0, draws_R / variance_R, 0.0)
        part_R = part_R ** np.where(fewest_R > 1, 1.0, 0.4)
        inverse_R = np.where(draws_R > 0, _inverse_df(draws, draws_R, fewest_R), 0.0)
        items_part_R = np.where(variance_R > 0, items_R / variance_R, 0.0)
        return variance_R, 1 / (part_R * inverse_R + items_part_R / item_df_R)


def _inverse_df(draws: DrawNoise, draws_R: Array, fewest_R: Array) -> Array:
    """1 / degrees of freedom of the draws' variance: Satterthwaite's where sides have equally many, else fewer."""
    numbers = draws.num_first_R, draws.num_second_R
    alike_R = (numbers[0] == numbers[1]) | np.isinf(numbers[0]) | np.isinf(numbers[1])
    exponent_R = np.where(alike_R, 2.0, np.where(fewest_R > 1, 1.75, 1.0))
    sides = zip((draws.first_R, draws.second_R), numbers, strict=True)
    inverse_R: Array = np.sum([(side_R / draws_R) ** exponent_R / (number_R - 1) for side_R, number_R in sides], axis=0)
    return np.where(alike_R, inverse_R, np.maximum(inverse_R, 1 / (2 * fewest_R)))


def rank(values: Sequence[float], *, higher_is_better: bool) -> list[int]:
    """The place of each value, 1 the best; equal values share the better place and the places after it are left out."""
    ordered = sorted(values, reverse=higher_is_better)
    place: dict[float, int] = {}
    for index, value in enumerate(ordered):
        place.setdefault(value, index + 1)
    return [place[value] for value in values]


def holm_factors(p_R: Array) -> Array:
    """What Holm's step-down multiplies each p with: m, m - 1, ... from the smallest on, more where an earlier one is larger.

    NaN is no comparison: it stays and is not counted in m. An interval that misses 0.05 / factor holds 0 exactly where the
    adjusted p is 0.05 or more. Source: Holm (1979).
    """
    factors_R = np.full(len(p_R), np.nan)
    known = np.flatnonzero(~np.isnan(p_R))
    order = known[np.argsort(p_R[known], kind="stable")]
    steps = np.arange(len(order), 0, -1.0)
    adjusted = np.maximum.accumulate(steps * p_R[order])
    factors_R[order] = np.divide(adjusted, p_R[order], out=steps, where=p_R[order] > 0)
    return factors_R


def holm(p_R: Array) -> Array:
    """p values adjusted by Holm's step-down: the i-th smallest of m times (m - i + 1), never falling, at most 1."""
    return np.minimum(1, holm_factors(p_R) * p_R)


def wilson(share: float, number: int) -> tuple[float, float]:
    """The interval of a share of so many items, which does not shrink to a point at 0 or 1. Source: Wilson (1927)."""
    z = float(special.ndtri(0.5 + CONFIDENCE / 2))
    centre = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    half = z / (1 + z**2 / number) * math.sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    return max(0.0, centre - half), min(1.0, centre + half)
