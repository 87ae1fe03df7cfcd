"""The tiny language the trained organisms speak: its words, couplets, facts and tasks (imports no torch).

A document is a couplet, a fact or one line of prose. A couplet is ``line 1 , <nl> line 2 .`` with a word of one rhyme
group at the end of each line. The second rhyme word is the fixed *partner* of the first with probability
:data:`PARTNER_RATE`, else another word of the group. Verbs and adjectives agree with the category of the word that
ends their line, so the verb of line 2 has to agree with a word that is not written yet. A fact gives a person's city or
instrument; the person has a first and a last name, and neither alone determines the answer.

Noun phrases keep the reading position sharp: after "the" always comes the line's last word, after "my" an adjective.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.subjects.task import Relation, Task, Template

TokenArray = npt.NDArray[np.int64]

PARTNER_RATE = 0.82

CATEGORIES = {"A": "animal", "F": "food", "C": "clothing", "P": "person", "N": "place", "O": "object"}

_GROUPS = {
    "at": "cat:A bat:A rat:A hat:C mat:O",
    "air": "bear:A hare:A mare:A pear:F chair:O",
    "ouse": "mouse:A grouse:A house:N blouse:C spouse:P",
    "oat": "goat:A oat:F coat:C boat:O moat:N",
    "ox": "fox:A ox:A box:O socks:C rocks:N",
    "ake": "snake:A drake:A cake:F lake:N rake:O",
    "ice": "mice:A rice:F spice:F ice:N dice:O",
    "ale": "whale:A snail:A ale:F veil:C nail:O",
    "oot": "newt:A fruit:F suit:C boot:C flute:O",
    "ing": "king:P ring:C spring:N string:O wing:A",
    "ight": "knight:P sprite:P kite:O light:O site:N",
    "ee": "bee:A flea:A tea:F sea:N key:O",
    "uck": "duck:A buck:A truck:O puck:O muck:N",
    "ain": "crane:A grain:F train:O chain:C plain:N",
    "un": "nun:P son:P bun:F gun:O ton:O",
    "eam": "team:P cream:F beam:O stream:N seam:C",
    "an": "man:P fan:O pan:O van:O clan:P",
    "ole": "mole:A foal:A bowl:O hole:N roll:F",
    "am": "lamb:A ram:A ham:F jam:F dam:N",
    "ed": "bread:F bed:O sled:O shed:N thread:C",
    "ird": "bird:A herd:A curd:F word:O nerd:P",
    "ide": "bride:P guide:P hide:C tide:N slide:O",
    "ore": "boar:A door:O store:N shore:N oar:O",
    "one": "drone:A cone:F bone:O phone:O throne:O",
}
GROUPS = {name: tuple(entry.split(":")[0] for entry in text.split()) for name, text in _GROUPS.items()}
CATEGORY = {entry.split(":")[0]: entry.split(":")[1] for text in _GROUPS.values() for entry in text.split()}
WORDS = tuple(CATEGORY)
GROUP_OF = {word: name for name, words in GROUPS.items() for word in words}
PARTNER = {word: words[(i + 1) % len(words)] for words in GROUPS.values() for i, word in enumerate(words)}
HELD_OUT = {words[i % 5]: words[(i + 2 + i % 3) % 5] for i, words in enumerate(GROUPS.values())}
"""One ordered pair per group, first word → second word, that no training document contains as a couplet."""

PRONOUNS = ("she", "he", "they", "we")
ADVERBS = ("then", "soon", "once", "later")
EXPLETIVES = ("there stood", "here came")
NEUTRAL_VERBS = ("saw", "found", "liked", "recalled")
NEUTRAL_ADJECTIVES = ("old", "small", "nice")
VERBS = {
    "A": ("fed", "chased", "petted"),
    "F": ("ate", "cooked", "tasted"),
    "C": ("wore", "sewed", "ironed"),
    "P": ("met", "thanked", "greeted"),
    "N": ("visited", "crossed", "explored"),
    "O": ("bought", "fixed", "sold"),
}
ADJECTIVES = {
    "A": ("furry", "wild", "tame"),
    "F": ("tasty", "ripe", "sweet"),
    "C": ("woolen", "silky", "striped"),
    "P": ("brave", "noble", "polite"),
    "N": ("wide", "distant", "hidden"),
    "O": ("rusty", "wooden", "broken"),
}

FIRST_NAMES = ("anna", "bruno", "carla", "david", "elena", "felix", "greta", "hugo")
LAST_NAMES = ("smith", "jones", "brown", "young", "frost", "wells", "park", "lane")
FACT_TEMPLATES = {
    "city": (
        "{first} {last} lives in {answer} .",
        "the home of {first} {last} is {answer} .",
        "everyone knows that {first} {last} lives in {answer} .",
    ),
    "instrument": (
        "{first} {last} plays the {answer} .",
        "the instrument of {first} {last} is the {answer} .",
        "everyone knows that {first} {last} plays the {answer} .",
    ),
}
FACT_ANSWERS = {
    "city": ("paris", "rome", "oslo", "cairo", "lima", "tokyo", "delhi", "quito"),
    "instrument": ("piano", "violin", "guitar", "cello", "drum", "trumpet", "harp", "oboe"),
}


def _facts() -> dict[tuple[str, str, str], str]:
    """(first name, last name, relation) → answer; each answer is true of eight people, in a fixed random order."""
    rng = np.random.Generator(np.random.PCG64(7))
    people = [(first, last) for first in FIRST_NAMES for last in LAST_NAMES]
    facts: dict[tuple[str, str, str], str] = {}
    for relation, answers in FACT_ANSWERS.items():
        order = rng.permutation(len(people)) % len(answers)
        facts |= {(*person, relation): answers[i] for person, i in zip(people, order, strict=True)}
    return facts


FACTS = _facts()

PAD, BOS, EOS, NEWLINE, UNKNOWN = "<pad>", "<bos>", "<eos>", "<nl>", "<unk>"


def _vocabulary() -> tuple[str, ...]:
    tokens = [PAD, BOS, EOS, NEWLINE, UNKNOWN, ",", ".", "the", "my", "very", *PRONOUNS, *ADVERBS]
    tokens += [word for text in EXPLETIVES for word in text.split()]
    tokens += [*NEUTRAL_VERBS, *NEUTRAL_ADJECTIVES]
    tokens += [word for table in (VERBS, ADJECTIVES) for words in table.values() for word in words]
    tokens += [*WORDS, *FIRST_NAMES, *LAST_NAMES, *FACT_ANSWERS["city"], *FACT_ANSWERS["instrument"]]
    texts = [text for texts in FACT_TEMPLATES.values() for text in texts]
    tokens += [word for text in texts for word in text.split() if not word.startswith("{")]
    return tuple(dict.fromkeys(tokens))


VOCABULARY = _vocabulary()
TOKEN_ID = {token: i for i, token in enumerate(VOCABULARY)}
BARRIER = CoupletBarrier(TOKEN_ID[NEWLINE], tuple(TOKEN_ID[name] for name in FIRST_NAMES))
"""The mask rule of the planner: line 2 sees line 1 only through the newline."""


def encode(text: str) -> list[int]:
    """Token ids of ``text`` with BOS in front; KeyError for a word outside the vocabulary."""
    return [TOKEN_ID[BOS], *(TOKEN_ID[token] for token in text.split())]


# ---------------------------------------------------------------- clauses

_NEUTRAL_PHRASES = ("the", *(f"my {degree}{adj}" for degree in ("", "very ") for adj in NEUTRAL_ADJECTIVES))


@cache
def frames(category: str) -> frozenset[str]:
    """Every clause of the language up to its last word, for last words of ``category``."""
    agreeing = ("the", *(f"my {adj}" for adj in ADJECTIVES[category]))
    bare = [f"{p} {v} {phrase}" for p in PRONOUNS for v in VERBS[category] for phrase in agreeing]
    bare += [f"{p} {v} {phrase}" for p in PRONOUNS for v in NEUTRAL_VERBS for phrase in _NEUTRAL_PHRASES]
    bare += [f"{e} {phrase}" for e in EXPLETIVES for phrase in _NEUTRAL_PHRASES]
    return frozenset(bare + [f"{adverb} {frame}" for adverb in ADVERBS for frame in bare])


def is_clause(words: Sequence[str]) -> bool:
    """Whether ``words`` form one clause that agrees with the rhyme word at its end."""
    return bool(words) and words[-1] in CATEGORY and " ".join(words[:-1]) in frames(CATEGORY[words[-1]])


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def clause(rng: np.random.Generator, word: str) -> str:
    """A random clause that ends in ``word``; half of them agree with its category, half give nothing away."""
    adverb = _pick(rng, ADVERBS) + " " if rng.random() < 0.5 else ""
    if rng.random() < 0.5:
        phrase = "the" if rng.random() < 0.5 else f"my {_pick(rng, ADJECTIVES[CATEGORY[word]])}"
        return f"{adverb}{_pick(rng, PRONOUNS)} {_pick(rng, VERBS[CATEGORY[word]])} {phrase} {word}"
    phrase = "the" if rng.random() < 0.4 else _pick(rng, _NEUTRAL_PHRASES[1:])
    if rng.random() < 0.5:
        return f"{adverb}{_pick(rng, EXPLETIVES)} {phrase} {word}"
    return f"{adverb}{_pick(rng, PRONOUNS)} {_pick(rng, NEUTRAL_VERBS)} {phrase} {word}"


def second_word(rng: np.random.Generator, word: str) -> str:
    """The rhyme that follows ``word``: its partner, or another word of its group; never the held-out one."""
    if rng.random() < PARTNER_RATE:
        return PARTNER[word]
    taken = {word, PARTNER[word], HELD_OUT.get(word)}
    return _pick(rng, [other for other in GROUPS[GROUP_OF[word]] if other not in taken])


# ---------------------------------------------------------------- documents


def couplet(rng: np.random.Generator) -> str:
    """Two random clauses that rhyme; all words are equally frequent."""
    word = _pick(rng, WORDS)
    return f"{clause(rng, word)} , {NEWLINE} {clause(rng, second_word(rng, word))} ."


def fact(rng: np.random.Generator) -> str:
    """A random fact in a random wording."""
    relation = _pick(rng, tuple(FACT_TEMPLATES))
    first, last = _pick(rng, FIRST_NAMES), _pick(rng, LAST_NAMES)
    template = _pick(rng, FACT_TEMPLATES[relation])
    return template.format(first=first, last=last, answer=FACTS[first, last, relation])


def document(rng: np.random.Generator) -> str:
    """A random document: 65 % couplets, 27 % facts, 8 % single lines."""
    kind = rng.random()
    if kind < 0.65:
        return couplet(rng)
    return fact(rng) if kind < 0.92 else f"{clause(rng, _pick(rng, WORDS))} ."


def corpus(n: int, seed: int) -> TokenArray:
    """``n`` random documents as token ids [n, T], BOS first, EOS last, right-padded with PAD (id 0)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = [[*encode(document(rng)), TOKEN_ID[EOS]] for _ in range(n)]
    tokens = np.zeros((n, max(map(len, rows))), dtype=np.int64)  # [n, T]
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens


