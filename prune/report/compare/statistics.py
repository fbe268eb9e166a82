"""Means with intervals, comparisons on the same items, and the correction for many comparisons. Pure functions of numbers.

Arrays: R comparisons, N items, S seeds. NaN in, NaN out, unless a function says otherwise. Intervals are 95 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray
from scipy import special

from prune.report.model import Array

CONFIDENCE = 0.95
ALPHA = 0.05
MAX_STEPS = 100
"""In 1: differences of accuracies are multiples of 1 / (seeds that were averaged)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of several seeds in a few numbers."""

    mean: float
    sd: float | None
    """With n - 1 in the denominator; None for one value."""
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference with its interval and two-sided p."""

    value: float
    low: float
    high: float
    p: float


def summarise(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and t interval of at least one value: mean -+ t(0.975, n - 1) sd / sqrt(n)."""
    mean = fmean(values)
    if len(values) < 2:
        return Summary(mean, None, None, None)
    sd = stdev(values)
    half = _t_quantile(len(values) - 1) * sd / math.sqrt(len(values))
    return Summary(mean, sd, mean - half, mean + half)


@cache
def _t_quantile(df: int) -> float:
    """So many standard errors to either side of a mean hold the true one with CONFIDENCE."""
    return float(special.stdtrit(df, 0.5 + CONFIDENCE / 2))


def paired_t(differences_N: Array) -> Difference:
    """The mean of paired differences of at least two items with its t interval; p as in scipy's ttest_rel.

    Items without any spread: the interval is the mean itself, and p is 1 for a mean of 0, else 0.
    """
    variance = float(np.var(differences_N, ddof=1)) / len(differences_N)
    mean = np.array([np.mean(differences_N)])
    low, high, p = t_comparison(mean, np.array([variance]), np.array([len(differences_N) - 1.0]))
    return Difference(float(mean[0]), float(low[0]), float(high[0]), float(p[0]))


def paired_bootstrap(differences_N: Array) -> Difference:
    """The mean of paired differences with the percentile interval of the bootstrap over items.

    p is twice the smaller share of the resamples that lie on either side of 0, those at 0 counted on both, and at most 1.

    Differences of accuracies are multiples of a step (1, or 1/2 where one side is the mean of two seeds), so that the
    distribution of a resample's sum is known exactly: that of one draw, convolved N times with itself. It is what resampling
    tends to with ever more resamples (Efron and Tibshirani 1993, section 6.2: the ideal bootstrap), without its own noise.

    Raises:
        ValueError: the differences are no multiples of 1/MAX_STEPS or more.
    """
    steps = _steps(differences_N)
    whole_N = np.rint(steps * differences_N).astype(np.int64)
    smallest = int(whole_N.min())
    low, high, p = _resample(smallest, tuple(np.bincount(whole_N - smallest).tolist()))
    one = steps * len(differences_N)
    return Difference(float(np.mean(differences_N)), low / one, high / one, p)


def can_be_resampled(differences_N: Array) -> bool:
    """Whether `paired_bootstrap` takes the differences: those of answers that are right or wrong."""
    if np.abs(differences_N).max() > 1:
        return False
    try:
        return _steps(differences_N) <= MAX_STEPS
    except ValueError:
        return False


@lru_cache(maxsize=65536)
def _resample(smallest: int, counts: tuple[int, ...]) -> tuple[int, int, float]:
    """(low and high end of the interval of a resample's sum, p), where `counts[i]` items are `smallest` + i.

    Two cells that differ on as many items either way are alike: of a few hundred items there are few such counts.
    """
    num_items, span = sum(counts), len(counts) - 1
    size = num_items * span + 1
    draw = np.array(counts) / num_items
    probabilities_S = np.clip(np.fft.irfft(np.fft.rfft(draw, size) ** num_items, size), 0, None) if size > 1 else np.ones(1)
    sums_S = num_items * smallest + np.arange(size)
    low, high = sums_S[_quantiles(probabilities_S)].tolist()
    tail = min(probabilities_S[sums_S <= 0].sum(), probabilities_S[sums_S >= 0].sum())
    return low, high, min(1.0, 2 * float(tail))


def _steps(values: Array) -> int:
    """The least number of steps in 1 of which all values are multiples."""
    for steps in range(1, MAX_STEPS + 1):
        scaled = steps * values
        if np.abs(scaled - np.rint(scaled)).max() <= 1e-6:
            return steps
    raise ValueError(f"these differences are no multiples of 1/{MAX_STEPS} or more")


def _quantiles(probabilities_S: Array) -> NDArray[np.int64]:
    """Where the distribution first holds 2.5 % and 97.5 %."""
    cumulative_S = np.cumsum(probabilities_S) / probabilities_S.sum()
    edges = [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2]
    return np.minimum(np.searchsorted(cumulative_S, np.array(edges) - 1e-12), len(cumulative_S) - 1)


def t_comparison(differences_R: Array, variances_R: Array, df_R: Array) -> tuple[Array, Array, Array]:
    """(low, high, p) of differences with the given variances and degrees of freedom; df may be infinite (normal)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scales_R = np.sqrt(variances_R)
        half_R = special.stdtrit(df_R, 0.5 + CONFIDENCE / 2) * scales_R
        p_R = 2 * special.stdtr(df_R, -np.abs(differences_R) / scales_R)
    certain_R = variances_R == 0
    half_R = np.where(certain_R, 0.0, half_R)
    p_R = np.where(certain_R, np.where(differences_R == 0, 1.0, 0.0), p_R)
    return differences_R - half_R, differences_R + half_R, p_R


def add_variances(variances: Sequence[Array], dfs: Sequence[Array]) -> tuple[Array, Array]:
    """The sum of independent variances, each estimated with its degrees of freedom, and that of the sum.

    Source: Welch (1947) and Satterthwaite (1946): df = (sum v)^2 / sum(v^2 / df).
    """
    total = np.sum(variances, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.sum([variance**2 / df for variance, df in zip(variances, dfs, strict=True)], axis=0)
        return total, np.where(shares == 0, np.inf, total**2 / shares)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference:
    """mean(first) - mean(second) with its interval and p by Welch's test; two values at least on each side."""
    variances = [np.array([np.var(side, ddof=1) / len(side)]) for side in (first, second)]
    variance, df = add_variances(variances, [np.array([len(side) - 1.0]) for side in (first, second)])
    difference = np.array([np.mean(first) - np.mean(second)])
    low, high, p = t_comparison(difference, variance, df)
    return Difference(float(difference[0]), float(low[0]), float(high[0]), float(p[0]))


def pooled_variance(samples: Sequence[Sequence[float]]) -> tuple[float, int]:
    """(variance, degrees of freedom) within samples that have a spread of their own in common.

    Sum of squares within the samples of two values or more over sum(n - 1); (nan, 0) when there is none.
    """
    several = [np.asarray(sample, dtype=float) for sample in samples if len(sample) > 1]
    df = sum(len(sample) - 1 for sample in several)
    if df == 0:
        return float("nan"), 0
    return sum(float(np.sum((sample - sample.mean()) ** 2)) for sample in several) / df, df


def rank(values: Sequence[float], *, higher_is_better: bool) -> list[int]:
    """The place of each value, 1 the best; equal values share the better place and the places after it are left out."""
    ordered = sorted(values, reverse=higher_is_better)
    place: dict[float, int] = {}
    for index, value in enumerate(ordered):
        place.setdefault(value, index + 1)
    return [place[value] for value in values]


def holm(p_R: Array) -> Array:
    """p values adjusted by Holm's step-down: the i-th smallest of m times (m - i + 1), never falling, at most 1.

    NaN is no comparison: it stays and is not counted in m. Source: Holm (1979).
    """
    adjusted_R = np.full(len(p_R), np.nan)
    known = np.flatnonzero(~np.isnan(p_R))
    order = known[np.argsort(p_R[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted_R[order] = np.minimum(1, np.maximum.accumulate(factors * p_R[order]))
    return adjusted_R
