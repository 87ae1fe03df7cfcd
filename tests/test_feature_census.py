"""The census of features by layer: what counts, and where it lies."""

from functools import cache
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import Untested
from prolepsis.experiments import feature_census
from prolepsis.experiments.rhyme_pairs import Runs, rhyme_pairs, task_of
from prolepsis.names import Feature
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.live_bytes import LiveBytes


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@given(n_layers=st.integers(1, 100))
def test_ends_are_symmetric(n_layers: int) -> None:
    """As many layers are counted at one end as at the other; in the paper's depth two."""
    first, last = feature_census.ends(n_layers)
    assert set(last) == {n_layers - 1 - layer for layer in first}
    assert first[0] == 0
    assert tuple(map(list, feature_census.ends(26))) == ([0, 1], [24, 25])


@pytest.mark.parametrize(
    ("shares", "smaller", "last"),
    [
        ({25: 1.0}, 0.0, 1.0),
        ({0: 0.5, 1: 0.5}, 0.0, 0.0),
        ({0: 0.25, 1: 0.25, 12: 0.125, 24: 0.125, 25: 0.25}, 0.375, 0.25),
    ],
)
def test_features_at_one_end_are_not_at_both(shares: dict[int, float], smaller: float, last: float) -> None:
    """What is at both ends is as much as the end with fewer has; the last layer counts alone as well."""
    assert feature_census._at_each_end(shares, 26) == smaller
    assert feature_census._in_last_layer(shares, 26) == last


def test_the_census_holds_one_layer_of_the_transcoder_at_a_time() -> None:
    """Looking up features of all layers takes no more memory than those of the first, whose decoder is largest."""
    subject = subject_of("planner")

    def peak(layers: range) -> int:
        features = {Feature(layer, 0) for layer in layers}
        with LiveBytes() as live:
            assert set(feature_census._cosines(subject, features, [1, 2])) == features
        return live.peak

    assert peak(range(subject.n_layers)) <= 1.05 * peak(range(1))


def test_the_census_counts_active_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares are of all features active at the last position, and the chosen ones point at the answer most."""
    monkeypatch.setattr(feature_census, "TOP", 3)
    subject = subject_of("window-2")
    transcoder, runs = subject.transcoder, subject.once(Runs)
    assert transcoder is not None
    censuses = feature_census.censuses(subject)
    for pair in rhyme_pairs(task_of(subject))[:5]:
        mid = runs.clean(pair.recipient).read(Read(logits=(), resid_mid=(0, 1))).resid_mid
        active = [
            Feature(layer, int(index))
            for layer in (0, 1)
            for index in transcoder.encode(layer, mid[layer][0, -1]).nonzero()
        ]
        target = subject.unembedding[runs.answer(pair.recipient)]
        cosines = [torch.cosine_similarity(transcoder.rows(f)[-1], target, dim=0).item() for f in active]
        order = sorted(range(len(active)), key=lambda i: -cosines[i])[:3]
        found = censuses[pair.recipient.id]
        for shares, features in ((found.active, active), (found.target, [active[i] for i in order])):
            assert sum(shares.values()) == pytest.approx(1)
            assert shares.get(0, 0) == pytest.approx(fmean(feature.layer == 0 for feature in features))


def test_no_active_feature_is_no_census() -> None:
    """A planted planner's features are silent at the last position, and that is said rather than counted as nothing."""
    with pytest.raises(Untested, match="no transcoder feature is active"):
        feature_census.end_share(subject_of("planted-llama-irrevocable"))
