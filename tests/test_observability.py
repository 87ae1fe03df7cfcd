"""The six methods and contrastive steering measure what is known of planted and trained subjects."""

import math
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from prolepsis import ledger
from prolepsis.experiments.contrastive_steering import (
    fact_steering,
    fact_steering_as_written,
    rhyme_contrasts,
    rhyme_steering,
)
from prolepsis.experiments.feature_activity import Activity, weights_of
from prolepsis.experiments.observability import (
    METHODS,
    STRENGTHS,
    best_features,
    items_of,
    sampled_ids,
    score_features,
    steer_last,
)
from prolepsis.experiments.rhyme_pairs import Runs, rhyme_pairs, task_of
from prolepsis.experiments.steering_methods import contrastive_probe, decoder_similarity, six_methods
from prolepsis.judge import judge
from prolepsis.names import Feature
from prolepsis.rehearsal.shapes import SHAPES, Shape, scaled
from prolepsis.rehearsal.tokenizer import TASK, write_tokenizer
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task_file import read_task
from prolepsis.transcoder import Transcoder, write_transcoder
from tests.tiny import tiny_subject


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    return load_subject(name)


@given(seed=st.integers(0, 2**16), layers=st.integers(1, 3), width=st.integers(1, 9))
def test_best_features_are_the_largest_positive_scores(seed: int, layers: int, width: int) -> None:
    """Features are chosen by score, largest first, and never one whose score is not above zero."""
    scores = torch.randn(layers, width, generator=torch.Generator().manual_seed(seed))
    ranked = sorted(
        ((float(scores[at, i]), Feature(at, i)) for at in range(layers) for i in range(width)), reverse=True
    )
    assert best_features(scores) == [feature for score, feature in ranked if score > 0][:5]


def test_weighted_features_write_what_decoding_gives() -> None:
    """What a weighted set of features writes at each layer is the decoded activations less the decoder's bias."""
    subject = subject_of("planted-llama-xor")
    runs, activity, item = subject.once(Runs), subject.once(Activity), items_of(subject)[0]
    clean = runs.clean(item.pair.recipient)
    active = activity.at(clean, len(clean.tokens) - 1)
    assert subject.transcoder is not None
    decoded = subject.transcoder.decode(active) - subject.transcoder.decode(torch.zeros_like(active))
    written = activity.writes(weights_of(active))
    assert written
    for layer in range(subject.n_layers):
        expected = decoded[layer]
        torch.testing.assert_close(written.get(layer, torch.zeros_like(expected)), expected)


