"""Q4: the question what the minimum depth of planning is.

As published (section 7, Table 2a), two models of different depth are compared through the logit lens, a census of
features, and layers left out of one of them. As it should be asked, layers are chosen and tested on different prompts,
with the rest of the couplet as a guard, and depth is set against what the wiring allows, in models made alike.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="q4", variant="published")
def test_commitment_needs_depth(verify: Callable[[], None]) -> None:
    """The lens, the census, the layers left out, and the comparison of two models."""
    verify()


@pytest.mark.claims(family="q4", variant="asked")
def test_there_is_a_minimum_depth(verify: Callable[[], None]) -> None:
    """Layers that rhyming needs, and models of several depths."""
    verify()
