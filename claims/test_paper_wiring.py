"""The paper held against the wiring of its models: what it says responds, and what could have come out otherwise.

Layers and positions are the paper's own (sections 5, 6, 8, appendices D to G); no weight is needed. What the wiring
leaves open is worth measuring, what it forces says nothing, and what it rules out was something else.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="reach", variant="published")
def test_what_is_said_to_respond_can(verify: Callable[[], None]) -> None:
    """Each response the paper reports is possible, and each absence could have come out otherwise."""
    verify()


@pytest.mark.claims(family="reach", variant="asked")
def test_the_injection_is_what_is_responded_to(verify: Callable[[], None]) -> None:
    """What the argument needs of the same runs: that heads respond to the injected word, features apart, rows alone."""
    verify()
