"""Figures of single prompts and sweeps, to their last printed digit.

They are held against what the author recorded (`pytest claims --claims-archive DIR`), and measured anew on the paper's
own prompts where its models are (`pytest claims -m gpu`).
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="recorded", variant="published")
def test_what_was_recorded_is_what_was_printed(verify: Callable[[], None]) -> None:
    """Each printed figure is the recorded one, or the measured one, to its last digit."""
    verify()


@pytest.mark.claims(family="recorded", variant="asked")
def test_what_was_recorded_can_mean_what_is_read_into_it(verify: Callable[[], None]) -> None:
    """Baselines, reach, dilution, leaks and repeats, as recordings show them; redirects with either sign."""
    verify()
