"""The vocabulary scan, its rhyme groups and the responses of features measure what is known of planted subjects."""

import math
import sys
from dataclasses import replace
from functools import cache
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.domains import domain_hits
from prolepsis.engine import clean_run
from prolepsis.experiments import feature_discovery, measuring
from prolepsis.experiments.feature_discovery import by_chance, dedicated_features, rhyme_clusters
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.experiments.rhyme_responses import matched, rhyme_responses, shared_ending
from prolepsis.experiments.vocabulary_scan import (
    TopTokens,
    best_features,
    chance_cosine,
    features_of,
)
from prolepsis.judge import judge, judge_family
from prolepsis.ledger import rows
from prolepsis.names import Feature
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.running.hooks import Read
from prolepsis.running.prompt_batch import resid_mid_of
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import Lexicon, lexicon_of, rhyme_ending, rhyme_groups, spoken_endings
from prolepsis.subjects.loading import load_subject
from tests.tiny import FAMILIES, tiny_subject, tiny_tokens


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


# ---------------------------------------------------------------- the scan


def test_a_word_has_all_features_that_point_at_it_and_keeps_the_best() -> None:
    """Features count from the cut on; of those of one word the one of largest cosine is its best."""
    tops = TopTokens(torch.tensor([[7, 9, 7], [7, 8, 9]]), torch.tensor([[0.4, 0.29, 0.5], [0.45, 0.9, 0.3]]))
    words = {7: "seven", 9: "nine"}
    assert set(features_of(tops, words)["seven"]) == {Feature(0, 0), Feature(0, 2), Feature(1, 0)}
    assert best_features(tops, words) == {"seven": Feature(0, 2), "nine": Feature(1, 2)}
    assert best_features(tops, words, cut=0.46) == {"seven": Feature(0, 2)}


def test_a_rhyme_word_has_a_feature_in_any_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature of "Light" is one of the word "light", as where words are grouped by rhyme; other words have none."""
    subject = load_subject("planted-llama-irrevocable")
    task = task_of(subject)
    word, other = next(iter(task.groups.values()))[:2]
    capitalised = next(token for token in range(subject.n_vocab) if subject.decode([token]) not in task.answers)
    tops = TopTokens(torch.tensor([[capitalised]]), torch.tensor([[0.9]]))
    for spelled, found in (({capitalised: word}, 1.0), ({capitalised: "unasked"}, 0.0), ({}, 0.0)):
        monkeypatch.setattr(feature_discovery, "clean_words", lambda _, spelled=spelled: spelled)
        values = feature_discovery._found(subject, tops, 0.3)
        assert (values[word], values[other]) == (found, 0.0)
        assert set(values) == {word for words in task.groups.values() for word in words}


@given(comparisons=st.integers(1, 10**9), alpha=st.floats(1e-4, 0.4))
def test_the_chance_cosine_meets_archimedes(comparisons: int, alpha: float) -> None:
    """On the sphere in three dimensions a cap's share is (1 − cosine)/2, so the cut is 1 − 2α/m."""
    assert chance_cosine(3, comparisons, alpha) == pytest.approx(1 - 2 * alpha / comparisons)


