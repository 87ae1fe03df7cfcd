"""Hiding tokens finds the anchors that were planted, and hides what it says."""

import math
import statistics
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.engine import clean_run
from prolepsis.experiments.anchor_tokens import Anchors, anchor_excess, anchor_loss, find_anchors, hide
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.names import Head
from prolepsis.organisms.planted import NEWLINE, WORDS
from prolepsis.reachability.masks import BoolArray, IntArray
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens

torch.set_num_threads(1)


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


def anchors_of(name: str) -> Anchors:
    """The anchors of a bundled subject."""
    return subject_of(name).once(find_anchors)


def anchor_words(name: str) -> set[str]:
    """The tokens that are anchors anywhere."""
    subject, anchors = subject_of(name), anchors_of(name)
    runs = subject.once(Runs)
    return {subject.decode([runs.clean(p.recipient).tokens[anchors.of(p)]]).strip() for p in anchors.pairs}


class Blind:
    """A mask rule that leaves some positions no key but the one before them."""

    def __call__(self, query: IntArray, key: IntArray, tokens: IntArray) -> BoolArray:
        return np.asarray((query % 3 != 2) | (key == query - 1) | (tokens[0] < 0))

    def describe(self) -> dict[str, str]:
        return {"kind": "blind"}


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FAMILIES), st.integers(0, 2**16), st.integers(2, 9), st.data())
def test_a_hidden_token_gets_no_attention_and_all_else_keeps_a_key(
    family: str, seed: int, length: int, data: st.DataObject
) -> None:
    """No later position attends to a hidden token in any head, unless it sees nothing else; earlier ones still do."""
    subject = tiny_subject(family, seed % 7, mask_rule=Blind() if data.draw(st.booleans()) else None)
    tokens = tuple(tiny_tokens(seed, length))
    key = data.draw(st.integers(0, length - 2))
    asked = tuple((Head(at, h), q) for at in range(subject.n_layers) for h in range(2) for q in range(length))
    (edges,) = hide(subject, tokens, [((key,), range(length))])
    patterns = clean_run(subject, tokens).edit([edges], Read(logits=(), patterns=asked)).patterns
    for (head, query), pattern in patterns.items():
        seen = subject.wiring.visible(head.layer, tokens)[query]
        alone = bool(seen[key]) and seen.sum() == 1
        whole = torch.isclose(pattern[0].sum(), torch.ones((), dtype=pattern.dtype))
        assert whole or (subject.wiring.sinks and pattern[0].sum() < 1)
        assert (pattern[0, key] > 0) == (bool(seen[key]) and (query <= key or alone))


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(FAMILIES), st.integers(0, 2**16), st.integers(2, 8))
def test_with_everything_hidden_the_last_token_speaks_for_itself(family: str, seed: int, length: int) -> None:
    """A last position that sees itself alone predicts what its token predicts as a prompt of its own."""
    subject, tokens = tiny_subject(family, seed % 5), tuple(tiny_tokens(seed, length))
    (edges,) = hide(subject, tokens, [(range(length - 1), (length - 1,))])
    hidden = clean_run(subject, tokens).edit([edges]).last_logits
    alone = clean_run(subject, tokens[-1:]).read(Read()).last_logits
    # With a sink the token's score for itself counts, and rotary angles, which cancel in it, are of single precision.
    assert torch.allclose(hidden, alone, atol=1e-5 if subject.wiring.sinks else 1e-9)


@pytest.mark.parametrize("variant", ["irrevocable", "corrects"])
def test_a_planted_newline_costs_what_the_route_brings(variant: str) -> None:
    """Hiding the newline costs the routed logit; hiding everything costs the correcting head's logit as well."""
    name = f"planted-llama-{variant}"
    subject, anchors = subject_of(name), anchors_of(name)
    assert anchor_words(name) == {NEWLINE}
    for pair in anchors.pairs:
        length = len(subject.once(Runs).clean(pair.recipient).tokens)
        routed = 8 * math.exp(7) / (math.exp(7) + length - 1)
        corrected = 12 if variant == "corrects" else 0
        assert anchors.anchor(pair) == pytest.approx(routed, abs=1e-3)
        assert 2 * anchors.half_of_all(pair) == pytest.approx(routed + corrected, abs=1e-3)
        assert anchors.beside(pair) == pytest.approx(0, abs=0.02)


