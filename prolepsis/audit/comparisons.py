"""Whether counts differ, or agree, as far as a sentence about them says: exact tests of the printed counts.

What a sentence says is given the benefit of what is not printed. For a difference the counts are taken for independent
draws, since trials that share a prompt or a pair say less; where both rates can be of the same trials, the pairing that
tells them apart best counts if it tells more. A difference that does not show here shows under no clustering. For
equality trials of one thing are taken to come out alike, since independent draws would say more.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from prolepsis.audit.counts import audited, counts_of
from prolepsis.audit.intervals import interval_table
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.statistics import FloatArray

IntArray = npt.NDArray[np.int64]

ALPHA = 0.05


def equal_rates_p(counts: Sequence[tuple[int, int]]) -> float:
    """Exact p-value of "all rates are equal" for counts k of n (Freeman & Halton 1951; Fisher 1935 for two).

    Sums the probabilities of all tables with the same margins that are no likelier than the one found.
    """
    sizes = [n for _, n in counts]
    hits = sum(k for k, _ in counts)
    tables = _log_ways(sizes, hits) - _log_choose(sum(sizes), hits)
    found = sum(_log_choose(n, k) for k, n in counts) - _log_choose(sum(sizes), hits)
    return float(min(1.0, np.exp(tables[tables <= found + 1e-7]).sum()))


def smallest_p(one: tuple[int, int], other: tuple[int, int]) -> float:
    """The p-value of "both rates are equal" that favours a difference most: of independent draws, or of paired ones.

    Paired are equally many. Of their pairings none tells more than the one in which no trial goes against the
    difference: the exact sign test of |k − k'| trials, all of one sign (McNemar 1947).
    """
    p = equal_rates_p([one, other])
    return min(p, 2 * 0.5 ** abs(one[0] - other[0])) if one[1] == other[1] else p


def rates_unlike_the_first(claim: Claim) -> Measurement:
    """Each rate differs from the first one, by more than the two counts can differ by chance (:func:`smallest_p`)."""
    first, *others = counts_of(claim, at_least=2)
    wrong, detail = [], {}
    for other in others:
        p = smallest_p((first.k, first.n), (other.k, other.n))
        detail[f"{first} against {other}"] = p
        if p > ALPHA:
            told = f"{other} ({other.where}) is not told from {first} ({first.where})"
            wrong.append(f"{told}: equal rates give p = {p:.2g}")
    return audited(claim, wrong, {"p": detail, "intervals": interval_table([first, *others])})


def equal_rates(claim: Claim) -> Measurement:
    """The rates are equal, as far as their counts can tell where trials of one thing come out alike."""
    counts = counts_of(claim, at_least=2)
    sizes = [count.clusters or count.n for count in counts]
    p = equal_rates_p([(round(size * count.k / count.n), size) for size, count in zip(sizes, counts, strict=True)])
    named = ", ".join(f"{count} ({count.k / count.n:.1%})" for count in counts)
    wrong = [] if p > ALPHA else [f"{named} are said to agree, but equal rates give such counts with p = {p:.2g}"]
    of_trials = equal_rates_p([(count.k, count.n) for count in counts])
    return audited(claim, wrong, {"p": p, "p, independent trials": of_trials, "intervals": interval_table(counts)})


def _log_ways(sizes: Sequence[int], hits: int) -> FloatArray:
    """Log of the number of ways of each table of these sizes with ``hits`` in all: [tables]."""
    taken, ways = np.zeros(1, dtype=np.int64), np.zeros(1)
    for n in sizes[:-1]:
        ks = np.arange(n + 1)
        taken, ways = np.add.outer(taken, ks).ravel(), np.add.outer(ways, _log_choose(n, ks)).ravel()
    left = hits - taken
    possible = (left >= 0) & (left <= sizes[-1])
    return ways[possible] + _log_choose(sizes[-1], left[possible])


def _log_choose(n: int, k: int | IntArray) -> FloatArray:
    found: FloatArray = special.gammaln(n + 1) - special.gammaln(k + 1.0) - special.gammaln(n - k + 1.0)
    return found
