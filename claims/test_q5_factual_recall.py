"""Q5: the question whether factual recall commits early, as planning is said to.

As published (section 8), one position at a time is patched in blocks of layers. As it should be asked, all tokens of
the subject are patched together and their rows alone, and the exact answer has to come out.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="q5", variant="published")
def test_recall_commits_early(verify: Callable[[], None]) -> None:
    """The published patching by blocks, and the heads it shifts."""
    verify()


@pytest.mark.claims(family="q5", variant="asked")
def test_a_fact_is_held_and_handed_over(verify: Callable[[], None]) -> None:
    """The fact at its subject's tokens, the exact answer, the hand-over, and what is settled."""
    verify()
