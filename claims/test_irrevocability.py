"""Irrevocability: the question whether a commitment resists a correction that would carry without it.

As published (appendix G), a feature of another word is written in later layers beside the committing one, at the last
token. As it should be asked, the doses are compared that reach 50/50 with the commitment and without it.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="irrevocability", variant="published")
def test_a_correction_does_nothing(verify: Callable[[], None]) -> None:
    """The committed word, the contradictory word, and attention under the published correction."""
    verify()


@pytest.mark.claims(family="irrevocability", variant="asked")
def test_a_commitment_resists(verify: Callable[[], None]) -> None:
    """Dose ratios of a lever with and without the commitment."""
    verify()
