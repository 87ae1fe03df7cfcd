"""Whether counts differ, or agree, as far as a sentence about them says: exact tests of the printed counts.

The counts are taken for independent draws, which favours a difference: trials that share a prompt or a pair say less.
A difference that does not show here shows under no clustering.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from prolepsis.audit.counts import Counted, audited, counts_of
from prolepsis.audit.intervals import interval_table
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement

ALPHA = 0.05


def equal_rates_p(counts: Sequence[tuple[int, int]]) -> float:
    """Exact p-value of "all rates are equal" for counts k of n (Freeman & Halton 1951; Fisher 1935 for two).

    Sums the probabilities of all tables with the same margins that are no likelier than the one found.
    """
    sizes = [n for _, n in counts]
    hits = sum(k for k, _ in counts)
    log_all = _log_choose(sum(sizes), hits)
    found = sum(_log_choose(n, k) for k, n in counts) - log_all
    return min(1.0, math.fsum(math.exp(p - log_all) for p in _tables(sizes, hits) if p - log_all <= found + 1e-7))


def falling_rates(claim: Claim) -> Measurement:
    """Each rate is below the one before it, by more than the two counts can differ by chance."""
    counts = counts_of(claim, at_least=2)
    return _differences(claim, list(pairwise(counts)), must_fall=True)


def rates_unlike_the_first(claim: Claim) -> Measurement:
    """Each rate differs from the first one, by more than the two counts can differ by chance."""
    first, *others = counts_of(claim, at_least=2)
    return _differences(claim, [(first, other) for other in others], must_fall=False)


def equal_rates(claim: Claim) -> Measurement:
    """The rates are equal, as far as their counts can tell."""
    counts = counts_of(claim, at_least=2)
    p = equal_rates_p([count[:2] for count in counts])
    named = ", ".join(f"{count} ({count.k / count.n:.1%})" for count in counts)
    wrong = [] if p > ALPHA else [f"{named} are said to agree, but equal rates give such counts with p = {p:.2g}"]
    return audited(claim, wrong, {"p": p, "intervals": interval_table(counts)})


def _differences(claim: Claim, pairs: Sequence[tuple[Counted, Counted]], *, must_fall: bool) -> Measurement:
    wrong, detail = [], {}
    for one, other in pairs:
        p = equal_rates_p([one[:2], other[:2]])
        detail[f"{one} against {other}"] = p
        if must_fall and other.k * one.n >= one.k * other.n:
            wrong.append(f"{other} ({other.where}) is not below {one} ({one.where})")
        elif p > ALPHA:
            wrong.append(f"{other} ({other.where}) is not told from {one} ({one.where}): equal rates give p = {p:.2g}")
    return audited(claim, wrong, {"p": detail, "intervals": interval_table(counts_of(claim))})


def _tables(sizes: Sequence[int], hits: int) -> Iterator[float]:
    """Log of the number of ways for each table of these sizes with ``hits`` in all."""
    if len(sizes) == 1:
        if 0 <= hits <= sizes[0]:
            yield _log_choose(sizes[0], hits)
        return
    for k in range(max(0, hits - sum(sizes[1:])), min(sizes[0], hits) + 1):
        first = _log_choose(sizes[0], k)
        yield from (first + rest for rest in _tables(sizes[1:], hits - k))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
