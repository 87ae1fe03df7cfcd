"""Q1: the question whether planning can be observed without cross-layer transcoders.

As published (section 4, appendix A), six methods that choose and inject transcoder features miss their target, and a
contrast of residual rows redirects a fact but no rhyme. As it should be asked, true residual methods stand beside the
transcoder at the same site and the same off-target KL, and the contrast is added with the sign that points at the
target.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="q1", variant="published")
def test_planning_is_invisible_without_transcoders(verify: Callable[[], None]) -> None:
    """The six methods, and the contrast of residual rows with the recorded sign."""
    verify()


@pytest.mark.claims(family="q1 details", variant="published")
def test_each_method_misses(verify: Callable[[], None]) -> None:
    """Every method by itself with the paper's sampling, and the two reasons given: a gap, and a divergence."""
    verify()


@pytest.mark.claims(family="q1", variant="asked")
def test_a_transcoder_is_needed(verify: Callable[[], None]) -> None:
    """Steering at a site at equal off-target KL, and the contrast with the sign that points at the target."""
    verify()
