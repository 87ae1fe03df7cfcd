"""Layers left out: blocks, what a couplet is without them, and which blocks a rhyme needs."""

import dataclasses
import math
from functools import cache
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.edits import Skip
from prolepsis.experiments import layer_skipping, skipped_couplets
from prolepsis.experiments.layer_skipping import blocks
from prolepsis.experiments.rhyme_pairs import Runs, rhyme_pairs, task_of
from prolepsis.experiments.skipped_couplets import (
    BEYOND_LATE,
    EARLY,
    LAST,
    LATE,
    MIDDLE,
    PAPER_DEPTH,
    PLANNING,
    WHOLE,
    line_1,
    scaled,
)
from prolepsis.judge import judge
from prolepsis.report.subjects import ENGLISH
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import listed_endings
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Prompt
from prolepsis.subjects.task_file import read_task


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@given(n_layers=st.integers(1, 100))
def test_blocks_scale_with_depth(n_layers: int) -> None:
    """Scaled blocks are unbroken runs of layers the model has; in the paper's depth they are the published ones."""
    for first, last in (EARLY, LATE, LAST, *MIDDLE, PLANNING, BEYOND_LATE):
        block = scaled((first, last), n_layers)
        assert block
        assert block == tuple(range(block[0], block[-1] + 1))
        assert 0 <= block[0] <= block[-1] < n_layers
        assert scaled((first, last), PAPER_DEPTH) == tuple(range(first, last + 1))


@given(n_layers=st.integers(1, 100))
def test_blocks_cut_the_whole_depth(n_layers: int) -> None:
    """Every layer is in exactly one block, and no block is larger than the early one."""
    cut = blocks(n_layers)
    assert [layer for block in cut for layer in block] == list(range(n_layers))
    assert max(map(len, cut)) == len(scaled(EARLY, n_layers))


@pytest.mark.parametrize(
    ("variant", "needed"),
    [("irrevocable", {0, 1, 2}), ("direct", {0, 1, 2}), ("no-plan", {3}), ("dormant", {3}), ("corrects", {0, 1, 2, 3})],
)
def test_harm_meets_its_closed_form(variant: str, needed: set[int]) -> None:
    """Without a layer of its circuit a planted subject loses what it adds to the answer's logit, else nothing."""
    subject = subject_of(f"planted-llama-{variant}")
    runs = subject.once(Runs)
    for pair in rhyme_pairs(task_of(subject)):
        attention = math.exp(7) / (math.exp(7) + len(runs.clean(pair.recipient).tokens) - 1)
        parts = {"corrects": (8 * attention, 12.0), "no-plan": (0.0, 8.0), "dormant": (0.0, 8.0)}
        route, reread = parts.get(variant, (8 * attention, 0.0))
        left = dict.fromkeys((0, 1, 2), reread) | {3: route}
        harm = subject.once(layer_skipping.harms)[pair.recipient.id]
        for layer in range(subject.n_layers):
            expected = (route + reread) - left[layer] if layer in needed else 0.0
            assert harm.rhyme[layer,] == pytest.approx(expected, abs=1e-4)


def test_a_half_has_no_part_in_its_own_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's answers leaves the block that half is tested with unchanged, and changes the other's."""
    subject = subject_of("planted-llama-no-plan")
    most, _ = subject.once(layer_skipping.chosen_blocks)
    found = subject.once(layer_skipping.harms)
    spoiled = {
        name: harm
        if harm.half
        else layer_skipping.Harm(0, {b: -v for b, v in harm.rhyme.items()}, dict.fromkeys(harm.rest, 0.0))
        for name, harm in found.items()
    }
    monkeypatch.setitem(subject.known, layer_skipping.harms, spoiled)
    wrecked, _ = layer_skipping.chosen_blocks(subject)
    assert wrecked[0] == most[0] == (3,)
    assert wrecked[1] != most[1]


def test_a_block_that_breaks_everything_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest of the couplet does not stay natural without a block, the next one is taken."""
    subject = subject_of("planted-llama-no-plan")
    broken = {
        name: layer_skipping.Harm(harm.half, harm.rhyme | {(1,): 1.0}, harm.rest | {(3,): 2.0})
        for name, harm in subject.once(layer_skipping.harms).items()
    }
    monkeypatch.setitem(subject.known, layer_skipping.harms, broken)
    most, least = layer_skipping.chosen_blocks(subject)
    assert set(most.values()) == {(1,)}
    assert least[0] in {(0,), (2,)}


def test_line_one_s_own_word_is_no_true_rhyme(monkeypatch: pytest.MonkeyPatch) -> None:
    """The published count takes line 1's own word for a rhyme; the count of true rhymes does not."""
    subject = subject_of("planted-llama-no-plan")

    def own_words(_: Subject, pairs: tuple, __: object) -> dict:
        return {
            pair.recipient.id: {WHOLE: pair.recipient.word, (3,): pair.recipient.answer, (2,): "then", (1,): ""}
            for pair in pairs
        }

    monkeypatch.setattr(skipped_couplets, "_last_words", own_words)
    for couplet in skipped_couplets.couplets(subject).values():
        assert couplet.published == {WHOLE: True, (3,): True, (2,): False, (1,): False}
        assert couplet.true == {WHOLE: False, (3,): True, (2,): False, (1,): False}


def test_a_couplet_is_asked_for_by_one_line_as_published() -> None:
    """English prompts are their line 1 and its break, without couplet and opening; organisms' are their stems."""
    task = read_task(ENGLISH)
    for template in task.templates:
        line = line_1(Prompt(template, "ay", "day", "way"))
        assert line.count("\n") == 1
        assert line.endswith(" day,\n")
        assert line in template.text.replace("{word}", "day")
    for pair in rhyme_pairs(task_of(subject_of("planner"))):
        assert line_1(pair.recipient) == pair.recipient.stem


