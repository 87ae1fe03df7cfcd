"""The paper held against itself: what its printed figures say of each other, with no model at all."""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="arithmetic", variant="published")
def test_the_paper_agrees_with_itself(verify: Callable[[], None]) -> None:
    """Each figure is what the figures it is made of give, and what is printed twice is one value."""
    verify()


@pytest.mark.claims(family="arithmetic", variant="asked")
def test_what_the_paper_says_follows_from_what_it_prints(verify: Callable[[], None]) -> None:
    """Lists, tables and places that speak of one thing agree, and what is made of them is more than chance gives."""
    verify()
