"""Anchor tokens, those that later positions must be able to attend to.

Ours, beside section 5. Each token is hidden in turn from all that come after it, in all heads of all layers. Where a
plan is held at a site, hiding the site's token costs the answer; where every position reads the rhyme word for itself,
hiding any other token costs nothing.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="anchors", variant="asked")
def test_an_anchor_carries_the_answer(verify: Callable[[], None]) -> None:
    """Loss by hiding the anchor, alone and against hiding everything."""
    verify()
