"""Feature discovery, the question whether there are features for words, and whether they stand for rhymes.

As published (appendix B), decoder rows are compared with token embeddings and the words so found are grouped by
pronunciation. As it should be asked, the same features are read by their encoders: do they respond to words that rhyme
with the word they write?
"""

from collections.abc import Callable

import pytest


@pytest.mark.claims(family="discovery", variant="published")
def test_features_cluster_by_rhyme(verify: Callable[[], None]) -> None:
    """Words with a feature of their own, and the rhyme groups they form."""
    verify()


@pytest.mark.claims(family="discovery", variant="asked")
def test_rhyme_words_have_features(verify: Callable[[], None]) -> None:
    """The same scan where the paper does not say that every rhyme word has a feature."""
    verify()


@pytest.mark.claims(family="rhyme responses", variant="asked")
def test_features_stand_for_rhymes(verify: Callable[[], None]) -> None:
    """Responses to held-out rhyme-mates, against matched words."""
    verify()
