"""The size of a model is read off the model itself."""

import pytest

from prolepsis.experiments.architecture import layer_count, stream_width
from tests.tiny import FAMILIES, tiny_subject


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_width_are_those_of_the_weights(family: str) -> None:
    """The counts are the number of layers and the width of the unembedding, in every family."""
    subject = tiny_subject(family, n_layers=4, n_heads=3)
    assert layer_count(subject).values == {subject.id: 4.0}
    assert stream_width(subject).values == {subject.id: float(subject.unembedding.shape[1])}