def test_a_rhyme_outside_the_listed_group_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a natural language any word with the ending of line 1's is a rhyme, listed or not."""
    subject = subject_of("planted-llama-no-plan")
    pair = next(iter(rhyme_pairs(task_of(subject))))
    name = pair.recipient.id
    recipient = dataclasses.replace(pair.recipient, word="night")
    monkeypatch.setattr(skipped_couplets, "rhyme_pairs", lambda _: (dataclasses.replace(pair, recipient=recipient),))
    monkeypatch.setitem(subject.known, listed_endings, {})
    written = {WHOLE: "bright", (3,): "night", (2,): "star"}
    monkeypatch.setattr(skipped_couplets, "_last_words", lambda *_: {recipient.id: written})
    (couplet,) = skipped_couplets.couplets(subject).values()
    assert name != recipient.id
    assert couplet.true == {WHOLE: True, (3,): False, (2,): False}
    assert couplet.published == {WHOLE: True, (3,): True, (2,): False}


def test_layers_elsewhere_are_outside_of_what_is_skipped() -> None:
    """As many layers are drawn as are skipped, none of them in the block, nor for a part of a stage in the stage."""
    for seed in range(20):
        drawn = skipped_couplets._elsewhere(PAPER_DEPTH, seed)
        for ends in (EARLY, LATE, LAST, *MIDDLE, BEYOND_LATE):
            first, last = PLANNING if ends in MIDDLE else ends
            assert len(drawn[ends]) == ends[1] - ends[0] + 1
            assert not set(drawn[ends]) & set(range(first, last + 1))


def test_a_published_block_that_breaks_everything_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rest of the couplet does not stay natural without the block, what was lost with it is inconclusive."""
    subject = subject_of("planted-llama-no-plan")
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "D06")
    assert judge(claim, layer_skipping.late_block_loss(subject)).verdict == "supported"
    broken = {
        name: dataclasses.replace(harm, rest=harm.rest | {(3,): 2.0})
        for name, harm in subject.once(layer_skipping.harms).items()
    }
    monkeypatch.setitem(subject.known, layer_skipping.harms, broken)
    found = judge(claim, layer_skipping.late_block_loss(subject))
    assert found.verdict == "inconclusive"
    assert "off-target damage" in found.reason


@pytest.mark.parametrize(
    ("variant", "expected"), [("no-plan", "supported"), ("irrevocable", "contradicted"), ("spoiled-early", "vacuous")]
)
def test_skipping_more_than_a_needed_block_leaves_no_rhyme(variant: str, expected: str) -> None:
    """Rhymes that need the late block are gone without more than it, others are not; where none were, none can go."""
    (claim,) = (claim for claim in ledger.rows(family="q4") if claim.id == "X200")
    found = judge(claim, layer_skipping.rhymes_beyond_late_block(subject_of(f"planted-llama-{variant}")))
    assert found.verdict == expected, found.reason


def test_losses_without_both_parts_of_a_stage_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A couplet that ceases to rhyme without one part of the planning stage and not without the other loses half."""
    subject = subject_of("planted-llama-no-plan")
    first, second = (1,), (2,)
    monkeypatch.setattr(layer_skipping, "scaled", lambda ends, _: first if ends == MIDDLE[0] else second)
    rhymes = {WHOLE: True, first: False, second: True, (0,): True}
    found = {
        name: skipped_couplets.Couplet(rhymes, rhymes, dict.fromkeys(MIDDLE, (0,)))
        for name in subject.once(layer_skipping.harms)
    }
    monkeypatch.setitem(subject.known, skipped_couplets.couplets, found)
    measured = layer_skipping.middle_block_loss(subject)
    assert set(measured.values.values()) == {0.5}
    assert set(measured.arms["other layers"].values()) == {0.0}


def test_rhymes_written_without_a_layer() -> None:
    """Without the layer that reads the word nothing rhymes any more; without any other, everything does."""
    subject = subject_of("planted-llama-no-plan")
    for couplet in subject.once(skipped_couplets.couplets).values():
        assert couplet.true == {block: block != (3,) for block in couplet.true}
    assert fmean(layer_skipping.late_block_loss(subject).values.values()) == 1
    gains = layer_skipping.last_block_gain(subject_of("planted-llama-irrevocable"))
    assert gains.detectable == ()
    assert set(gains.values.values()) == {0.0}


@pytest.mark.parametrize(("when", "layer", "alone"), [("early", 1, 8.0), ("late", 3, None)])
def test_a_spoiled_planner_rhymes_without_the_spoiling_layer(when: str, layer: int, alone: float | None) -> None:
    """The spoiling head writes a word of another group at logit 12; without its layer the right word is left alone."""
    subject = subject_of(f"planted-llama-spoiled-{when}")
    for name, couplet in subject.once(skipped_couplets.couplets).items():
        assert couplet.true == {block: block == (layer,) for block in couplet.true}, name
    for pair in rhyme_pairs(task_of(subject))[:6]:
        clean = subject.once(Runs).clean(pair.recipient)
        attention = math.exp(7) / (math.exp(7) + len(clean.tokens) - 1)
        rows = clean.edit([[], [Skip((layer,))]]).last_logits
        answer = subject.once(Runs).answer(pair.recipient)
        assert rows[0].max().item() == pytest.approx(12, abs=1e-3)
        assert rows[1].argmax().item() == answer
        assert rows[1, answer].item() == pytest.approx(alone or 8 * attention, abs=1e-3)