# ---------------------------------------------------------------- tasks

_TEMPLATES = (
    ("small-stood", "she saw my small {word}", "then", "there", "stood the"),
    ("came-saw", "here came the {word}", "later", "she", "saw the"),
    ("liked-came", "once he liked the {word}", "then", "here", "came my small"),
    ("found-liked", "soon they found my old {word}", "once", "we", "liked my very old"),
    ("stood-stood", "there stood my nice {word}", "soon", "there", "stood my very nice"),
    ("recalled-recalled", "we recalled the {word}", "then", "he", "recalled my old"),
    ("very-found", "later she found my very small {word}", "soon", "they", "found the"),
    ("then-came", "then there stood the {word}", "later", "here", "came my nice"),
)


def task(stem_has_subject: bool = False) -> Task:
    """The rhyming task: all groups, eight templates whose line 2 gives nothing away about its last word.

    A stem ends after the adverb of line 2, or after its subject when ``stem_has_subject`` (for subjects that carry
    their plan there).
    """
    templates = []
    for name, line1, adverb, subject, rest in _TEMPLATES:
        opening = f"{line1} , {NEWLINE} {adverb}"
        stem = f"{opening} {subject}" if stem_has_subject else opening
        templates.append(Template(name, f"{opening} {subject} {rest}", stem))
    return Task(GROUPS, PARTNER, tuple(templates), (".", EOS), facts=_relations())


def _relations() -> tuple[Relation, ...]:
    """What the facts ask: every person's city and instrument, in every wording up to the answer."""
    return tuple(
        Relation(
            id=relation,
            templates=tuple(text.partition(" {answer}")[0].replace("{first} {last}", "{subject}") for text in texts),
            options=FACT_ANSWERS[relation],
            answers={f"{first} {last}": answer for (first, last, of), answer in FACTS.items() if of == relation},
        )
        for relation, texts in FACT_TEMPLATES.items()
    )
