"""The recorded rhyme groups of a vocabulary scan (section 3, appendix B): words that features point at, by ending.

The file holds the words that rhyme with another one; how many words there were before is only stated in it.
"""

import re
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prolepsis.archive.files import Recording
from prolepsis.archive.numbers import finite, whole
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.subjects.lexicon import NO_DICTIONARY, rhyme_ending, rhyme_groups, spoken_endings

KIND = "rhyme-group scan"
DRAWS = 200
"""Sets of random words; their mean share is then known to better than a hundredth."""


@dataclass(frozen=True)
class Word:
    """A word a feature points at, its cosine with that feature's decoder row, and how it is said to be pronounced."""

    text: str
    feature: tuple[int, int]
    cosine: float
    phones: str
    ending: str


@dataclass(frozen=True)
class Scan:
    """``n_clean`` words were found, ``n_spoken`` of them in the dictionary; ``groups`` are those that rhyme."""

    n_clean: int
    n_spoken: int
    groups: tuple[tuple[Word, ...], ...]

    @property
    def words(self) -> list[Word]:
        return [word for group in self.groups for word in group]


def parse(contents: Any) -> Scan:
    """A scan that holds as many groups and words as it says."""
    groups = tuple(
        tuple(_word(entry, str(group["rhyme_ending"])) for entry in group["words"])
        for group in contents["rhyme_groups"]
    )
    found = Scan(whole(contents["n_clean_english"]), whole(contents["n_in_cmu_dict"]), groups)
    stated = whole(contents["n_rhyme_groups"]), whole(contents["n_rhyming_words"])
    if stated != (len(groups), len(found.words)) or not all(groups) or not groups:
        raise ValueError(f"{stated[0]} groups of {stated[1]} words are announced, {len(groups)} are there")
    if not len(found.words) <= found.n_spoken <= found.n_clean:
        raise ValueError(f"{len(found.words)} words of {found.n_spoken} in the dictionary, of {found.n_clean}")
    return found


def _word(entry: Any, ending: str) -> Word:
    feature = whole(entry["feature"]["layer"]), whole(entry["feature"]["index"])
    return Word(str(entry["word"]), feature, finite(entry["cosine"]), str(entry["phonemes"]), ending.strip())


def recorded_clean_words(recording: Recording) -> Measurement:
    """How many features have a clean English word on top, as the file states it."""
    return single(recording, "recorded_clean_words", "count", recording.read(KIND, parse).n_clean)


def recorded_rhyme_groups(recording: Recording) -> Measurement:
    """Number of rhyme groups."""
    return single(recording, "recorded_rhyme_groups", "count", len(recording.read(KIND, parse).groups))


def recorded_rhyme_words(recording: Recording) -> Measurement:
    """Number of words in rhyme groups."""
    return single(recording, "recorded_rhyme_words", "count", len(recording.read(KIND, parse).words))


def recorded_least_cosine(recording: Recording) -> Measurement:
    """The least cosine of a word with its feature's decoder row."""
    value = min(word.cosine for word in recording.read(KIND, parse).words)
    return single(recording, "recorded_least_cosine", "cosine", value)


def recorded_smallest_group(recording: Recording) -> Measurement:
    """Number of words in the smallest group."""
    return single(recording, "recorded_smallest_group", "count", min(map(len, recording.read(KIND, parse).groups)))


def words_said_otherwise(recording: Recording) -> Measurement:
    """Number of words whose recorded pronunciation or ending is not that of the dictionary's first pronunciation."""
    words = recording.read(KIND, parse).words
    first = first_endings(word.text for word in words)
    wrong = [w.text for w in words if not (rhyme_ending(w.phones) == w.ending == first.get(w.text, ("",))[0])]
    return single(recording, "words_said_otherwise", "count", len(wrong), detail={"words": wrong})


def words_twice(recording: Recording) -> Measurement:
    """Number of words, and of features, that stand in the groups more than once."""
    words = recording.read(KIND, parse).words
    counts = Counter[object](word.text for word in words) + Counter[object](word.feature for word in words)
    return single(recording, "words_twice", "count", sum(count > 1 for count in counts.values()))


def rhyming_share(recording: Recording) -> Measurement:
    """Of the words found that are in the dictionary, the share that rhymes with another one.

    Arm ``random words``: the same share of as many words drawn from the dictionary, as long in letters as those that
    rhyme. How long the others were was not recorded, and how common the dictionary's words are is unknown; common words
    are short, and short words rhyme more often.
    """
    found = recording.read(KIND, parse)
    value = len(found.words) / found.n_spoken
    return single(recording, "rhyming_share", "share", value, arms={"random words": _by_chance(found)})


def _by_chance(found: Scan) -> float:
    """Mean share of random words that rhyme with another; the seed is fixed, so that the number is."""
    dictionary = _dictionary()
    by_length: dict[int, list[str]] = {}
    for word in dictionary:
        by_length.setdefault(len(word), []).append(word)
    lengths = [len(word.text) for word in found.words if len(word.text) in by_length]
    if not lengths:
        raise Untested("the dictionary has no words as long as those recorded")
    generator, shares = np.random.default_rng(0), []
    for _ in range(DRAWS):
        drawn = (by_length[int(length)] for length in generator.choice(lengths, found.n_spoken))
        words = {of_length[generator.integers(len(of_length))] for of_length in drawn}
        groups = rhyme_groups(sorted(words), {word: dictionary[word] for word in words})
        shares.append(sum(map(len, groups.values())) / len(words))
    return statistics.fmean(shares)


def _dictionary() -> dict[str, tuple[str, ...]]:
    """Every word of the CMU dictionary, with the rhyme ending of its first pronunciation."""
    try:
        import pronouncing
    except ImportError:
        raise Untested(NO_DICTIONARY) from None
    pronouncing.init_cmu()
    endings: dict[str, tuple[str, ...]] = {}
    for word, phones in pronouncing.pronunciations:
        if re.fullmatch("[a-z]{2,}", word):
            endings.setdefault(word, (rhyme_ending(phones),))
    return endings


def first_endings(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Word → the rhyme ending of its first pronunciation; raises Untested where there is no dictionary."""
    return {word: endings[:1] for word, endings in spoken_endings(words).items()}