def test_random_rows_pass_the_chance_cosine_as_often_as_said() -> None:
    """Of random rows, one in twenty reaches the cut with the best of 200 random tokens; it shrinks with the width."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.nn.functional.normalize(torch.randn(200, 32, generator=generator), dim=-1)
    rows_ = torch.nn.functional.normalize(torch.randn(4000, 32, generator=generator), dim=-1)
    passed = float(((rows_ @ tokens.T).amax(1) > chance_cosine(32, 200)).double().mean())
    assert passed == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 4000) + 0.002)
    assert chance_cosine(64, 224) > 0.4
    assert 0.3 < chance_cosine(128, 224) < 0.31
    assert chance_cosine(2304, 256_000 * 425_984) < 0.2


# ---------------------------------------------------------------- words and rhymes


@pytest.mark.parametrize(
    ("phones", "ending"),
    [
        ("AH0 B AW1 T", "AW1 T"),  # about
        ("R IH0 K W AY1 ER0", "AY1 ER0"),  # require
        ("K AE1 T AH0 L AO2 G", "AE1 T AH0 L AO2 G"),  # catalogue: the primary stress, not the last one
        ("DH AH0", "AH0"),  # the
        ("N AA2 N S T AA2 P", "AA2 P"),  # no primary stress: the last secondary one
    ],
)
def test_rhymes_share_what_follows_the_stress(phones: str, ending: str) -> None:
    """The ending runs from the last primary stress, else the last secondary one, else the last vowel."""
    assert rhyme_ending(phones) == ending


def test_spoken_words_rhyme_as_the_paper_prints() -> None:
    """The dictionary gives the paper's examples: AW1 N D for four words, and "read" rhymes with two words, not one."""
    words = ["found", "round", "around", "ground", "read", "bed", "need", "xqzt"]
    endings = spoken_endings(words)
    assert "xqzt" not in endings
    first = rhyme_groups(words, {word: found[:1] for word, found in endings.items()})
    assert first["AW1 N D"] == ["found", "round", "around", "ground"]
    every = rhyme_groups(words, endings)
    assert len(every) > len(first)
    assert every["EH1 D"] == ["read", "bed"]
    assert every["IY1 D"] == ["read", "need"]


def test_a_small_language_needs_no_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the task lists the language's rhymes, they are the lexicon, and pronouncing is not imported."""
    monkeypatch.setitem(sys.modules, "pronouncing", None)
    lexicon = lexicon_of(subject_of("revocable"))
    assert len(lexicon.words) == len(lexicon.endings) == 40
    assert lexicon.endings["cat"] == lexicon.endings["bat"] != lexicon.endings["bear"]


def test_a_natural_vocabulary_is_looked_up() -> None:
    """Where the task's words are few among the vocabulary's, clean words of the vocabulary are looked up."""
    vocabulary = ["cat", " Cat", "hat", "##", "q", "found", "round", "ground", "this", "is", "long", "tree", "free"]
    subject = SimpleNamespace(
        n_vocab=len(vocabulary),
        decode=lambda tokens: vocabulary[tokens[0]],
        task=SimpleNamespace(groups={"at": ("cat", "hat")}),
    )
    lexicon = lexicon_of(subject)  # type: ignore[arg-type]
    assert lexicon.words[0] == lexicon.words[1] == "cat"
    assert not {3, 4} & set(lexicon.words)
    assert lexicon.endings["tree"] == lexicon.endings["free"]
    assert lexicon.by_frequency()[:3] == ["cat", "hat", "found"]


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=2, max_size=4), drawn=st.integers(2, 5), data=st.data())
def test_the_chance_of_a_rhyme_counts_draws(sizes: list[int], drawn: int, data: st.DataObject) -> None:
    """A found word's chance of a mate is its share of all ways to draw as many other words."""
    words = [f"{group}{i}" for group, size in enumerate(sizes) for i in range(size)]
    drawn = min(drawn, len(words))
    found = data.draw(st.permutations(words))[:drawn]
    lexicon = Lexicon(dict(enumerate(words)), {word: (word[0],) for word in words})
    for word, chance in by_chance(found, lexicon).items():
        draws = list(combinations([other for other in words if other != word], drawn - 1))
        mated = sum(any(other[0] == word[0] for other in draw) for draw in draws)
        assert chance == pytest.approx(mated / len(draws))


def test_domain_hits_are_counted_by_list() -> None:
    """Every occurrence counts in each list that has the word; other words count nowhere."""
    hits = domain_hits(["rest", "rest", "ground", "for", "string", "nothing"])
    assert hits["cooking"]["verbs"] == 2
    assert hits["cooking"]["descriptors"] == 1
    assert hits["code"] == {"types": 1, "control flow": 1}


