"""The intervals and counts the paper prints, checked with nothing but the paper.

As published, each printed interval is recomputed by the method named beside it. As it should be asked, the intervals
are held against each other, zeros against what they exclude, and comparisons of counts against chance.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="intervals", variant="published")
def test_printed_intervals_are_what_they_are_called(verify: Callable[[], None]) -> None:
    """Each interval is the one its count gives."""
    verify()


@pytest.mark.claims(family="intervals", variant="asked")
def test_counts_carry_what_is_said_of_them(verify: Callable[[], None]) -> None:
    """One method for all intervals, a bound for every zero, and differences beyond chance."""
    verify()
