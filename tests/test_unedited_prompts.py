"""What unedited prompts say of the next word meets its closed forms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.experiments.divergences import divergence
from prolepsis.experiments.unedited_prompts import rhyme_word_gap, within_group_divergence
from prolepsis.judge import judge
from prolepsis.subjects.loading import load_subject


@given(first=st.floats(0.01, 0.99), second=st.floats(0.01, 0.99))
def test_divergence_of_two_coins(first: float, second: float) -> None:
    """KL of two coins is p ln(p/q) + (1 − p) ln((1 − p)/(1 − q)), whatever is added to all logits."""
    logits = [torch.tensor([math.log(p), math.log(1 - p)], dtype=torch.float64) for p in (first, second)]
    expected = first * math.log(first / second) + (1 - first) * math.log((1 - first) / (1 - second))
    assert divergence(logits[0] + 3, logits[1] - 5) == pytest.approx(expected, abs=1e-12)


def test_a_planted_answer_leads_by_its_gain() -> None:
    """A planted answer's logit is 8 above those of all other words, so another group's answer costs 8 nats and more."""
    subject = load_subject("planted-llama-no-plan")
    gaps = rhyme_word_gap(subject)
    assert all(value == pytest.approx(8, abs=0.01) for value in gaps.values.values())
    assert "other words" not in gaps.arms  # It has none.
    measured = within_group_divergence(subject)
    # Of 51 tokens one has e^8 times the probability of the others; KL to another such is 8 · (p_top − p_rest).
    top = 1 / (1 + (subject.n_vocab - 1) * math.exp(-8))
    expected = 8 * (top - top * math.exp(-8))
    for value in (*measured.values.values(), *measured.arms["between groups"].values()):
        assert value == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("name", "verdict"), [("no-plan", "contradicted"), ("untrained", "vacuous")])
def test_a_small_divergence_says_nothing_where_all_are_small(name: str, verdict: str) -> None:
    """Where each word calls for another answer a group differs; where none does, two groups agree too."""
    (claim,) = (claim for claim in ledger.rows(family="q1 details") if claim.id == "A14")
    assert judge(claim, within_group_divergence(load_subject(f"planted-llama-{name}"))).verdict == verdict
