"""What other papers say of the same questions, each claim asked of the model it is about.

They compete with the paper's claims: where two cannot both be true, the report shows them side by side.
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="other papers", variant="asked")
def test_another_paper_says_otherwise(verify: Callable[[], None]) -> None:
    """Steering without transcoders, planning or improvising by model, hand-off and the heads that carry it."""
    verify()
