"""Which features write a word? Decoder rows at the last layer against token embeddings (appendix B of the paper)."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy import special

from prolepsis.experiments.nearest_tokens import Vocabulary
from prolepsis.names import Feature
from prolepsis.subject import Subject, transcoder_of
from prolepsis.watching import watched

Tensor = torch.Tensor

Look = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Rows [n, d] → the largest cosine of each with a token, and that token; both [n]."""
MIN_COSINE = 0.3
COSINES_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class TopTokens:
    """Per layer and feature, the token its last-layer decoder row points at most, and their cosine; both [L, F]."""

    token: Tensor
    cosine: Tensor

    def cosine_of(self, feature: Feature) -> float:
        """Cosine of a feature's last-layer decoder row with its top token."""
        return float(self.cosine[feature.layer, feature.index])


def top_tokens(subject: Subject) -> TopTokens:
    """The top token of every feature: unit decoder rows at the last layer against unit rows of the embedding."""
    return _scan(subject, _nearest(subject))


def shuffled_top_tokens(subject: Subject, words: Collection[int]) -> TopTokens:
    """The same with the coordinates of every decoder row shuffled by themselves: what the rows' values alone give.

    A feature that belongs to none of ``words`` by a cosine of :data:`MIN_COSINE` may have a cosine of 0 here.
    """
    vocabulary = Vocabulary.of(subject.unembedding)
    asked = torch.tensor(sorted(words), device=subject.device)
    # On the subject's device, as its twin is: a CPU would be at the numbers for longer than a GPU at all the rest.
    # Other kinds of GPU draw other numbers.
    generator = torch.Generator(subject.device).manual_seed(0)
    return _scan(subject, lambda rows: vocabulary.pointing_at(_shuffled(rows, generator), asked, MIN_COSINE))


def _nearest(subject: Subject) -> Look:
    """Looks at all tokens."""
    vocabulary = Vocabulary.of(subject.unembedding)

    def look(rows: Tensor) -> tuple[Tensor, Tensor]:
        cosines, tokens = vocabulary.nearest(rows)
        return cosines[:, 0], tokens[:, 0]

    return look


@torch.no_grad()
def _scan(subject: Subject, look: Look) -> TopTokens:
    """What ``look`` says of every feature's last decoder row."""
    transcoder = transcoder_of(subject)
    step = max(1, COSINES_AT_ONCE // subject.n_vocab)
    tokens, cosines = [], []
    for layer in watched(range(subject.n_layers), "layers"):
        parts = torch.split(transcoder.last_decoder(layer), step)  # of [F, d]
        found = [look(part.to(subject.device).float()) for part in parts]
        cosines.append(torch.cat([cosine for cosine, _ in found]).cpu())
        tokens.append(torch.cat([token for _, token in found]).cpu())
    return TopTokens(torch.stack(tokens), torch.stack(cosines))


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    """Every row [n, d] with its coordinates in an order of its own."""
    return rows.gather(1, torch.rand(rows.shape, generator=generator, device=rows.device).argsort(1))


@torch.no_grad()
def top_token(subject: Subject, feature: Feature) -> int:
    """The token that a feature's decoder row at the last layer it writes points at most."""
    return int(tokens_of(subject, [feature], 1)[1])


@torch.no_grad()
def tokens_of(subject: Subject, features: Sequence[Feature], k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` tokens each feature's decoder row at the last layer points at most: cosines and tokens, both [n, k]."""
    rows = transcoder_of(subject).rows_of(features)
    last = torch.stack([rows[feature][-1] for feature in features])
    return Vocabulary.of(subject.unembedding).nearest(last, k)


def features_of(tops: TopTokens, words: Mapping[int, str], cut: float = MIN_COSINE) -> dict[str, dict[Feature, float]]:
    """Word → the features whose top token it is, with their cosines; words without one are absent.

    ``words`` maps the tokens that count → word; cosines below ``cut`` do not count.
    """
    found: dict[str, dict[Feature, float]] = {}
    # Of millions of features a few thousand write a word.
    writes = torch.isin(tops.token, torch.tensor([*words], dtype=tops.token.dtype)) & (tops.cosine.double() >= cut)
    tokens, cosines = tops.token[writes].tolist(), tops.cosine[writes].tolist()
    for (layer, index), token, cosine in zip(writes.nonzero().tolist(), tokens, cosines, strict=True):
        found.setdefault(words[token], {})[Feature(layer, index)] = cosine
    return found


def best_features(tops: TopTokens, words: Mapping[int, str], cut: float = MIN_COSINE) -> dict[str, Feature]:
    """Word → the feature of largest cosine among those whose top token it is, the first on ties."""
    return {word: max(found, key=found.__getitem__) for word, found in features_of(tops, words, cut).items()}


def vocabulary_scan(subject: Subject, words: Mapping[str, int]) -> dict[str, Feature]:
    """The best feature of each word: its last-layer decoder row points at that word more than at any other token.

    A feature belongs to its top token when their cosine is at least 0.3; a word keeps its feature of largest cosine.
    ``words`` maps the words that count → token id.
    """
    return best_features(subject.once(top_tokens), {token: word for word, token in words.items()})


def chance_cosine(d: int, comparisons: int, alpha: float = 0.05) -> float:
    """The cosine that the largest of ``comparisons`` random directions in ``d`` dimensions passes with rate ``alpha``.

    A random unit vector's cosine c with a fixed one has P(cosine > c) = ½ I(1 − c²; (d − 1)/2, ½). At d = 128 a cut of
    0.3 is what single random rows reach among a few thousand; at d = 2304 it is far beyond chance.
    """
    tail = min(1.0, 2 * alpha / comparisons)
    return math.sqrt(1 - float(special.betaincinv((d - 1) / 2, 0.5, tail)))
