"""The paper held against itself: what its printed figures say of each other, with no model at all."""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="arithmetic", variant="published")
def test_the_paper_agrees_with_itself(verify: Callable[[], None]) -> None:
    """Each figure is what the figures it is made of give, and what is printed twice is one value."""
    verify()
