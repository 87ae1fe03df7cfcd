"""Head overlap: the question whether rhymes and facts run through different heads.

As published (section 8, table 3), two short lists of heads are found to have nothing in common. As it should be asked,
the heads' indirect effects on either task are ranked against each other, between what two halves of one task and what
heads permuted within their layers give.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="overlap", variant="published")
def test_recurring_heads_are_not_on_the_other_list(verify: Callable[[], None]) -> None:
    """The published comparison of lists."""
    verify()


@pytest.mark.claims(family="overlap", variant="asked")
def test_two_tasks_share_their_heads_or_do_not(verify: Callable[[], None]) -> None:
    """Rank correlation of indirect effects, asked in either direction."""
    verify()
