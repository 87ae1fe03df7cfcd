"""Q3: the question how the decision travels to the output.

As published (section 6, appendix E), heads are called routing heads when their attention to the site changes under
suppress + inject. As it should be asked, a head carries a redirect when the redirect is lost with its clean output, and
by its pattern or by its values when it is lost with that part alone.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="q3", variant="published")
def test_attention_to_the_site_changes(verify: Callable[[], None]) -> None:
    """The published change of attention: how large it is, where, by what, and whether its head carries."""
    verify()


@pytest.mark.claims(family="q3", variant="asked")
def test_heads_carry_the_redirect(verify: Callable[[], None]) -> None:
    """Outputs, patterns and values of the heads chosen on the other half, and whether attention tells them apart."""
    verify()