def test_the_last_layer_decides_what_the_scan_finds() -> None:
    """The planner's neurons write no last layer and are not found; the reviser's do, every word's alone."""
    assert set(dedicated_features(subject_of("irrevocable")).values.values()) == {0.0}
    assert rhyme_clusters(subject_of("irrevocable")).values == {}
    measured = dedicated_features(subject_of("revocable"))
    assert set(measured.values.values()) == {1.0}
    assert measured.detail["found at chance cosine"] == 40
    assert sum(measured.arms["shuffled decoders"].values()) < 20
    clusters = rhyme_clusters(subject_of("revocable"))
    assert clusters.values == clusters.arms["random words"] == dict.fromkeys(clusters.values, 1.0)
    assert len(clusters.detail["groups"]) == clusters.detail["groups by any pronunciation"] == 20


# ---------------------------------------------------------------- responses


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", [None, CoupletBarrier(3)])
def test_prompts_run_side_by_side_as_they_do_alone(family: str, rule: CoupletBarrier | None) -> None:
    """resid_mid of a batch of different prompts equals that of each prompt's own clean run."""
    subject = tiny_subject(family, mask_rule=rule)
    prompts = [[*tiny_tokens(seed, 2), 3, *tiny_tokens(seed + 9, 4)] for seed in range(5)]
    batch = resid_mid_of(subject, prompts, range(subject.n_layers))
    for row, prompt in enumerate(prompts):
        alone = clean_run(subject, prompt).read(Read(logits=(), resid_mid=tuple(range(subject.n_layers)))).resid_mid
        for layer in range(subject.n_layers):
            torch.testing.assert_close(batch[layer][row], alone[layer][0], rtol=1e-12, atol=1e-12)


def test_a_planted_neuron_responds_to_its_mate_alone() -> None:
    """The neuron that plans on a word is driven by the word's partner as by nothing else; without search by nothing."""
    measured = rhyme_responses(subject_of("irrevocable"))
    assert set(measured.values.values()) == {1.0}
    assert {name: set(measured.arms[name].values()) for name in ("matched words", "random words")} == {
        "matched words": {0.0},
        "random words": {0.0},
    }
    assert max(measured.arms["shuffled decoders"].values()) == 0.0
    assert rhyme_responses(subject_of("no-plan")).detectable == ()


def test_one_word_with_a_feature_is_too_few_and_no_fault() -> None:
    """Where no word of another group has a feature that responds there is none to compare with: nothing is said."""
    whole = subject_of("irrevocable")
    assert whole.task is not None
    assert whole.task.features is not None
    word, feature = next(iter(whole.task.features.items()))
    measured = rhyme_responses(replace(whole, task=replace(whole.task, features={word: feature})))
    assert measured.detectable == (word,)
    assert measured.arms["shuffled decoders"] == {}
    (claim,) = rows(family="rhyme responses", tier="organism")
    assert judge(claim, measured).verdict == "inconclusive"


def test_matched_words_are_spelled_alike_and_taken_once() -> None:
    """Each mate's match shares as many last letters with the word, lies near it in token ids, and is not used again."""
    ids = {"cat": 0, "bat": 1, "mat": 2, "oat": 9, "boat": 7, "king": 1, "duck": 3}
    subject = SimpleNamespace(word_id=ids.__getitem__)
    assert shared_ending("cat", "boat") == 2
    assert shared_ending("at", "cat") == 2
    others = ["king", "duck", "oat", "boat"]
    assert matched(subject, "cat", ["bat", "mat"], others) == ["boat", "oat"]  # type: ignore[arg-type]
    assert matched(subject, "cat", ["bat", "mat", "cat"], others)[2] == "king"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variant", "verdict"), [("irrevocable", "supported"), ("no-plan", "inconclusive"), ("untrained", "vacuous")]
)
def test_asked_verdicts_on_subjects_with_known_answers(variant: str, verdict: str) -> None:
    """Features stand for rhymes where they plan on them, say nothing where nothing moves them, and not by chance."""
    claims = rows(family="rhyme responses", tier="organism")
    verdicts = judge_family(claims, measuring.measure(claims, subject_of(variant)))
    assert {found.verdict for found in verdicts.values()} == {verdict}
