"""Steering by a difference of means, with its own dose and without a transcoder, on planted subjects."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from prolepsis import ledger
from prolepsis.experiments.mean_steering import mean_steering, rhyme_odds, steer_by_means
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.judge import judge
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject without its transcoder; what has been measured on it stays with it."""
    return replace(load_subject(f"planted-llama-{variant}"), transcoder=None)


def test_a_rhyme_is_any_of_its_words() -> None:
    """The odds of a group are those of its words' probabilities together."""
    logits = torch.tensor([[1.0, 2.0, 3.0, -1.0], [0.0, 0.0, 0.0, 0.0]])
    p = logits.softmax(-1)[:, [0, 3]].sum(-1)
    assert torch.allclose(rhyme_odds(logits, [0, 3]), (p / (1 - p)).log().double(), atol=1e-5)


@pytest.mark.parametrize(("variant", "verdict"), [("irrevocable", "supported"), ("no-plan", "contradicted")])
def test_verdicts_on_subjects_with_known_answers(variant: str, verdict: str) -> None:
    """Where the plan is a direction of its group a difference of means steers it; where there is none it does not."""
    (claim,) = [claim for claim in ledger.rows("other papers") if claim.id == "Y01"]
    found = judge(claim, mean_steering(subject_of(variant)))
    assert found.verdict == verdict, found.reason


def test_the_dose_is_chosen_on_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's targets leaves the dose that half is tested with, and changes the other half's."""
    subject = subject_of("irrevocable")
    clean, family = subject.once(steer_by_means), Runs.family
    spoiled = {pair.donor.id: pair.recipient for pair in clean.pairs if pair.half == 0}
    monkeypatch.setattr(Runs, "family", lambda runs, prompt: family(runs, spoiled.get(prompt.id, prompt)))
    wrecked = steer_by_means(subject)
    assert wrecked.uses[0] == clean.uses[0]
    assert wrecked.uses[1] != clean.uses[1]
