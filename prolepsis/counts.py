"""An exact test for counts that needs neither numpy nor scipy: comparing stored runs has to take a moment only."""

import math


def fisher_exact(k: int, n: int, other_k: int, other_n: int) -> float:
    """Two-sided p-value that ``k`` of ``n`` and ``other_k`` of ``other_n`` come of one rate (Fisher 1935).

    The probability, given the total, of every split at most as likely as the one observed.
    """
    check_count(k, n)
    check_count(other_k, other_n)
    total = k + other_k
    ways = {i: math.comb(n, i) * math.comb(other_n, total - i) for i in range(min(n, total) + 1)}
    return sum(way for way in ways.values() if way <= ways[k]) / sum(ways.values())


def check_count(k: float, n: float) -> None:
    """Raises ValueError unless ``k`` of ``n`` can be a count."""
    if not (n > 0 and 0 <= k <= n):
        raise ValueError(f"{k} of {n} is not a count")
