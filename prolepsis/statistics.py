"""Exact intervals and tests for counts, sign flips, multiplicity and sensitivity; pure functions (imports no torch).

Intervals for clustered values are in :mod:`prolepsis.judging.clustered`. Here ``alpha`` is the error rate that is
promised: for ``sided=1`` it is that of each bound alone, for ``sided=2`` it is shared by both.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from prolepsis.counts import check_count

FloatArray = npt.NDArray[np.float64]
Sided = Literal[1, 2]


def clopper_pearson(k: float, n: float, alpha: float = 0.05, sided: Sided = 2) -> tuple[float, float]:
    """Exact binomial interval for ``k`` of ``n`` (Clopper & Pearson 1934); 0 ≤ k ≤ n.

    ``k`` and ``n`` may be fractions: an effective count on an effective sample size (Korn & Graubard 1998).
    """
    check_count(k, n)
    tail = alpha / sided
    low = 0.0 if k <= 0 else float(special.betaincinv(k, n - k + 1, tail))
    high = 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, 1 - tail))
    return low, high


def clopper_pearson_p(k: float, n: float, p0: float) -> tuple[float, float]:
    """Exact one-sided p-values of ``k`` of ``n`` against the proportion ``p0``: for "above p0" and for "below p0".

    The dual of :func:`clopper_pearson` with ``sided=1``: a bound excludes p0 exactly when its p-value is ≤ alpha.
    """
    check_count(k, n)
    inside = min(max(p0, 0.0), 1.0)
    above = float(special.betainc(k, n - k + 1, inside)) if k > 0 else 1.0
    below = float(1 - special.betainc(k + 1, n - k, inside)) if k < n else 1.0
    return (0.0 if p0 < 0 else above), (0.0 if p0 > 1 else below)


def wilson(k: float, n: float, alpha: float = 0.05, sided: Sided = 2) -> tuple[float, float]:
    """Score interval for ``k`` of ``n`` (Wilson 1927), for independent trials only."""
    check_count(k, n)
    z = float(special.ndtri(1 - alpha / sided))
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def wald(k: float, n: float, alpha: float = 0.05, sided: Sided = 2) -> tuple[float, float]:
    """Normal-approximation interval for ``k`` of ``n``, as papers print it; empty at 0 and n, so never judged by."""
    check_count(k, n)
    p = k / n
    half = float(special.ndtri(1 - alpha / sided)) * math.sqrt(p * (1 - p) / n)
    return p - half, p + half


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided p of McNemar's test for paired yes/no outcomes, from the two discordant counts (1947)."""
    discordant = first_only + second_only
    tail = float(special.bdtr(min(first_only, second_only), discordant, 0.5))
    return min(1.0, 2 * tail)


class Overlap(NamedTuple):
    """Probabilities that two random sets share at most, exactly, and at least so many members."""

    at_most: float
    exactly: float
    at_least: float


def overlap_probability(overlap: int, first: int, second: int, total: int) -> Overlap:
    """How likely sets of ``first`` and ``second`` members, drawn blindly from ``total``, share ``overlap`` of them.

    Hypergeometric, in exact integers. No overlap of 5 and 10 heads among 512 has probability .905: it shows nothing.
    """
    if not (0 <= first <= total and 0 <= second <= total):
        raise ValueError(f"sets of {first} and {second} do not fit in {total}")
    ways = [math.comb(first, j) * math.comb(total - first, second - j) for j in range(second + 1)]
    every = math.comb(total, second)
    upto = sum(ways[: overlap + 1])
    exactly = ways[overlap] if 0 <= overlap <= second else 0
    return Overlap(upto / every, exactly / every, (every - upto + exactly) / every)


def subset_means(cluster_means: FloatArray, weights: FloatArray | None = None) -> FloatArray:
    """Means, by ``weights`` if given, of all 2^G − 1 non-empty subsets of G cluster means, ascending: [2^G − 1].

    They are the typical values of a symmetric centre (Hartigan 1969): it falls into each of the 2^G gaps between them
    equally often, which makes sign-flip bounds exact without looking for them.
    """
    sums, sizes = np.zeros(1), np.zeros(1)
    for mean, weight in zip(cluster_means, np.ones(len(cluster_means)) if weights is None else weights, strict=True):
        sums, sizes = np.concatenate([sums, sums + weight * mean]), np.concatenate([sizes, sizes + weight])
    return np.sort(sums[1:] / sizes[1:])


def sign_flip_bounds(means_of_subsets: FloatArray, alpha: float) -> tuple[float, float]:
    """Exact one-sided bounds for the centre of symmetric cluster means, by inversion of the sign-flip test.

    With G clusters no p-value is below 2^-G; for a smaller ``alpha`` no value can be excluded and the bounds are
    infinite.
    """
    rank = math.floor(alpha * (len(means_of_subsets) + 1) * (1 + 1e-12))
    if rank == 0:
        return -math.inf, math.inf
    return float(means_of_subsets[rank - 1]), float(means_of_subsets[-rank])


def sign_flip_p(means_of_subsets: FloatArray, theta0: float) -> tuple[float, float]:
    """Exact one-sided sign-flip p-values against ``theta0``: for "above" and for "below".

    Flipping the signs of the clusters in A leaves the mean as far above theta0 exactly when the mean over A is ≤
    theta0, and the identity always does; so p counts subset means.
    """
    flips = len(means_of_subsets) + 1
    above = 1 + int(np.searchsorted(means_of_subsets, theta0, side="right"))
    below = flips - int(np.searchsorted(means_of_subsets, theta0, side="left"))
    return above / flips, below / flips


def minimal_detectable_effect(standard_error: float, df: float) -> float:
    """Smallest true difference that a two-sided 5 % t-test finds with 80 % power: (t.975 + t.80) · SE."""
    return float(special.stdtrit(df, 0.975) + special.stdtrit(df, 0.80)) * standard_error


def holm(p_values: Sequence[float], alpha: float = 0.05) -> list[float]:
    """The level at which each hypothesis is to be tested so that all errors together stay ≤ alpha (Holm 1979).

    Smallest p first, at alpha/m, then alpha/(m − 1), …; after the first that fails all others keep its level. A
    hypothesis is rejected exactly when its p is ≤ its level. Equal p-values get equal levels, so order does not matter.
    """
    m = len(p_values)
    levels: dict[float, float] = {}
    failed: float | None = None
    for p in sorted(set(p_values)):
        smaller = sum(other < p for other in p_values)
        levels[p] = alpha / (m - smaller) if failed is None else failed
        if failed is None and p > levels[p]:
            failed = levels[p]
    return [levels[p] for p in p_values]


def grim(percentage: float, n: int, decimals: int) -> bool:
    """Whether some k of ``n`` gives ``percentage`` when rounded to ``decimals`` (GRIM test, Brown & Heathers 2017).

    Both roundings of a half are allowed.
    """
    slack = 0.5 * 10.0**-decimals + 1e-9
    nearest = min(max(round(percentage / 100 * n), 0), n)
    return abs(100 * nearest / n - percentage) <= slack
