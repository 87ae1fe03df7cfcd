"""Convergence: the question whether the residual stream has attractors that take deviations back.

As published (sections 4 and 6), a deviation counts as absorbed when the edited row's cosine with the clean one comes
back to 0.95. As it should be asked, the deviation itself has to shrink, and its dose curve has to have an edge.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="attractor", variant="published")
def test_deviations_are_absorbed(verify: Callable[[], None]) -> None:
    """The published share of absorbing layers, and the published critical strength."""
    verify()


@pytest.mark.claims(family="attractor", variant="asked")
def test_deviations_shrink(verify: Callable[[], None]) -> None:
    """Contraction of the deviation, and the kink of its dose curve."""
    verify()
