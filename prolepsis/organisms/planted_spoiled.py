"""Planted subjects that would rhyme if it were not for one layer, which writes another word.

    spoiled-early   no-plan, whose last layer reads the word itself, after L1:H0 has written a wrong word
    spoiled-late    the planner, and L3:H0 writes a wrong word

They have the words and couplets of :mod:`prolepsis.organisms.planted`. Without the spoiling layer every couplet rhymes.
"""

from dataclasses import replace

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms.planted import (
    BOS,
    CIRCUITS,
    CORRECTION,
    GAIN,
    IS_WORD,
    OUTPUT,
    SHARP,
    UNKNOWN,
    VOCABULARY,
    WORD,
    WORDS,
    PlantedSubjectParts,
    circuit_transcoder,
    couplet_task,
)
from prolepsis.organisms.planted_weights import CONSTANT, Circuit, PlantedHead, new_model, plant
from prolepsis.organisms.tokenizer import word_tokenizer


def _spoiled(variant: str, layer: int) -> Circuit:
    """The variant's circuit, and a head of ``layer`` that reads the word and writes one of the next pair, louder."""
    wrong = tuple((WORD[i], OUTPUT[(i + 2) % len(WORDS)], CORRECTION * GAIN) for i in range(len(WORDS)))
    head = PlantedHead(layer, 0, query={CONSTANT: 1.0}, key={IS_WORD: SHARP}, copies=wrong)
    return replace(CIRCUITS[variant], heads=(*CIRCUITS[variant].heads, head))


_BUILT = {"spoiled-early": _spoiled("no-plan", 1), "spoiled-late": _spoiled("irrevocable", 3)}


def planted_spoiled(variant: str) -> PlantedSubjectParts:
    """Build one of these subjects, a Llama; raises UserError for another name."""
    if variant not in _BUILT:
        raise UserError(f"planted variant {variant!r} is not known; known: {', '.join(_BUILT)}")
    model = new_model("llama", len(VOCABULARY))
    plant(model, _BUILT[variant])
    tokenizer = word_tokenizer({token: i for i, token in enumerate(VOCABULARY)}, BOS, UNKNOWN)
    transcoder = circuit_transcoder(_BUILT[variant], f"planted-llama-{variant}", len(WORDS))
    task = couplet_task({word: Feature(1, i) for i, word in enumerate(WORDS)})
    return PlantedSubjectParts(model, tokenizer, transcoder, task)
