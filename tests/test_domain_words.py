"""The scan of word lists counts features as they were planted, and compares words that are as common."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from prolepsis import ledger
from prolepsis.errors import Untested
from prolepsis.experiments.domain_words import (
    code_features,
    cooking_features,
    cooking_hits,
    matched_words,
)
from prolepsis.judge import judge
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from prolepsis.subjects.task import Task, Template
from prolepsis.transcoder import Transcoder, write_transcoder
from tests.tiny import tiny_subject

LISTED = ["long", "int", "short", "for", "if", "set", "return", "bool"]
RHYMES = [f"{first}{vowel}t" for first in "bcdfgh" for vowel in "ae"]


class Words:
    """A tokenizer of one word per token."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def decode(self, tokens: list[int]) -> str:
        """The words of ``tokens``."""
        return " ".join(self.words[token] for token in tokens)


def subject_with(folder: Path, words: list[str], features: Mapping[str, int]) -> Subject:
    """A tiny subject of one token per word, whose layer-0 features point at each of ``features`` that many times."""
    tiny = tiny_subject("llama", n_heads=8, d_head=4, dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    tiny.model.get_submodule("lm_head").weight = torch.nn.Parameter(
        torch.nn.functional.normalize(torch.randn(len(words), tiny.d_model, generator=generator), dim=-1)
    )
    rows = [tiny.unembedding[words.index(word)] for word, n in features.items() for _ in range(n)]
    decoder = torch.stack(rows)[:, None].repeat(1, tiny.n_layers, 1).detach()
    decoders = [decoder[:, : tiny.n_layers - layer] * float(layer == 0) for layer in range(tiny.n_layers)]
    flat = [torch.zeros(len(rows), tiny.d_model)] * tiny.n_layers
    write_transcoder(
        folder,
        flat,
        [torch.zeros(len(rows))] * tiny.n_layers,
        decoders,
        [torch.zeros(tiny.d_model)] * tiny.n_layers,
        model_name="tiny",
    )
    groups = {word: (word, other) for word, other in zip(RHYMES[::2], RHYMES[1::2], strict=True)}
    task = Task(groups | {f"{g}2": w for g, w in groups.items()}, {}, (Template("t", "", ""),), ())
    return Subject("tiny", tiny.model, Words(words), transcoder=Transcoder.open(folder), task=task)


def vocabulary() -> list[str]:
    """Listed words, rhyme words and others, so that each of the former has others next to it."""
    others = [f"q{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    listed = [word for pair in zip(LISTED, others[::6], strict=False) for word in pair]
    return [*listed, *others[50:70], *RHYMES, *others[70:90]]


def test_matches_are_unlisted_neighbours(tmp_path: Path) -> None:
    """Words are matched with the unlisted ones nearest in the vocabulary's order."""
    subject = subject_with(tmp_path, ["for", "qaa", "int", "qab", "qac", "qad", "qae", "qaf"], {"for": 1})
    assert sorted(matched_words(subject, ["for"])["for"]) == ["qaa", "qab", "qac", "qad", "qae"]
    assert "qaf" in matched_words(subject, ["qad"])["qad"]
    assert "qad" not in matched_words(subject, ["qad"])["qad"]


def test_excess_and_shares_are_those_planted(tmp_path: Path) -> None:
    """A listed word with 3 features among words with none has ln 4; rhyme words beside it theirs; shares are counts."""
    features = {"long": 3, "int": 1, "for": 3, "if": 1} | dict.fromkeys(RHYMES, 7)
    subject = subject_with(tmp_path, vocabulary(), features)
    measured = code_features(subject)
    expected = {word: math.log(1 + features.get(word, 0)) for word in LISTED}
    assert measured.values == pytest.approx(expected)
    assert measured.arms["rhyme words"] == pytest.approx(dict.fromkeys(measured.values, math.log(8)))
    with pytest.raises(Untested, match="none of the words"):
        cooking_features(subject)


def test_shares_of_cooking_words_are_counts_of_features(tmp_path: Path) -> None:
    """Of 4 features on cooking words 3 are on a named one; of the 3 words that are listed two are named."""
    subject = subject_with(tmp_path, [*vocabulary(), "cut", "water", "mix"], {"cut": 3, "mix": 1})
    found = cooking_hits(subject)
    assert sorted(found.values.values()) == [0, 1, 1, 1]
    assert set(found.arms["even spread"].values()) == {2 / 3}
    assert "matched words" not in found.arms


@pytest.mark.parametrize(("dedicated", "verdict"), [("rhymes", "supported"), ("code", "contradicted")])
def test_features_for_code_are_found_where_planted(tmp_path: Path, dedicated: str, verdict: str) -> None:
    """The claim holds where rhyme words have features and code words none, and not where code words have many."""
    words = [*vocabulary(), "str", "float", "dict", "void", "throw"]
    subject = subject_with(
        tmp_path, words, dict.fromkeys(RHYMES if dedicated == "rhymes" else [*LISTED, *words[-5:]], 7)
    )
    (claim,) = (claim for claim in ledger.rows(family="discovery") if claim.id == "F09")
    assert judge(claim, code_features(subject)).verdict == verdict


def test_a_vocabulary_without_the_words_is_untested() -> None:
    """A subject that has none of the listed words is not measured."""
    with pytest.raises(Untested, match="none of the words"):
        code_features(load_subject("planted-llama-revocable"))
