"""The words a vocabulary scan counts, and which of them rhyme.

A small language has its rhyme groups listed in the subject's task. The words of a natural one are looked up in the CMU
Pronouncing Dictionary, and there alone is ``pronouncing`` imported.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prolepsis.errors import Untested

if TYPE_CHECKING:
    from prolepsis.subject import Subject

CLOSED = 0.25
"""A task whose rhyme words make up this share of the vocabulary's words lists a language, and not a sample of one."""

NO_DICTIONARY = "rhymes are looked up in the CMU Pronouncing Dictionary: pip install pronouncing (3 MiB)"


@dataclass(frozen=True)
class Lexicon:
    """``words`` maps every token that is a word → that word; ``endings`` a word → its rhyme endings.

    The first ending is that of the first pronunciation. Words without an ending are in no dictionary.
    """

    words: Mapping[int, str]
    endings: Mapping[str, tuple[str, ...]]

    def by_frequency(self) -> list[str]:
        """The words with an ending, commonest first as far as token ids tell: merges are learned in that order."""
        words = dict.fromkeys(self.words[token] for token in sorted(self.words))
        return [word for word in words if word in self.endings]


def lexicon_of(subject: "Subject") -> Lexicon:
    """The words of the subject's vocabulary with their rhyme endings."""
    listed = listed_endings(subject)
    if listed:
        return Lexicon({subject.word_id(word): word for word in listed}, listed)
    words = clean_words(subject)
    return Lexicon(words, spoken_endings(set(words.values())))


def listed_endings(subject: "Subject") -> dict[str, tuple[str, ...]]:
    """Word → its group, where the subject's task lists a whole language; empty where it does not."""
    groups = {} if subject.task is None else subject.task.groups
    listed: dict[str, tuple[str, ...]] = {word: (group,) for group, members in groups.items() for word in members}
    return listed if len(listed) >= CLOSED * len(set(clean_words(subject).values())) else {}


def clean_words(subject: "Subject") -> dict[int, str]:
    """Token → word, for tokens that are at least two ASCII letters once stripped and put in lower case."""
    texts = ((token, subject.decode([token]).strip().lower()) for token in range(subject.n_vocab))
    return {token: text for token, text in texts if re.fullmatch("[a-z]{2,}", text)}


def spoken_endings(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Word → rhyme ending of each of its pronunciations, in the dictionary's order; words it lacks are left out.

    Raises Untested where the dictionary is not installed.
    """
    try:
        import pronouncing
    except ImportError:
        raise Untested(NO_DICTIONARY) from None
    found = {word: pronouncing.phones_for_word(word) for word in words}
    return {word: tuple(dict.fromkeys(map(rhyme_ending, phones))) for word, phones in found.items() if phones}


def rhyme_ending(phones: str) -> str:
    """What a rhyme has to share: ARPAbet phones from the last primary stress on ("AH0 B AW1 T" → "AW1 T").

    Without a primary stress from the last secondary one, else from the last vowel.
    """
    parts = phones.split()
    for stress in "120":
        at = [i for i, phone in enumerate(parts) if phone.endswith(stress)]
        if at:
            return " ".join(parts[at[-1] :])
    return phones


def rhyme_groups(words: Iterable[str], endings: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Ending → the two or more of ``words`` that share it; give each word the one or several endings that count."""
    groups: dict[str, list[str]] = {}
    for word in words:
        for ending in endings.get(word, ()):
            groups.setdefault(ending, []).append(word)
    return {ending: members for ending, members in groups.items() if len(members) >= 2}
