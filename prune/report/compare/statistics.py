"""Means with intervals, comparisons, and the correction for many of them. Pure functions of numbers.

bench/validity.py measures false positives and power. (Importing scipy.stats would add half a second to every report.)

Arrays: R comparisons, N items, S draws (seeds). NaN in, NaN out, unless a function says otherwise. Intervals are 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from prune.report.numbers import Array

CONFIDENCE = 0.95
ALPHA = 0.05


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
        """The same as one of several: p times `factor` (at most 1); the interval holds 0 exactly where p is 0.05 or more."""
        value, variance, df = (np.array([number]) for number in (self.value, self.variance, self.df))
        (low,), (high,), (p,) = t_comparison(value, variance, df, factor)
        return replace(self, low=float(low), high=float(high), p=float(np.minimum(1.0, factor * p)))


def _difference(value: float, variance: float, df: float) -> Difference:
    return Difference(value, variance, df, math.nan, math.nan, math.nan).among(1.0)


def paired_t(differences_N: Array) -> Difference:
    """The mean of paired differences of at least two items with its t interval; p as in scipy's ttest_rel.

    Equal differences say nothing of the noise: see t_comparison.
    """
    variance = float(np.var(differences_N, ddof=1)) / len(differences_N)
    return _difference(float(np.mean(differences_N)), variance, len(differences_N) - 1.0)


def t_comparison(
    differences_R: Array, variances_R: Array, df_R: Array, factor: float | Array = 1.0
) -> tuple[Array, Array, Array]:
    """(low, high, p) of differences with the given variances and degrees of freedom; df may be infinite (normal).

    A variance of 0 means that the noise is not known: there is no interval, and p is 1 for a difference of 0, else NaN.

    Args:
        factor: intervals miss with probability 0.05 / factor; p is not multiplied by it.
    """
    variances_R = np.where(variances_R > 0, variances_R, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        scales_R = np.sqrt(variances_R)
        half_R = -special.stdtrit(df_R, (1 - CONFIDENCE) / 2 / factor) * scales_R
        p_R = 2 * special.stdtr(df_R, -np.abs(differences_R) / scales_R)
    p_R = np.where(np.isnan(variances_R) & (differences_R == 0), 1.0, p_R)
    return differences_R - half_R, differences_R + half_R, p_R


@dataclass(frozen=True, slots=True)
class DrawNoise:
    """The noise of two sides' draws in the difference of their means."""

    first_R: Array
    """Variance of the first side's mean: that of its draws over their number; 0 where nothing is drawn."""
    second_R: Array
    num_first_R: Array
    """Draws of the first side; infinite where nothing is drawn."""
    num_second_R: Array


OF_FEWER = 1 / 3
"""Exponent of the share of the side with fewer draws, and of two draws beside the items."""
OF_THREE_DRAWS = 1.08
"""Factor of the share of three draws beside the items."""
OF_EQUAL_SPREADS = 0.65
"""Part of the averaged inverse that goes where both sides' variances are equal (Welch: a half)."""


