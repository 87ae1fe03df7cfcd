"""Dose curves with and without a commitment measure what is known of planted subjects."""

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.edits import Add, BlockEdge
from prolepsis.engine import clean_run
from prolepsis.experiments import families
from prolepsis.experiments.commitment import Prepared, arrivals, hidden_run, with_features
from prolepsis.experiments.dose_response import Curve, Response, dose_ratio, row_dose_ratio
from prolepsis.judge import judge
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, rows_like, tiny_subject, tiny_tokens


@cache
def subject_of(name: str) -> Subject:
    """A planted Llama; what has been measured on it stays with it."""
    torch.set_num_threads(1)
    return load_subject(f"planted-llama-{name}")


@cache
def ratios_of(name: str) -> Measurement:
    """The feature's dose ratios on a planted Llama."""
    return dose_ratio(subject_of(name))


def attention(prepared: Prepared) -> float:
    """The route's attention to the newline at the last position of a planted prompt."""
    return math.exp(7) / (math.exp(7) + prepared.last)


@given(slope=st.floats(0.1, 10), target=st.floats(0.1, 5))
def test_a_straight_curve_is_crossed_where_it_should_be(slope: float, target: float) -> None:
    """The crossing of a straight curve is target / slope, or nowhere when that lies beyond the last dose."""
    doses = (1.0, 2.0, 4.0, 8.0)
    found = Curve(doses, tuple(slope * dose for dose in doses)).crossing(target)
    wanted = target / slope
    assert (found is None) == (slope * doses[-1] < target)
    assert found is None or found == pytest.approx(wanted)


def test_a_curve_that_never_arrives_counts_for_its_last_dose() -> None:
    """Where the committed model never gets to 50/50 the ratio is that of the last dose, and a dead lever gives 0."""
    alone, stuck = Curve((1.0, 2.0, 4.0), (1.0, 2.0, 4.0)), Curve((1.0, 2.0, 4.0), (0.0, 0.0, 0.1))
    response = Response(2.0, 5.0, committed=stuck, alone=alone, random=(alone, stuck), p_alone=(0.1, 0.5, 0.9))
    assert response.committed_ratio == pytest.approx(math.log(4 / 2))
    assert response.random_ratio == pytest.approx(math.log(4 / 2) / 2)
    assert response.lever_alone == 0.5
    dead = Response(2.0, 5.0, committed=stuck, alone=stuck, random=(), p_alone=(0.1, 0.2, 0.1))
    assert (dead.committed_ratio, dead.lever_alone) == (0.0, 0.2)


@settings(deadline=None, max_examples=30)
@given(
    family=st.sampled_from(FAMILIES),
    seed=st.integers(0, 2**16),
    source=st.integers(1, 4),
    layer=st.integers(0, 2),
)
def test_the_hidden_run_can_be_edited_at_any_layer(family: str, seed: int, source: int, layer: int) -> None:
    """Editing the hidden run gives the logits of the same edit with every view of the word blocked."""
    subject, tokens = tiny_subject(family, seed), tiny_tokens(seed, 6)
    clean = clean_run(subject, tokens)
    write = Add(layer, 5, rows_like(subject, seed, 1)[0])
    blocks = [
        BlockEdge(Head(at, head), query, source)
        for at in range(subject.n_layers)
        for head in range(subject.n_heads)
        for query in range(source + 1, 6)
    ]
    blocked = clean.edit([[write, *blocks]]).all_logits
    assert torch.allclose(hidden_run(clean, source).edit([[write]]).all_logits, blocked, atol=1e-9)


@pytest.mark.parametrize(("name", "layer"), [("irrevocable", 2), ("latch", 2), ("dormant", 3), ("absorber", 1)])
def test_the_commitment_arrives_where_its_circuit_carries_it(name: str, layer: int) -> None:
    """The commitment is at the reading position from the layer of the head that fetches it on."""
    assert set(subject_of(name).once(arrivals).values()) == {layer}


def test_the_latch_meets_its_closed_form() -> None:
    """Alone the lever crosses at m/12 + 1/4, committed at 1 more for each unit the route has carried."""
    measured = ratios_of("latch")
    for prepared in subject_of("latch").once(with_features):
        carried = attention(prepared)
        alone = 8 * carried / 12 + 0.25
        assert measured.values[prepared.pair.id] == pytest.approx(math.log((alone + carried) / alone), abs=2e-3)


@pytest.mark.parametrize("name", ["revocable", "direct"])
def test_added_evidence_has_ratio_one(name: str) -> None:
    """Where evidence is added up, the commitment costs what it is worth: the ln of the ratio is 0."""
    assert list(ratios_of(name).values.values()) == pytest.approx([0.0] * 20, abs=1e-3)


def test_the_absorber_meets_its_closed_form() -> None:
    """Another commitment's row crosses at 1 without the plan, and at 1 + 2 · 1.2 against it."""
    values = list(row_dose_ratio(subject_of("absorber")).values.values())
    assert values == pytest.approx([math.log(3.4)] * 20, abs=1e-2)


def test_writes_that_cannot_matter_do_not() -> None:
    """A dose of zero, and the lever where nothing reads it, move the log-odds by no bit."""
    arms = ratios_of("latch").arms
    assert {*arms["zero dose"].values(), *arms["unread place"].values()} == {0.0}


@pytest.mark.parametrize(
    ("name", "claim", "verdict"),
    [
        ("latch", "X50", "supported"),
        ("latch", "X51", "contradicted"),
        ("revocable", "X50", "contradicted"),
        ("irrevocable", "X50", "inconclusive"),
        ("untrained", "X51", "inconclusive"),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, claim: str, verdict: str) -> None:
    """A latch is irrevocable to the lever it bars; added evidence is not; a dead lever tells nothing."""
    (row,) = [row for row in ledger.rows(family="irrevocability") if row.id == claim]
    assert judge(row, families.experiment(row.experiment)(subject_of(name))).verdict == verdict
