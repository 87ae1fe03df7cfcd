"""Whether counts and bins can come of the rate or the median that is said of them."""

import math
from itertools import accumulate

from prolepsis.audit.counts import audited, counts_of
from prolepsis.audit.figures import value_of
from prolepsis.errors import UserError
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.statistics import clopper_pearson_p

ALPHA = 0.05


def counts_of_one_rate(claim: Claim) -> Measurement:
    """Counts, the entries after the first, come of the rate that the first one prints, as far as chance allows."""
    first, *_ = claim.published
    rate, detail, wrong = value_of(claim, first), {}, []
    for count in counts_of(claim):
        p = min(1.0, 2 * min(clopper_pearson_p(count.k, count.n, rate)))
        detail[f"{count} ({count.where})"] = p
        if p <= ALPHA:
            wrong.append(f"{count} ({count.where}) is not of a rate of {rate:g} ({first['where']}): p = {p:.2g}")
    return audited(claim, wrong, {"p": detail})


def median_in_its_bin(claim: Claim) -> Measurement:
    """The first entry's value lies in the bin that holds the median; the others are all bins, in order, k in each."""
    first, *bins = claim.published
    median, counts = value_of(claim, first), [entry["k"] or 0 for entry in bins]
    total = sum(counts)
    if total == 0:
        raise UserError(f"claim {claim.id}: rule median_in_its_bin needs k in the entries after the first")
    upto = list(accumulate(counts))
    middle = {next(b for b, so_far in enumerate(upto) if so_far >= rank) for rank in (total / 2, total / 2 + 0.5)}
    low = min(_bound(bins[b]["low"], -math.inf) for b in middle)
    high = max(_bound(bins[b]["high"], math.inf) for b in middle)
    wrong = [f"{median:g} ({first['where']}) is not between {low:g} and {high:g}, where {total} counts have theirs"]
    return audited(claim, [] if low <= median <= high else wrong, {"median between": (low, high)})


def _bound(bound: float | None, without: float) -> float:
    return without if bound is None else bound
