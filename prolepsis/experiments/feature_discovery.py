"""Do features cluster by rhyme? The paper's vocabulary scan, grouped by pronunciation (appendices B and C).

A feature belongs to the token its last-layer decoder row points at most, if their cosine is at least 0.3. The words so
found are grouped by rhyme ending. Words of any origin form such groups, and more than a third of the words of an
untrained model get a feature, so the same is done to as many random words, to shuffled rows, and to the twin.
"""

import math
import time
from collections.abc import Mapping

from prolepsis.controls import control_arms
from prolepsis.domains import domain_hits
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.experiments.vocabulary_scan import (
    MIN_COSINE,
    TopTokens,
    best_features,
    chance_cosine,
    shuffled_top_tokens,
    top_tokens,
)
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import Lexicon, clean_words, lexicon_of, rhyme_groups

Values = Mapping[str, float]
FREQUENT = 10
"""Random words are drawn from this many times as many of the vocabulary's commonest words."""


def words_found(subject: Subject) -> Values:
    """Rhyme word of the task → 1 if some feature belongs to it, in any spelling of the vocabulary, else 0."""
    return _found(subject, subject.once(top_tokens), MIN_COSINE)


def dedicated_features(subject: Subject) -> Measurement:
    """Share of the task's rhyme words that have a feature of their own, with its control arms.

    Arms: ``shuffled decoders`` (coordinates of each decoder row shuffled by themselves), ``untrained twin`` (with its
    own transcoder). ``detail`` has the words found at the cosine that chance sets for this width and number of
    features, and the hits of the paper's code and cooking lists among the top tokens.
    """
    start = time.perf_counter()
    tops, groups = subject.once(top_tokens), _groups(subject)
    cut = chance_cosine(subject.d_model, tops.token.numel())
    names = subject.once(clean_words)
    words = [names[token] for token in tops.token.flatten().tolist() if token in names]
    return Measurement(
        experiment="dedicated_features",
        subject=subject.digest,
        unit="proportion",
        design="one-way",
        parameters={"words": list(groups), "cosine": MIN_COSINE},
        values=words_found(subject),
        clusters=groups,
        arms={
            "shuffled decoders": _found(subject, shuffled_top_tokens(subject, _spelled(subject)), MIN_COSINE),
            **control_arms(subject, words_found, {"untrained twin": subject.twin}),
        },
        detail={
            "chance cosine": cut,
            "found at chance cosine": sum(_found(subject, tops, max(cut, MIN_COSINE)).values()),
            "domain hits": domain_hits(words),
        },
        seconds=time.perf_counter() - start,
    )


def grouped_words(subject: Subject) -> Values:
    """Word a feature belongs to → 1 if a feature belongs to another word of its rhyme ending too, else 0."""
    lexicon = subject.once(lexicon_of)
    return _grouped(_words_of(subject.once(top_tokens), lexicon), lexicon)


def rhyme_clusters(subject: Subject) -> Measurement:
    """Probability that a found word stands in a rhyme group of two or more, with its control arms.

    Arms: ``random words`` (the chance that a rhyme is among as many words drawn from the commonest ones; exact),
    ``untrained twin``. ``detail`` has the groups by first pronunciation, and their number when any one counts.
    """
    start = time.perf_counter()
    lexicon = subject.once(lexicon_of)
    found = _words_of(subject.once(top_tokens), lexicon)
    first = {word: lexicon.endings[word][:1] for word in found}
    groups = rhyme_groups(found, first)
    return Measurement(
        experiment="rhyme_clusters",
        subject=subject.digest,
        unit="probability",
        # A group is rhymed whole or not at all: it is the share of words, not of groups, that is claimed.
        design="by-item",
        parameters={"cosine": MIN_COSINE, "pronunciation": "first"},
        values=_grouped(found, lexicon),
        clusters=first,
        arms={
            "random words": by_chance(found, lexicon),
            **control_arms(subject, grouped_words, {"untrained twin": subject.twin}),
        },
        detail={
            "words": len(found),
            "groups": groups,
            "groups by any pronunciation": len(rhyme_groups(found, lexicon.endings)),
        },
        seconds=time.perf_counter() - start,
    )


def by_chance(found: list[str], lexicon: Lexicon) -> dict[str, float]:
    """Found word → probability that a word of its ending is among as many other words drawn at random."""
    pool = lexicon.by_frequency()[: FREQUENT * len(found)]
    sharing: dict[str, int] = {}
    for word in pool:
        sharing[lexicon.endings[word][0]] = sharing.get(lexicon.endings[word][0], 0) + 1
    drawn, members = len(found) - 1, set(pool)
    chance = {}
    for word in found:
        others = len(pool) - (word in members)
        mates = sharing.get(lexicon.endings[word][0], 0) - (word in members)
        chance[word] = 1 - math.comb(others - mates, drawn) / math.comb(others, drawn)
    return chance


def _words_of(tops: TopTokens, lexicon: Lexicon) -> list[str]:
    """The words features belong to, of those that have a rhyme ending."""
    return [word for word in best_features(tops, lexicon.words) if word in lexicon.endings]


def _grouped(found: list[str], lexicon: Lexicon) -> dict[str, float]:
    groups = rhyme_groups(found, {word: lexicon.endings[word][:1] for word in found})
    grouped = {word for members in groups.values() for word in members}
    return {word: float(word in grouped) for word in found}


def _groups(subject: Subject) -> dict[str, tuple[str]]:
    """Rhyme word of the task → its group."""
    return {word: (group,) for group, words in task_of(subject).groups.items() for word in words}


def _found(subject: Subject, tops: TopTokens, cut: float) -> dict[str, float]:
    features = best_features(tops, _spelled(subject), cut)
    return {word: float(word in features) for word in _groups(subject)}


def _spelled(subject: Subject) -> dict[int, str]:
    """Token → the rhyme word of the task that it is, in any spelling of the vocabulary."""
    words = _groups(subject)
    spelled = {token: text for token, text in subject.once(clean_words).items() if text in words}
    return {subject.word_id(word): word for word in words} | spelled
