"""How an estimate can vary: laws that give one-sided bounds at any level, and the p-values that are their duals.

A bound at level alpha excludes theta0 exactly when the p-value of that side is ≤ alpha. Imports no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from scipy import special

from prolepsis import statistics
from prolepsis.statistics import FloatArray


class Law(Protocol):
    """How an estimate varies: its one-sided bounds at a level, and its one-sided p-values (above, below)."""

    def bounds(self, alpha: float) -> tuple[float, float]: ...
    def p_values(self, theta0: float) -> tuple[float, float]: ...


@dataclass(frozen=True)
class Point:
    """A value that does not vary, but for a numerical tolerance."""

    value: float
    tolerance: float

    def bounds(self, alpha: float) -> tuple[float, float]:  # noqa: ARG002
        return self.value - self.tolerance, self.value + self.tolerance

    def p_values(self, theta0: float) -> tuple[float, float]:
        low, high = self.bounds(0.0)
        return float(low < theta0), float(high > theta0)


@dataclass(frozen=True)
class Blind:
    """Too few clusters to say how the value varies: nothing is excluded."""

    def bounds(self, alpha: float) -> tuple[float, float]:  # noqa: ARG002
        return -math.inf, math.inf

    def p_values(self, theta0: float) -> tuple[float, float]:  # noqa: ARG002
        return 1.0, 1.0


@dataclass(frozen=True)
class Student:
    """A value whose error divided by its standard error follows t with ``df`` degrees of freedom."""

    value: float
    se: float
    df: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        reach = float(special.stdtrit(self.df, 1 - alpha)) * self.se
        return self.value - reach, self.value + reach

    def p_values(self, theta0: float) -> tuple[float, float]:
        t = (self.value - theta0) / self.se
        return float(special.stdtr(self.df, -t)), float(special.stdtr(self.df, t))


@dataclass(frozen=True)
class SignFlip:
    """The centre of symmetric cluster means, by the means of all their subsets."""

    means_of_subsets: FloatArray

    def bounds(self, alpha: float) -> tuple[float, float]:
        return statistics.sign_flip_bounds(self.means_of_subsets, alpha)

    def p_values(self, theta0: float) -> tuple[float, float]:
        return statistics.sign_flip_p(self.means_of_subsets, theta0)


@dataclass(frozen=True)
class Count:
    """A proportion of ``trials``, stretched to the range that starts at ``floor`` and ends at 1."""

    proportion: float
    trials: float
    floor: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        low, high = statistics.clopper_pearson(self.proportion * self.trials, self.trials, alpha, sided=1)
        span = 1 - self.floor
        return self.floor + span * low, self.floor + span * high

    def p_values(self, theta0: float) -> tuple[float, float]:
        p0 = (theta0 - self.floor) / (1 - self.floor)
        return statistics.clopper_pearson_p(self.proportion * self.trials, self.trials, p0)


@dataclass(frozen=True)
class NeverDiffered:
    """Paired yes/no outcomes that agree in every cluster: the difference is no larger than the rate of disagreeing."""

    clusters: int

    def bounds(self, alpha: float) -> tuple[float, float]:
        _, high = statistics.clopper_pearson(0, self.clusters, alpha, sided=1)
        return -high, high

    def p_values(self, theta0: float) -> tuple[float, float]:
        _, below = statistics.clopper_pearson_p(0, self.clusters, abs(theta0))
        return (below, 1.0) if theta0 < 0 else (1.0, below)


@dataclass(frozen=True)
class Discordant:
    """A paired difference of hits: the share of trials that only the first hit, less the share only the second hit.

    Each share gets its Clopper–Pearson bound at half the level, so that the bounds of their difference err no more
    often than promised, whatever the shares' correlation (Bonferroni).
    """

    first_only: float
    second_only: float
    trials: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        first, second = (
            statistics.clopper_pearson(share * self.trials, self.trials, alpha / 2, sided=1)
            for share in (self.first_only, self.second_only)
        )
        return first[0] - second[1], first[1] - second[0]

    def p_values(self, theta0: float) -> tuple[float, float]:
        # The bounds move monotonically with the level, and have no closed inverse.
        above = _smallest_level(lambda alpha: self.bounds(alpha)[0] >= theta0)
        below = _smallest_level(lambda alpha: self.bounds(alpha)[1] <= theta0)
        return above, below


def _smallest_level(excludes: Callable[[float], bool]) -> float:
    """The smallest alpha at which a bound excludes something, by bisection; 1 when none does."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Shifted:
    """What varies as ``sign`` times another law's value does, plus a constant."""

    law: Law
    constant: float
    sign: Literal[1, -1]

    def bounds(self, alpha: float) -> tuple[float, float]:
        low, high = sorted(self.constant + self.sign * bound for bound in self.law.bounds(alpha))
        return low, high

    def p_values(self, theta0: float) -> tuple[float, float]:
        above, below = self.law.p_values(self.sign * (theta0 - self.constant))
        return (above, below) if self.sign == 1 else (below, above)


@dataclass(frozen=True)
class Widest:
    """The widest of several laws on each side."""

    laws: tuple[Law, ...]

    def bounds(self, alpha: float) -> tuple[float, float]:
        found = [law.bounds(alpha) for law in self.laws]
        return min(low for low, _ in found), max(high for _, high in found)

    def p_values(self, theta0: float) -> tuple[float, float]:
        found = [law.p_values(theta0) for law in self.laws]
        return max(above for above, _ in found), max(below for _, below in found)


@dataclass(frozen=True)
class Ends:
    """The bounds that a proportion of 1 and one of 0 would have: no other proportion may come nearer to either."""

    clusters: int
    floor: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        low, _ = Count(1.0, self.clusters, self.floor).bounds(alpha)
        _, high = Count(0.0, self.clusters, self.floor).bounds(alpha)
        return low, high

    def p_values(self, theta0: float) -> tuple[float, float]:
        above, _ = Count(1.0, self.clusters, self.floor).p_values(theta0)
        _, below = Count(0.0, self.clusters, self.floor).p_values(theta0)
        return above, below


@dataclass(frozen=True)
class Within:
    """A law of what lies between ``floor`` and 1: its bounds do too, and what lies outside is excluded at any level."""

    law: Law
    floor: float

    def bounds(self, alpha: float) -> tuple[float, float]:
        low, high = self.law.bounds(alpha)
        return max(low, self.floor), min(high, 1.0)

    def p_values(self, theta0: float) -> tuple[float, float]:
        above, below = self.law.p_values(theta0)
        return (0.0 if theta0 < self.floor else above), (0.0 if theta0 > 1 else below)
