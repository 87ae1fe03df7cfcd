"""Intervals for values that come in clusters: one entry, :func:`interval`, and its paired form (imports no torch).

Items that share a prompt, a feature or a rhyme group are not independent; intervals that treat them so err several
times as often as they promise. The design says how they hang together:

* "one-way": one label per item. t on the cluster means from 12 clusters on, exact sign flips of them below.
* "by-item": one label per item, and a mean over items, in which large clusters weigh more: what share of the words, not
  of the average group. Ratio estimator, with as many clusters as equal ones would vary as little (Kish 1965).
* "two-way": a label for each of two crossed factors. Cameron, Gelbach & Miller (2011), with the smaller number of
  clusters − 1 degrees of freedom.
* "pairs-of-groups": source and target group. Delete-one-group jackknife: leaving a group out removes every pair that
  touches it. As many clusters as there are groups on the side that has fewer: four sources remain four, whatever
  number of targets they meet.
* "single": one deterministic value; a point with its numerical tolerance.

A proportion at 0 or n gets the Clopper–Pearson bound on clusters, and no proportion gets a bound nearer to 0 or 1 than
that one. Between, no bound is narrower than the exact one for the effective number of trials (Korn & Graubard 1998):
near the ends cluster means are skewed, and t alone errs up to 18 % where 5 % is promised (simulated). A paired
difference of hits gets exact bounds on either kind of discordance instead, with clusters as trials, and one from a
proportion that is known beforehand those of the hits. For pairs of
groups the bound at 0 or n counts disjoint pairs (at most half the groups), because a hit may need both of its groups.
No bound of a proportion, or of a difference of two, lies outside what it can be.
Values that are equal up to float32 noise have the point as their interval.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from prolepsis import statistics
from prolepsis.judging.laws import (
    Blind,
    Count,
    Discordant,
    Ends,
    Law,
    NeverDiffered,
    Point,
    Shifted,
    SignFlip,
    Student,
    Widest,
    Within,
)
from prolepsis.measurement import Design
from prolepsis.statistics import FloatArray

Values = Mapping[str, float]
Clusters = Mapping[str, tuple[str, ...]]

FORWARD_NOISE = 1e-5  # relative; float32 logits of equal runs differ by less
ROUNDING = 1e-12  # relative; what sums of float64 that are equal may differ by
SIGN_FLIP_BELOW = 12  # clusters
COUNTED = "Clopper–Pearson on clusters"


@dataclass(frozen=True)
class Interval:
    """One-sided (1 − alpha) bounds on each side of ``value``; infinite where the data cannot give one.

    ``n`` items in ``clusters`` clusters; ``k`` is the number of hits where items are yes/no, else None.
    """

    value: float
    low: float
    high: float
    clusters: int
    n: int
    method: str
    k: int | None


@dataclass(frozen=True)
class Estimate:
    """A mean with everything needed to bound it at any level.

    ``se`` is the standard error and ``mde`` the minimal detectable effect; both are 0 for points, and for counts whose
    clusters are alike, which show no spread.
    """

    value: float
    se: float
    mde: float
    clusters: int
    n: int
    k: int | None
    method: str
    law: Law

    def bounds(self, alpha: float) -> tuple[float, float]:
        """One-sided (1 − alpha) bounds, [low, high]."""
        return self.law.bounds(alpha)

    def p_values(self, theta0: float) -> tuple[float, float]:
        """One-sided p-values against theta0: for "above theta0" and for "below theta0"."""
        return self.law.p_values(theta0)


def interval(values: Values, clusters: Clusters, design: Design, unit: str, *, alpha: float = 0.05) -> Interval:
    """One-sided (1 − alpha) bounds for the mean of ``values`` (item → value), clustered as ``design`` says.

    ``clusters`` maps at least the items of ``values`` to their labels. Only the unit "proportion" means counted hits.
    """
    return _bounded(estimate(values, clusters, design, unit), alpha)


def paired_interval(
    values: Values, arm: Values, clusters: Clusters, design: Design, unit: str, *, alpha: float = 0.05
) -> Interval:
    """The same for the mean difference ``values`` − ``arm`` over the items both have."""
    return _bounded(paired_estimate(values, arm, clusters, design, unit), alpha)


def paired_estimate(
    values: Values, arm: Values, clusters: Clusters, design: Design, unit: str, *, tolerance: float | None = None
) -> Estimate:
    """Estimate of the mean difference ``values`` − ``arm`` over the items both have, item by item."""
    differences = {item: value - arm[item] for item, value in values.items() if item in arm}
    return estimate(differences, clusters, design, unit, lowest=-1.0, tolerance=tolerance)


def shifted(found: Estimate, constant: float, sign: Literal[1, -1]) -> Estimate:
    """Estimate of ``sign`` times what ``found`` is of, plus a constant: as certain as that is."""
    return replace(found, value=constant + sign * found.value, law=Shifted(found.law, constant, sign), k=None)


def estimate(
    values: Values,
    clusters: Clusters,
    design: Design,
    unit: str,
    *,
    lowest: float = 0.0,
    tolerance: float | None = None,
) -> Estimate:
    """Estimate of the mean of ``values``; ``lowest`` is the least value a proportion (or difference of two) can take.

    ``tolerance`` is the numerical tolerance of a "single" value, by default float32 forward noise.
    """
    items = sorted(values)
    if not items:
        raise ValueError("no values to estimate from")
    x = np.array([values[item] for item in items], dtype=np.float64)  # [n]
    if design == "single":
        return _single(x, tolerance)
    labels = [clusters[item] for item in items]
    counted = unit == "proportion"
    k = int(x.sum()) if counted and lowest == 0 and bool(np.isin(x, (0.0, 1.0)).all()) else None
    size, units = count_clusters(labels, design), _units(labels, design)
    if counted and float(np.ptp(x)) == 0 and x[0] in (lowest, 0.0, 1.0):
        law = _end_law(float(x[0]), units, lowest)
        return Estimate(float(x[0]), 0.0, 0.0, size, len(x), k, COUNTED, law)
    value, se, df, law, method = _spread(x, labels, design)
    mde = statistics.minimal_detectable_effect(se, df) if df > 0 else math.inf
    if counted and isinstance(law, Point) and bool(np.isin(x, (-1.0, 0.0, 1.0)).all()):
        law = Count((value - lowest) / (1 - lowest), units, lowest)
        return Estimate(value, 0.0, 0.0, size, len(x), k, COUNTED, law)
    if counted and lowest < 0 and bool(np.isin(x, (-1.0, 0.0, 1.0)).all()) and not isinstance(law, Blind):
        exact = Discordant(float((x > 0).mean()), float((x < 0).mean()), units)
        law = Within(Widest((law, exact)), lowest)
        return Estimate(value, se, mde, size, len(x), k, f"exact discordance, or {method}", law)
    if counted and not isinstance(law, Point | Blind):
        skewed = _effective_count(value, se, len(x), lowest)
        law = Within(Widest((law, skewed, Ends(units, lowest))), lowest)
    return Estimate(value, se, mde, size, len(x), k, method, law)


def count_clusters(labels: list[tuple[str, ...]], design: Design) -> int:
    """Number of independent clusters: labels, or those of the factor, or of the side of pairs, that has fewer."""
    if design == "single":
        return len(labels)
    return min(len(set(factor)) for factor in zip(*labels, strict=True)) if labels else 0


def _bounded(found: Estimate, alpha: float) -> Interval:
    low, high = found.bounds(alpha)
    return Interval(found.value, low, high, found.clusters, found.n, found.method, found.k)


def _single(x: FloatArray, tolerance: float | None) -> Estimate:
    if len(x) != 1:
        raise ValueError(f"a single design has one value, not {len(x)}")
    value = float(x[0])
    law = Point(value, FORWARD_NOISE * max(1.0, abs(value)) if tolerance is None else tolerance)
    return Estimate(value, 0.0, 0.0, 1, 1, None, "point, deterministic", law)


def _units(labels: list[tuple[str, ...]], design: Design) -> int:
    """Number of independent trials: clusters, or pairs of groups that can share none."""
    size = count_clusters(labels, design)
    if design != "pairs-of-groups":
        return size
    return max(1, min(size, len({group for pair in labels for group in pair}) // 2))


def _effective_count(value: float, se: float, n: int, lowest: float) -> Count:
    """Clopper–Pearson with as many trials as would give this standard error, at most one per item (Korn & Graubard)."""
    proportion, deviation = (value - lowest) / (1 - lowest), se / (1 - lowest)
    return Count(proportion, min(proportion * (1 - proportion) / deviation**2, n), lowest)


def _end_law(value: float, units: int, lowest: float) -> Law:
    if lowest < value < 1:
        return NeverDiffered(units)
    return Count((value - lowest) / (1 - lowest), units, lowest)


def _spread(x: FloatArray, labels: list[tuple[str, ...]], design: Design) -> tuple[float, float, float, Law, str]:
    """Mean, standard error, its degrees of freedom, law and the name of the method."""
    df: float
    weights = None
    if design in ("one-way", "by-item"):
        names, where, sizes = np.unique([label for (label,) in labels], return_inverse=True, return_counts=True)
        means = np.bincount(where, weights=x) / sizes  # [G]
        method = f"t on {len(names)} cluster means"
        value = float(means.mean())
        se = float(means.std(ddof=1)) / math.sqrt(len(names)) if len(names) > 1 else math.inf
        df = len(names) - 1
        if design == "by-item":
            weights, method, value = sizes / len(x), f"{method}, by size", float(x.mean())
            se, df = _by_size(means - value, weights)
    elif design == "two-way":
        value, se, df = _two_way(x, labels)
        method = "two-way clustered t"
    else:
        value, se, df = _jackknife(x, labels)
        method = "delete-one-group jackknife"
    if not math.isfinite(se):
        return value, math.inf, df, Blind(), f"none: {method} needs more clusters"
    noise, scale = float(np.abs(x - value).max()), max(float(np.abs(x).max()), 0.1)
    # Where clusters are alike, rounding decides whether their spread comes out as 0.
    alike = se <= ROUNDING * scale
    if noise <= FORWARD_NOISE * scale or alike:
        return value, 0.0, df, Point(value, 0.0 if alike else noise), "point, no variance"
    if design in ("one-way", "by-item") and len(names) < SIGN_FLIP_BELOW:
        flips, by_size = SignFlip(statistics.subset_means(means, weights)), "" if weights is None else ", by size"
        return value, se, df, flips, f"exact sign flips of {len(names)} clusters{by_size}"
    return value, se, df, Student(value, se, df), method


def _by_size(deviations: FloatArray, weights: FloatArray) -> tuple[float, float]:
    """Standard error and degrees of freedom of a mean of clusters by ``weights`` of sum 1, from their deviations.

    Squares of residuals lose the share Σ w² to the mean, 1 / G where weights are equal; 1 / Σ w² is how many equal
    clusters would vary as little.
    """
    if len(deviations) < 2:
        return math.inf, 0
    lost = float(weights @ weights)
    return math.sqrt(float(((weights * deviations) ** 2).sum()) / (1 - lost)), 1 / lost - 1


def _two_way(x: FloatArray, labels: list[tuple[str, ...]]) -> tuple[float, float, int]:
    """Cluster-robust variances of the two factors, added, less that of their cells; never below the larger one.

    As Cameron, Gelbach & Miller (2011), but for the correction: residuals from the mean of n items lose, of each sum of
    squares over clusters of sizes m, the share sum m² / n² of the variance, and the total is divided by what remains.
    """
    value, n = float(x.mean()), len(x)
    factors = [[label[0] for label in labels], [label[1] for label in labels], [str(label) for label in labels]]
    variances, lost, sizes = [], [], []
    for factor in factors:
        names, where = np.unique(factor, return_inverse=True)
        sizes.append(len(names))
        if len(names) < 2:
            return value, math.inf, 0
        variances.append(float((np.bincount(where, weights=x - value) ** 2).sum()) / n**2)
        lost.append(float((np.bincount(where) ** 2).sum()) / n**2)
    # What is kept is the share of pairs of items that share neither label: some, where both factors have two labels.
    (first, second, cells), kept = variances, 1 - lost[0] - lost[1] + lost[2]
    single = max(variance * size / (size - 1) for variance, size in zip(variances[:2], sizes[:2], strict=True))
    return value, math.sqrt(max((first + second - cells) / kept, single)), min(sizes[:2]) - 1


def _jackknife(x: FloatArray, labels: list[tuple[str, ...]]) -> tuple[float, float, int]:
    """Delete-one-group jackknife of the mean over pairs (each group deleted with all the pairs it is part of)."""
    groups, where = np.unique(labels, return_inverse=True)
    pairs = where.reshape(len(labels), -1)  # [n, 2]
    kept = (pairs != np.arange(len(groups))[:, None, None]).all(axis=2)  # [G, n]
    if len(groups) < 3 or not kept.any(axis=1).all():
        return float(x.mean()), math.inf, 0
    without = kept @ x / kept.sum(axis=1)  # [G]
    se = math.sqrt((len(groups) - 1) / len(groups) * float(((without - without.mean()) ** 2).sum()))
    return float(x.mean()), se, count_clusters(labels, "pairs-of-groups") - 1
