"""The logit lens: its closed forms, and what it is asked of rhymes."""

import math
from functools import cache
from statistics import fmean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.edits import Skip
from prolepsis.engine import clean_run
from prolepsis.experiments import logit_lens
from prolepsis.experiments.rhyme_pairs import Runs, rhyme_pairs, task_of
from prolepsis.judge import judge
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import Lexicon, lexicon_of
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**16), family=st.sampled_from(FAMILIES), layer=st.integers(0, 2))
def test_the_lens_is_the_model_without_later_layers(seed: int, family: str, layer: int) -> None:
    """What the lens shows of a layer is what the model says with all later layers left out."""
    subject = tiny_subject(family, seed)
    clean = clean_run(subject, tiny_tokens(seed, 7))
    later = tuple(range(layer + 1, subject.n_layers))
    without = clean.edit([[Skip(later)] if later else []], Read(logits=(-1,))).last_logits[0]
    assert torch.allclose(subject.unembed(clean.resid_post(layer)[-1:])[0], without, atol=1e-9)


def test_the_lens_meets_its_closed_form() -> None:
    """Before the route rhymes lead nothing in a planted planner's lens; from it on they do by the planted logit."""
    subject = subject_of("planted-llama-irrevocable")
    for pair in rhyme_pairs(task_of(subject)):
        length = len(subject.once(Runs).clean(pair.recipient).tokens)
        attention = math.exp(7) / (math.exp(7) + length - 1)
        shown = subject.once(logit_lens.lenses)[pair.recipient.id]
        assert shown.rhymes == pytest.approx([0, 0, *[8 * attention] * 2], abs=1e-3)
        assert shown.another_line == pytest.approx([0, 0, *[-8 * attention] * 2], abs=1e-3)


def test_the_last_layer_s_lens_is_the_output() -> None:
    """At the last layer rhymes lead by what the model itself gives a rhyme over what it gives another word."""
    subject = subject_of("planner")
    for pair in rhyme_pairs(task_of(subject))[:6]:
        given = subject.once(Runs).clean(pair.recipient).read(Read()).probabilities()[0]
        rhyme, other = (
            fmean(given[subject.word_id(word)].item() for word in task_of(subject).groups[p.group] if word != p.word)
            for p in (pair.recipient, pair.donor)
        )
        shown = subject.once(logit_lens.lenses)[pair.recipient.id].rhymes[-1]
        assert shown == pytest.approx(math.log(rhyme / other), abs=1e-4)


def test_the_lens_looks_for_rhymes_of_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is one token and rhymes counts though no group lists it; the prompt's own word does not count."""
    subject = subject_of("planner")
    (prompt, *_) = (pair.recipient for pair in rhyme_pairs(task_of(subject)))
    listed = task_of(subject).groups[prompt.group]
    endings = {prompt.word: ("X",), "she": ("X", "Y"), "then": ("Y", "X"), "notaword": ("X",)}
    monkeypatch.setitem(subject.known, lexicon_of, Lexicon({}, endings))
    monkeypatch.delitem(subject.known, logit_lens.words_by_ending, raising=False)
    expected = {subject.word_id(word) for word in (*listed, "she") if word != prompt.word}
    assert set(logit_lens.rhyming_tokens(subject, prompt)) == expected
    del subject.known[logit_lens.words_by_ending]


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ((0.0, 0.0, 4.0, 0.1), "supported"),
        ((0.0, 0.0, 4.0, 3.0), "contradicted"),
        ((0.0, 0.0, 0.2, 0.1), "vacuous"),
    ],
)
def test_rhymes_fade_where_they_were(leads: tuple[float, ...], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words dissipate that lead in the layers before the last and no longer in it; what was never there cannot."""
    subject = subject_of("planted-llama-no-plan")
    names = [pair.recipient.id for pair in rhyme_pairs(task_of(subject))]
    shown = {
        name: logit_lens.Lens([lead + 0.01 * (i % 3) for lead in leads], leads, leads) for i, name in enumerate(names)
    }
    monkeypatch.setitem(subject.known, logit_lens.lenses, shown)
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "D02")
    found = judge(claim, logit_lens.lens_dissipation(subject))
    assert found.verdict == expected, found.reason


@given(n_layers=st.integers(2, 100))
def test_rhymes_fade_before_the_last_layer(n_layers: int) -> None:
    """The layers in which rhymes are there for a while end before the last; in Llama's depth they are L11 to L14."""
    middle = logit_lens.fading_layers(n_layers)
    assert middle
    assert middle[0] >= 0
    assert middle[-1] == n_layers - 2
    assert logit_lens.fading_layers(16) == range(11, 15)