def test_the_reread_word_is_the_only_anchor_of_a_subject_without_a_plan() -> None:
    """Where every position reads the rhyme word, hiding it costs everything and hiding any other token nothing."""
    anchors = anchors_of("planted-llama-no-plan")
    for pair in anchors.pairs:
        lost, source = anchors.losses[pair.recipient.id], anchors.source[pair.recipient.id]
        assert lost[source] == pytest.approx(anchors.all_hidden[pair.recipient.id], abs=1e-4)
        assert max(abs(nats) for at, nats in lost.items() if at != source) < 1e-3


def test_trained_subjects_show_the_anchor_they_were_trained_to_have() -> None:
    """The planner's anchor is the newline; all the improviser needs is the rhyme word."""
    assert anchor_words("planner") == {NEWLINE}
    improviser = anchors_of("improviser")
    for pair in improviser.pairs:
        lost = improviser.losses[pair.recipient.id]
        assert max(lost, key=lost.__getitem__) == improviser.source[pair.recipient.id]


def test_a_half_has_no_part_in_its_own_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for other answers in one half changes the anchors of the other half alone."""
    clean, subject = anchors_of("planted-llama-irrevocable"), subject_of("planted-llama-irrevocable")
    answer = Runs.answer
    spoiled = {pair.recipient.id: pair.donor for pair in clean.pairs if pair.half == 0}
    # With the wrong answer asked for, hiding the newline is a gain, so that any other token costs more.
    monkeypatch.setattr(Runs, "answer", lambda runs, prompt: answer(runs, spoiled.get(prompt.id, prompt)))
    wrecked = find_anchors(subject)
    same = {half for half in (0, 1) if all(wrecked.chosen[k] == at for k, at in clean.chosen.items() if k[0] == half)}
    assert same == {0}


def test_null_tokens_are_neither_the_anchor_nor_the_rhyme_word() -> None:
    """The tokens the anchor is compared with are others, and the two nearest ones lie as near as any."""
    anchors = anchors_of("planted-llama-irrevocable")
    for pair in anchors.pairs:
        key, at = (pair.half, pair.recipient.template.id), anchors.of(pair)
        source = anchors.source[pair.recipient.id]
        assert not {at, source} & {*anchors.neighbours[key], anchors.attended[key]}
        others = sorted(abs(p - at) for p in anchors.losses[pair.recipient.id] if p not in (at, source))
        assert sorted(abs(p - at) for p in anchors.neighbours[key]) == others[:2]


def test_the_measurements_are_complete() -> None:
    """Every group is a cluster, shams do not move a bit, and the excess is the loss less half of what there is."""
    subject, anchors = subject_of("planted-llama-corrects"), anchors_of("planted-llama-corrects")
    loss, excess = anchor_loss(subject), anchor_excess(subject)
    assert set(loss.clusters.values()) == {(pair.recipient.group,) for pair in anchors.pairs}
    assert len(set(loss.clusters.values())) == len(loss.values) == len(WORDS) // 2
    assert set(loss.arms["unread edges"].values()) == {0.0}
    assert min(loss.arms["last token alone"].values()) > 0.9999
    halves = statistics.fmean(map(anchors.half_of_all, anchors.pairs))
    for arm in ("neighbours", "equal attention"):
        gap = statistics.fmean(loss.arms[arm].values()) - statistics.fmean(excess.arms[arm].values())
        assert gap == pytest.approx(halves)
    assert statistics.fmean(loss.values.values()) - statistics.fmean(excess.values.values()) == pytest.approx(halves)
