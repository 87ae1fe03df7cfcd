"""Are there features for code or for cooking? The vocabulary scan against the paper's word lists (appendix C).

A feature counts for a word when that is its top token at a cosine of at least 0.3. Common words have more features than
rare ones, whatever they mean, so each listed word is compared with unlisted words that are as common. The same excess
of the task's rhyme words says what a vocabulary that features stand for looks like.
"""

import math
import statistics
import time
from collections.abc import Collection, Mapping

from prolepsis.domains import domains
from prolepsis.errors import Untested
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.experiments.vocabulary_scan import MIN_COSINE, features_of, top_tokens
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.subject import Subject
from prolepsis.subjects.lexicon import clean_words

MATCHES = 5
"""How many words stand for the commonness of one."""
Found = Mapping[str, Collection[Feature]]


def code_features(subject: Subject) -> Measurement:
    """Excess of features per code word over words as common (C.1), as a log ratio, in nats; arm ``rhyme words``."""
    return _excess(subject, "code_features", "code")


def cooking_features(subject: Subject) -> Measurement:
    """The same for cooking words (C.2)."""
    return _excess(subject, "cooking_features", "cooking")


def cooking_hits(subject: Subject) -> Measurement:
    """Share of features on verbs, descriptors and ingredients that are on "rest", "cut", "ground" and "water" (C.2).

    Arms: ``matched words`` (the share among words as common as the named and the other listed ones), ``even spread``
    (the share of the named words among those listed).
    """
    return _named(subject, "cooking_hits", ["verbs", "descriptors", "ingredients"], {"rest", "cut", "ground", "water"})


def word_features(subject: Subject) -> Found:
    """Word, in lower case, → the features that belong to it in any spelling of the vocabulary."""
    return features_of(subject.once(top_tokens), subject.once(clean_words))


def matched_words(subject: Subject, words: Collection[str]) -> dict[str, list[str]]:
    """For each of ``words`` the unlisted words next to it in the vocabulary's order, which is that of commonness."""
    listed = {word.lower() for lists in domains().values() for of in lists.values() for word in of} | set(words)
    order = dict.fromkeys(text for _, text in sorted(subject.once(clean_words).items()))
    rank = {word: place for place, word in enumerate(order)}
    free = [word for word in order if word not in listed]
    return {word: sorted(free, key=lambda other: abs(rank[other] - rank[word]))[:MATCHES] for word in words}


def _listed(subject: Subject, lists: Collection[Collection[str]]) -> list[str]:
    """The listed words that are tokens of the vocabulary; raises Untested where there is none."""
    known = set(subject.once(clean_words).values())
    words = dict.fromkeys(word.lower() for words in lists for word in words)
    found = [word for word in words if word in known]
    if not found:
        raise Untested(f"{subject.id}: its vocabulary has none of the words asked for; give a model of English")
    return found


def _excesses(subject: Subject, words: Collection[str]) -> dict[str, float]:
    """Word → ln of its features, and one, over those of the words that match it, and one."""
    found, matches = subject.once(word_features), matched_words(subject, words)

    def count(word: str) -> int:
        return len(found.get(word, ()))

    return {
        word: math.log((1 + count(word)) / (1 + statistics.fmean(map(count, matches[word]))))
        for word in words
        if matches[word]
    }


def _excess(subject: Subject, name: str, domain: str) -> Measurement:
    start = time.perf_counter()
    values = _excesses(subject, _listed(subject, domains()[domain].values()))
    task = task_of(subject)
    rhymes = [word for words in zip(*task.groups.values(), strict=False) for word in words if word not in values]
    excess = _excesses(subject, [word for word in rhymes if word in subject.once(clean_words).values()])
    found = subject.once(word_features)
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="nats",
        design="one-way",
        parameters={"words": list(values), "matches": MATCHES, "cosine": MIN_COSINE},
        values=values,
        clusters={word: (word,) for word in values},
        # One rhyme word beside each listed one; the first of every group come first.
        arms={"rhyme words": dict(zip(values, excess.values(), strict=False))},
        detail={"features": {word: len(found.get(word, ())) for word in values}},
        seconds=time.perf_counter() - start,
    )


def _named(subject: Subject, name: str, categories: Collection[str], named: Collection[str]) -> Measurement:
    start, found = time.perf_counter(), subject.once(word_features)
    lists = [words for of in domains().values() for category, words in of.items() if category in categories]
    listed = _listed(subject, lists)
    matches = matched_words(subject, listed)
    on = {word: sum(len(found.get(match, ())) for match in matches[word]) for word in listed}
    hits = {feature: word for word in listed for feature in found.get(word, ())}
    arms = {"even spread": statistics.fmean(word in named for word in listed)}
    if any(on.values()):
        arms["matched words"] = sum(on[word] for word in listed if word in named) / sum(on.values())
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="proportion",
        design="by-item",
        parameters={"words": listed, "named": sorted(named), "matches": MATCHES, "cosine": MIN_COSINE},
        values={str(feature): float(word in named) for feature, word in hits.items()},
        clusters={str(feature): (f"L{feature.layer}",) for feature in hits},
        arms={arm: dict.fromkeys(map(str, hits), share) for arm, share in arms.items()},
        detail={"features": {word: len(found.get(word, ())) for word in listed}},
        seconds=time.perf_counter() - start,
    )
