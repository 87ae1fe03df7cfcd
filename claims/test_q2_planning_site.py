"""Q2: the question whether planning-site localization replicates.

As published (section 5, appendix D), an edit at the last token is compared with the same edit elsewhere, read at the
last token. As it should be asked, a plan is looked for where it would have to be held before it is spoken: at a site
whose token is the same in both prompts and is not the last one.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="q2", variant="published")
def test_planning_localises(verify: Callable[[], None]) -> None:
    """The published sweep and what it rests on."""
    verify()


@pytest.mark.claims(family="q2", variant="asked")
def test_a_plan_is_held(verify: Callable[[], None]) -> None:
    """Interchange, necessity, hand-off and the regenerated line at a site."""
    verify()
