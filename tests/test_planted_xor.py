"""The planted XOR planner computes its circuit, and its plan is the size of a slot, whatever the sign."""

import math
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.edits import Add
from prolepsis.engine import CleanRun, clean_run
from prolepsis.errors import UserError
from prolepsis.organisms.planted import FILLERS, NEWLINE
from prolepsis.organisms.planted_xor import (
    ANSWERS,
    GAIN,
    LOUDNESS,
    PARTS,
    PLAN,
    VOCABULARY,
    WORDS,
    planted_xor,
    tone,
)
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Prompt

words = st.sampled_from(range(len(WORDS)))


@cache
def xor() -> Subject:
    """The planted XOR planner."""
    return load_subject("planted-llama-xor")


def run_of(word: int, template: int = 0) -> tuple[Prompt, CleanRun, int]:
    """A prompt with a word, its clean run, and where its line breaks."""
    subject = xor()
    assert subject.task is not None
    prompt = subject.task.prompt(subject.task.templates[template], WORDS[word])
    tokens = subject.encode(prompt.text)
    return prompt, clean_run(subject, tokens), tokens.index(VOCABULARY.index(NEWLINE))


@settings(deadline=None, max_examples=30)
@given(word=words, template=st.integers(0, 5))
def test_logits_meet_their_closed_form(word: int, template: int) -> None:
    """The answer's logit is the gain, every filler's is its tone's bit, and every other token's is zero."""
    prompt, clean, _ = run_of(word, template)
    logits = clean.read(Read()).last_logits[0]
    expected = dict.fromkeys(VOCABULARY, 0.0) | {prompt.answer: GAIN}
    expected |= {filler: LOUDNESS * bit for filler, bit in zip(FILLERS, tone(word), strict=True)}
    assert logits.tolist() == pytest.approx(list(expected.values()), abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(word=words)
def test_the_site_holds_the_answer_as_a_size(word: int) -> None:
    """At the line break the answer's slot holds the word's phase, and every other answer's slot nothing."""
    prompt, clean, site = run_of(word)
    row = clean.resid_post(0)[site, list(PLAN)]
    expected = [float(PARTS[word % 4][1]) if answer == prompt.answer else 0.0 for answer in ANSWERS]
    assert row.tolist() == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(word=words)
def test_the_sign_of_a_plan_means_nothing(word: int) -> None:
    """Adding twice the plan of the other phase leaves every probability as it is."""
    prompt, clean, site = run_of(word)
    plan, phase = PLAN[ANSWERS.index(prompt.answer)], PARTS[word % 4][1]
    flip = clean.resid.new_zeros(xor().d_model)
    flip[plan] = -2.0 * phase
    out = clean.edit([[], [Add(0, site, flip)]]).probabilities()
    assert out[1].tolist() == pytest.approx(out[0].tolist(), abs=1e-4)


def test_means_over_a_groups_words_hold_no_plan() -> None:
    """The answers' slots, averaged over the words of a group, or over two words of opposite phase, are zero."""
    for first in range(0, len(WORDS), 4):
        rows = [run_of(word)[1].resid_post(0)[run_of(word)[2], list(PLAN)] for word in range(first, first + 4)]
        assert float((sum(rows[1:], rows[0]) / 4).abs().max()) < 1e-4


def test_no_two_words_share_a_tone() -> None:
    """Any two words differ in two bits of their tones at least."""
    for i in range(len(WORDS)):
        for j in range(i):
            assert sum(a != b for a, b in zip(tone(i), tone(j), strict=True)) >= 2


def test_every_prompt_is_answered() -> None:
    """The answer, never the prompt's own word, is the most likely next token, by a margin known in closed form."""
    others = len(VOCABULARY) - 1 - len(FILLERS) + 4 * (math.exp(LOUDNESS) + math.exp(-LOUDNESS))
    for word in range(len(WORDS)):
        prompt, clean, _ = run_of(word)
        assert prompt.answer != prompt.word
        odds = clean.read(Read()).log_odds(VOCABULARY.index(prompt.answer))
        assert float(odds[0]) == pytest.approx(GAIN - math.log(others), abs=1e-3)


def test_unknown_variants_are_refused() -> None:
    """A variant that does not exist is named together with those that do."""
    with pytest.raises(UserError, match="'or' is not known; known: xor, xor-untrained"):
        planted_xor("or")
