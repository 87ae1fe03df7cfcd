"""Steering methods compared at equal cost: gain and cost along growing doses, and what is chosen from them.

A method may have variants (the layer it acts at). Of each method the variant and the largest dose are chosen on some
pairs, to be used on others. The reference method sets the budget: what it costs on a pair is what every other method
may spend there. Imports no torch.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

LEAST_BUDGET = 0.01
"""Nats of KL below which a cost is not told from none."""


@dataclass(frozen=True)
class Path:
    """One pair steered by one method: gains and costs in nats, at dose 0 and then at each dose in growing order."""

    gains: tuple[float, ...]
    costs: tuple[float, ...]

    def within(self, budget: float, largest: int) -> float:
        """Gain at the largest dose, up to dose number ``largest``, that costs no more than ``budget``.

        A small dose costs as its square, so between two doses gain goes with the root of cost.
        """
        k = next(k for k in range(largest, -1, -1) if self.costs[k] <= budget)
        if k == largest:
            return self.gains[k]
        below, above = (math.sqrt(max(cost, 0.0)) for cost in self.costs[k : k + 2])
        share = (math.sqrt(budget) - below) / (above - below)
        return self.gains[k] + share * (self.gains[k + 1] - self.gains[k])


Paths = Mapping[str, Mapping[str, Path]]
"""Variant → pair → path, of one method."""


@dataclass(frozen=True)
class Use:
    """A variant of a method, and the number of the largest dose to use it at; 0 is no dose at all."""

    variant: str
    largest: int


def reference_use(paths: Paths, pairs: Iterable[str]) -> Use:
    """The variant and dose of the reference method with the largest mean of gain less cost over ``pairs``."""
    of = {variant: [found[pair] for pair in pairs] for variant, found in paths.items()}
    return max(
        (Use(variant, k) for variant, found in of.items() for k in range(len(found[0].gains))),
        key=lambda use: statistics.fmean(p.gains[use.largest] - p.costs[use.largest] for p in of[use.variant]),
    )


def budgets(paths: Paths, use: Use, pairs: Iterable[str]) -> dict[str, float]:
    """What the reference method, so used, costs on each pair, in nats; at least :data:`LEAST_BUDGET`."""
    return {pair: max(LEAST_BUDGET, paths[use.variant][pair].costs[use.largest]) for pair in pairs}


def best_use(paths: Paths, allowed: Mapping[str, float], n_doses: int) -> Use:
    """The variant and largest dose, among the first ``n_doses``, with the largest mean gain within the budgets."""
    uses = [Use(variant, k) for variant in paths for k in range(n_doses + 1)]
    return max(uses, key=lambda use: statistics.fmean(gains(paths, use, allowed).values()))


def gains(paths: Paths, use: Use, allowed: Mapping[str, float]) -> dict[str, float]:
    """Pair → gain within its budget, in nats."""
    return {pair: paths[use.variant][pair].within(budget, use.largest) for pair, budget in allowed.items()}


def mean_curve(paths: Paths, pairs: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Variant → mean gain and mean cost at each dose, in nats."""
    return {
        variant: {
            "gain": [statistics.fmean(column) for column in zip(*(found[p].gains for p in pairs), strict=True)],
            "cost": [statistics.fmean(column) for column in zip(*(found[p].costs for p in pairs), strict=True)],
        }
        for variant, found in paths.items()
    }