def english(shape: Shape, folder: Path) -> Subject:
    """A tiny random subject with the English task and the rehearsal's tokenizer of a preset."""
    write_tokenizer(shape, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    subject = tiny_subject("llama", dtype=torch.float32, n_vocab=len(tokenizer))
    generator = torch.Generator().manual_seed(1)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    layers, width = range(subject.n_layers), subject.d_model
    write_transcoder(
        folder / "transcoder",
        [drawn(9, width) for _ in layers],
        [drawn(9) for _ in layers],
        [drawn(9, subject.n_layers - layer, width) for layer in layers],
        [drawn(width) for _ in layers],
        model_name="tiny",
    )
    task = read_task(TASK)
    answers = {word: words[i - 1] for words in task.groups.values() for i, word in enumerate(words)}
    transcoder = Transcoder.open(folder / "transcoder")
    return replace(subject, tokenizer=tokenizer, transcoder=transcoder, task=replace(task, answers=answers))


@pytest.mark.parametrize("preset", ["gemma-2-2b-426k", "llama-3.2-1b-524k"])
def test_probes_read_the_word_as_the_paper_writes_it(preset: str, tmp_path: Path) -> None:
    """Method 1 reads features at the end of "The word is {w}" and method 5 at that of " {w}"."""
    subject = english(scaled(SHAPES[preset], 0.01), tmp_path)
    scores, activity = score_features(subject), subject.once(Activity)
    for of, start in ((scores.in_sentence, "The word is "), (scores.probes, " ")):
        for word, found in of.items():
            tokens = tuple(subject.encode(f"{start}{word}"))
            assert tokens[-1] == subject.word_id(word)
            assert torch.equal(found, activity.of((tokens, len(tokens) - 1)))
    assert any(not torch.equal(scores.in_sentence[word], probe) for word, probe in scores.probes.items())


def test_a_word_is_probed_alone_where_the_sentence_is_not_known() -> None:
    """A vocabulary without "The word is" leaves method 1 the word by itself."""
    subject = subject_of("planner")
    scores, activity = score_features(subject), subject.once(Activity)
    for word, found in scores.in_sentence.items():
        assert torch.equal(found, activity.of((tuple(subject.encode(word)), 1)))
        assert torch.equal(found, scores.probes[word])


def test_method_1_takes_its_features_from_the_sentence() -> None:
    """With other scores in the sentence method 1 does what they say, and method 5 what it did."""
    subject = load_subject("planted-llama-revocable")
    scores = subject.once(score_features)
    subject.known[score_features] = replace(scores, in_sentence=scores.dots)
    found = steer_last(subject)
    for item, outcome in found["largest activation"].items():
        assert outcome.gains == pytest.approx(found["decoder dot"][item].gains)
        assert not any(found["contrastive probe"][item].hits)


def test_losses_are_of_the_natural_top() -> None:
    """What an edit takes is taken from the likeliest token of the clean run, where that is not the answer too."""
    subject = subject_of("planted-llama-spoiled-early")
    runs, found = subject.once(Runs), subject.once(steer_last)["last row"]
    for item in items_of(subject):
        clean, target = (runs.clean(prompt).read(Read()) for prompt in (item.pair.recipient, item.target))
        top = int(clean.last_logits[0].argmax())
        assert top != runs.answer(item.pair.recipient)
        (loss,) = found[item.id].losses
        assert loss == pytest.approx(float(clean.log_odds(top) - target.log_odds(top)), abs=1e-4)


def test_targets_come_from_both_kinds_of_group() -> None:
    """Half of the items aim at another rhyme group, half at another word of the prompt's own."""
    items = items_of(subject_of("planted-llama-revocable"))
    same = [item.target.group == item.pair.recipient.group for item in items]
    assert len(items) == 24
    assert sum(same) == 12
    assert all(item.target.answer != item.pair.recipient.answer for item in items)


def test_the_decoders_dot_product_finds_the_readout() -> None:
    """Where neurons write what the unembedding reads, comparing decoders with the word hits from strength 1 on."""
    found = steer_last(subject_of("planted-llama-revocable"))
    assert STRENGTHS[:2] == (0.5, 1.0)
    for name in ("decoder dot", "decoder cosine"):
        assert all(outcome.hits == (False, *[True] * 5) for outcome in found[name].values())
    # Strength 1 writes 8, the gain of the planted neurons, straight into the target's logit.
    assert all(outcome.gains[1] == pytest.approx(8, abs=0.02) for outcome in found["decoder dot"].values())
    for method in set(METHODS) - {"decoder dot", "decoder cosine"}:
        assert not any(any(outcome.hits) for outcome in found[method].values())


def test_drawn_lines_hit_as_often_as_the_temperature_says() -> None:
    """At strength 1 the target and the natural word tie, so half of the lines hit; below none, from 2 on all."""
    subject = subject_of("planted-llama-revocable")
    found = subject.once(steer_last)
    drawn = sampled_ids(subject)
    outcomes = found["decoder dot"]
    assert [item for item, outcome in outcomes.items() if outcome.sampled] == [i for i in outcomes if i in drawn]
    shares = [list(outcomes[item].sampled) for item in drawn]
    assert statistics.fmean(share[0] for share in shares) < 0.1
    assert statistics.fmean(share[1] for share in shares) == pytest.approx(0.5, abs=3 * 0.5 / math.sqrt(3 * len(drawn)))
    assert all(share[2:] == [1.0] * 4 for share in shares)
    assert set(decoder_similarity(subject).values.values()) == {1.0}
    assert set(contrastive_probe(subject).values.values()) == {0.0}
    assert set(contrastive_probe(subject).arms["last row"].values()) == {1.0}


@pytest.mark.parametrize(
    ("variant", "verdict"), [("direct", "supported"), ("revocable", "contradicted"), ("no-plan", "vacuous")]
)
def test_six_methods_on_subjects_with_known_answers(variant: str, verdict: str) -> None:
    """No feature points at a word: supported; one does: contradicted; suppress + inject misses too: vacuous."""
    (claim,) = (claim for claim in ledger.rows(family="q1") if claim.id == "A01")
    assert judge(claim, six_methods(subject_of(f"planted-llama-{variant}"))).verdict == verdict


def test_the_sign_decides_whether_a_fact_is_redirected() -> None:
    """Own − other leaves the other fact's answer at nothing; other − own makes it the answer."""
    subject = subject_of("window-2")
    assert max(fact_steering_as_written(subject).values.values()) < 0.05
    assert min(fact_steering(subject).values.values()) > 0.5


def test_a_word_that_its_own_prompt_does_not_bring_cannot_tell() -> None:
    """Where no prompt makes its rhyme likely, that steering makes it as little shows nothing."""
    subject = subject_of("window-1")
    found, runs = rhyme_steering(subject), subject.once(Runs)
    for pair in rhyme_pairs(task_of(subject))[:3]:
        natural = float(runs.clean(pair.donor).read(Read()).probabilities()[0, runs.answer(pair.donor)])
        assert found.arms["other prompt"][pair.id] == pytest.approx(natural, rel=1e-4)
        assert natural < 0.05
    (claim,) = (row for row in ledger.rows(family="q1") if (row.id, row.variant) == ("A11", "asked"))
    assert judge(claim, found).verdict == "inconclusive"


def test_an_empty_difference_redirects_nothing() -> None:
    """Where the rhyme word is out of reach of the last row below the last layer, adding the difference does nothing."""
    found = subject_of("window-2").once(rhyme_contrasts)
    for contrast in found.of.values():
        assert contrast.other["towards"][0] == pytest.approx(contrast.clean[1], rel=1e-4)
        assert contrast.own["away"][0] == pytest.approx(contrast.clean[0], rel=1e-4)
