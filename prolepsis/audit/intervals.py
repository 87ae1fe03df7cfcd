"""Which method and which side give the intervals a paper prints.

Every count gets its 95 % intervals by Clopper & Pearson, Wilson and Wald, two-sided and one-sided. A printed interval
is given by those of them that agree with it to its last printed digit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from scipy import special

from prolepsis.audit.counts import Counted, audited, counts_of
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Published
from prolepsis.measurement import Measurement
from prolepsis.statistics import Sided, clopper_pearson, wald, wilson

Bounds = tuple[float, float]
Method = Callable[[int, int, float, Sided], Bounds]

ALPHA = 0.05
NEGLIGIBLE = 1e-12
METHODS: Mapping[str, Method] = {"Clopper–Pearson": clopper_pearson, "Wilson": wilson, "Wald": wald}
SIDES: Mapping[str, Sided] = {"two-sided": 2, "one-sided": 1}
COARSEST_DIGIT = 2
"""Decimals of a bound printed in whole per cent; TOML keeps no trailing zeros, so 0.70 is read as printed that way."""


class Printed(NamedTuple):
    """A printed interval of a count; ``slack`` is half of its last printed digit."""

    counted: Counted
    low: float
    high: float
    slack: float

    def __str__(self) -> str:
        low, high = (f"{100 * bound:g}" for bound in (self.low, self.high))
        return f"{self.counted}: [{low} %, {high} %]"


def intervals(k: int, n: int) -> dict[str, Bounds]:
    """Every 95 % interval of ``k`` of ``n`` by its name, "Wilson, two-sided" for example.

    A one-sided interval of a count is its upper bound, from 0 on; of a count that is more than half, its lower one, up
    to 1. Wald bounds beyond 0 and 1 are cut off there.
    """
    found = {}
    for method, bounds in METHODS.items():
        for side, sided in SIDES.items():
            low, high = bounds(k, n, ALPHA, sided)
            if sided == 1:
                low, high = (low, 1.0) if 2 * k > n else (0.0, high)
            found[f"{method}, {side}"] = (max(low, 0.0), min(high, 1.0))
    return found


def interval_table(counts: Sequence[Counted]) -> dict[str, dict[str, Bounds]]:
    """Every interval of every count, for a reader."""
    return {str(count): intervals(count.k, count.n) for count in counts}


def coverage(n: int, rate: float) -> dict[str, float]:
    """How often each 95 % interval of a count of ``n`` holds a true ``rate`` between 0 and 1: exact, by its name.

    Trials are taken for independent. Counts that come up less than once in 10¹² tries are left out.
    """
    counts = np.arange(n + 1)
    ways = special.gammaln(n + 1) - special.gammaln(counts + 1.0) - special.gammaln(n - counts + 1.0)
    weights = np.exp(ways + counts * math.log(rate) + (n - counts) * math.log1p(-rate))
    held: dict[str, float] = {}
    for k in counts[weights > NEGLIGIBLE].tolist():
        for name, (low, high) in intervals(k, n).items():
            held[name] = held.get(name, 0.0) + float(weights[k]) * (low <= rate <= high)
    return held


def given_by(printed: Printed) -> list[str]:
    """The names of the intervals that agree with a printed one."""
    k, n = printed.counted[:2]
    return [
        name
        for name, (low, high) in intervals(k, n).items()
        if _rounds_to(low, printed.low, printed.slack) and _rounds_to(high, printed.high, printed.slack)
    ]


def standard_interval(claim: Claim) -> Measurement:
    """Each printed interval is a standard 95 % interval of its count, whichever."""
    wrong = [f"{_found(printed)}" for printed in _printed(claim) if not given_by(printed)]
    return audited(claim, wrong, _detail(claim))


def one_sided_clopper_pearson(claim: Claim) -> Measurement:
    """Each printed interval is the one-sided Clopper–Pearson interval of its count."""
    named = "Clopper–Pearson, one-sided"
    wrong = []
    for printed in _printed(claim):
        if named not in given_by(printed):
            bounds = intervals(printed.counted.k, printed.counted.n)[named]
            wrong.append(f"{_found(printed)}, not {named}: {_shown(bounds, printed.slack)}")
    return audited(claim, wrong, _detail(claim))


def one_interval_method(claim: Claim) -> Measurement:
    """One method, on one side, gives every printed interval.

    ``detail`` says beside it what each method is worth for such counts: its coverage at the printed rate, of a count
    of zero at one in n.
    """
    printed = _printed(claim)
    shared = set.intersection(*(set(given_by(one)) for one in printed))
    wrong = [] if shared else ["no one method and side gives all intervals", *map(_found, printed)]
    worth = {str(one): coverage(one.counted.n, max(one.counted.k, 1) / one.counted.n) for one in printed}
    return audited(claim, wrong, {**_detail(claim), "coverage": worth})


def _printed(claim: Claim) -> list[Printed]:
    """The intervals of a row; raises UserError where an entry lacks count or bounds."""
    counts = counts_of(claim, at_least=len(claim.published))
    return [_interval(claim, *both) for both in zip(claim.published, counts, strict=True)]


def _interval(claim: Claim, entry: Published, count: Counted) -> Printed:
    low, high = entry["low"], entry["high"]
    if low is None or high is None:
        raise UserError(f"claim {claim.id}: {count} has no low and high; give the printed interval")
    digits = max(COARSEST_DIGIT, _decimals(low), _decimals(high))
    return Printed(count, low, high, 0.5 * 10.0**-digits)


def _decimals(number: float) -> int:
    exponent = Decimal(repr(number)).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _rounds_to(bound: float, printed: float, slack: float) -> bool:
    return abs(bound - printed) <= slack * (1 + 1e-9)


def _found(printed: Printed) -> str:
    names = given_by(printed)
    return f"{printed} is {' or '.join(names)}" if names else f"{printed} is no standard 95 % interval"


def _shown(bounds: Bounds, slack: float) -> str:
    """Bounds in per cent, to one digit more than was printed."""
    digits = max(0, round(-(Decimal(repr(2 * slack)).log10())) - 1)
    return f"[{100 * bounds[0]:.{digits}f} %, {100 * bounds[1]:.{digits}f} %]"


def _detail(claim: Claim) -> dict[str, object]:
    return {
        "intervals": interval_table(counts_of(claim)),
        "given by": {str(printed): given_by(printed) for printed in _printed(claim)},
    }