def add_noises(items_R: Array, item_df_R: Array, draws: DrawNoise) -> tuple[Array, Array]:
    """(variance, degrees of freedom) of differences with the noise of their items and of their draws.

    Each side's draws have a spread of their own. The usual degrees of freedom (Welch 1947, Satterthwaite 1946) are too many
    for few draws: at 0.05 they give up to 6.4 % false positives of 2 draws each, 5.9 % of 3, and up to 12.7 % of unlike
    numbers of draws or with a little noise of the items. So the parts' inverse degrees of freedom are averaged by their
    shares of the variance (Cochran and Cox 1950), and the constants below say how boldly. They were chosen by integrating
    the test's level over both variances: at any ratio of the spreads it is at most 5 % for 2 to 8 draws each, 5.1 % for
    unlike numbers of 2 to 5, 5.3 % with noise of the items, and at least 3 % for 3 draws each or more (about
    2.8 % where nothing but a draw's answers scatters: see bench/validity.py). At Holm's smaller levels it is above nominal:
    a larger OF_EQUAL_SPREADS costs families of 20 rows their 5 %.

    Args:
        items_R: variance of the difference from the items, without the part that a draw's items add to `draws`.
        item_df_R: its degrees of freedom.
    """
    draws_R = draws.first_R + draws.second_R
    variance_R = items_R + draws_R
    fewest_R = np.minimum(draws.num_first_R, draws.num_second_R) - 1
    with np.errstate(invalid="ignore", divide="ignore"):
        share_R = np.where(variance_R > 0, draws_R / variance_R, 0.0)
        scaled_R = np.minimum(1.0, np.where(fewest_R == 2, OF_THREE_DRAWS, 1.0) * share_R)
        part_R = np.where(fewest_R == 1, share_R**OF_FEWER, scaled_R)
        inverse_R = np.where(draws_R > 0, _inverse_df(draws, draws_R), 0.0)
        return variance_R, 1 / (part_R * inverse_R + (1 - part_R) / item_df_R)


def _inverse_df(draws: DrawNoise, draws_R: Array) -> Array:
    """1 / degrees of freedom of the draws' variance: the sides' 1 / (n - 1), averaged, less a part where shares are equal.

    Welch's is the same with the shares w and 1 - w as weights, and 4 w (1 - w) itself for its power.
    """
    first_R, second_R = draws.num_first_R - 1, draws.num_second_R - 1
    fewest_R, most_R = np.minimum(first_R, second_R), np.maximum(first_R, second_R)
    share_R = np.where(first_R <= second_R, draws.first_R, draws.second_R) / draws_R
    equality_R = (4 * share_R * (1 - share_R)) ** np.where(fewest_R > 1, 4, 6)
    gain_R = np.where((fewest_R > 1) | (fewest_R == most_R), OF_EQUAL_SPREADS * equality_R, 0.0)
    part_R = share_R**OF_FEWER
    inverse_R: Array = part_R / fewest_R + (1 - part_R) / most_R - gain_R * (1 / fewest_R + 1 / most_R) / 2
    return inverse_R


def unpaired_t(first: Sequence[float], second: Sequence[float]) -> Difference:
    """mean(first) - mean(second) of two values or more each, with its interval and p; degrees of freedom: add_noises."""
    sides = [np.array(side) for side in (first, second)]
    noise = DrawNoise(
        *(np.var(side, ddof=1, keepdims=True) / len(side) for side in sides), *(np.array([len(side)]) for side in sides)
    )
    (variance,), (df,) = add_noises(np.zeros(1), np.full(1, np.inf), noise)
    return _difference(float(np.mean(first) - np.mean(second)), float(variance), float(df))


def rank(values: Sequence[float], *, higher_is_better: bool) -> list[int]:
    """The place of each value, 1 for the best; equal values share a place, and the places after it stay empty."""
    ordered = sorted(values, reverse=higher_is_better)
    place: dict[float, int] = {}
    for index, value in enumerate(ordered):
        place.setdefault(value, index + 1)
    return [place[value] for value in values]


def holm_factors(p_R: Array) -> Array:
    """The factors of Holm's step-down: m, m - 1, ... from the smallest p on, more where an earlier product is larger.

    NaN is no comparison: it stays NaN and is not counted in m. An interval that misses 0.05 / factor holds 0 exactly where
    the adjusted p is 0.05 or more. Source: Holm (1979).
    """
    factors_R = np.full(len(p_R), np.nan)
    known = np.flatnonzero(~np.isnan(p_R))
    order = known[np.argsort(p_R[known], kind="stable")]
    steps = np.arange(len(order), 0, -1.0)
    adjusted = np.maximum.accumulate(steps * p_R[order])
    factors_R[order] = np.divide(adjusted, p_R[order], out=steps, where=p_R[order] > 0)
    return factors_R
