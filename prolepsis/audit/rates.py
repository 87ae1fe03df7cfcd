"""Whether a printed rate says what it is a share of, and whether counts and bins can come of what is said of them."""

import math
from itertools import accumulate

from prolepsis.audit.counts import audited, counts_of
from prolepsis.audit.figures import half_digit, value_of
from prolepsis.errors import UserError
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.statistics import clopper_pearson_p, grim

ALPHA = 0.05
MOST_TRIALS = 10_000


def share_of_something(claim: Claim) -> Measurement:
    """Each rate is printed with the number of trials it is a share of; else the fewest that can give it are named."""
    wrong, fewest = [], {}
    for entry in claim.published:
        value = value_of(claim, entry)
        fewest[f"{value:g} ({entry['where']})"] = needed = fewest_trials(value, half_digit(value, claim.scale))
        if entry["n"] is None:
            wrong.append(f"{value:g} ({entry['where']}) has no number it is a share of; {needed} trials would give it")
    return audited(claim, wrong, {"fewest trials": fewest})


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


def fewest_trials(rate: float, slack: float) -> int | None:
    """The smallest number of trials of which some count gives ``rate`` to within ``slack``; None beyond 10,000."""
    decimals = round(-math.log10(2 * slack)) - 2
    return next((n for n in range(1, MOST_TRIALS) if grim(100 * rate, n, decimals)), None)


def _bound(bound: float | None, without: float) -> float:
    return without if bound is None else bound
