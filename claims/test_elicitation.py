"""Elicitation, the question what makes a subject rhyme.

As published (section 3), another couplet is put before the prompt, and an HTML tag behind it. As it should be asked,
the rhyme has to follow line 1: it is there with line 1, and neither without it nor with another one.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="elicitation", variant="published")
def test_priming_elicits_rhymes(verify: Callable[[], None]) -> None:
    """Rhyme rates after a couplet and before a tag, repeats included."""
    verify()


@pytest.mark.claims(family="elicitation", variant="asked")
def test_line_1_elicits_the_rhyme(verify: Callable[[], None]) -> None:
    """True rhymes with line 1, without it, and with another."""
    verify()
