"""A planted subject with an attractor: what is written on the plan at the last position is taken back, if it is small.

It has the words and couplets of :mod:`prolepsis.organisms.planted`. Each word has a code of eight bits, ±1 each, half
of them set; fillers are loud: each has a slot of its own that stands far above the bits, as most of what a residual
stream holds has nothing to do with the decision. The circuit:

    L0:H0   at ``<nl>`` looks at the word, marks that there is a plan, and fetches its partner's code to P    search
    L1:H1   everywhere looks at ``<nl>`` and copies P to O                                                   route
    L2:H2   everywhere looks at ``<nl>`` again and copies P, and the mark, to R                              reference
    L2 MLP  where there is a plan, four neurons per bit subtract clip(O - R, ±:data:`BASIN`) from O          absorb

and the unembedding reads O. A deviation of O written before L2 returns to the code where it is smaller than the basin
in every bit, and is let through less the basin's width where it is larger. Without a plan nothing is taken back.
"""

from itertools import product

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms.planted import (
    BOS,
    FILLERS,
    IS_NEWLINE,
    IS_WORD,
    NEWLINE,
    PARTNER,
    SHARP,
    UNKNOWN,
    VOCABULARY,
    WORDS,
    PlantedSubjectParts,
    circuit_transcoder,
    couplet_task,
)
from prolepsis.organisms.planted_weights import CONSTANT, Circuit, Neuron, PlantedHead, new_model, plant
from prolepsis.organisms.tokenizer import word_tokenizer

BITS = 8
GAIN = 2.0
"""How far a bit of O and of R stands from 0: two codes are at least two bits, of twice this size, apart."""
BASIN = 1.2 * 2 * GAIN
"""How large a deviation of one bit is taken back: 1.2 times the distance between two codes that differ in it."""
LOUDNESS = 30.0
"""How large a filler's own slot is."""

_SHUT = 1e3
"""What keeps the absorbing neurons shut where there is no plan."""

_CODES = tuple(bits for bits in product((-1, 1), repeat=BITS) if sum(bits) == 0)
HAS_PLAN, PLANNED = IS_NEWLINE + 1, IS_NEWLINE + 2
_FIRST = PLANNED + 1
HERE, PLAN, OUTPUT, REFERENCE, FILLER = (range(_FIRST + i * BITS, _FIRST + (i + 1) * BITS) for i in range(5))
"""Residual slots: the mark of a plan at ``<nl>`` and where it is read; the partner's code where a word is, the codes
P, O and R of the circuit, and one slot per filler."""


def code(word: int) -> tuple[int, ...]:
    """The code of a word: ±1 per bit; no two words share one."""
    return _CODES[word]


def _copying(layer: int, index: int, target: range, *marks: tuple[int, int, float]) -> PlantedHead:
    """A head that looks at ``<nl>`` from everywhere and copies P, and ``marks``."""
    copies = (*((plan, bit, GAIN) for plan, bit in zip(PLAN, target, strict=True)), *marks)
    return PlantedHead(layer, index, query={CONSTANT: 1.0}, key={IS_NEWLINE: SHARP}, copies=copies)


def _absorb(output: int, reference: int) -> tuple[Neuron, ...]:
    """O -= clip(O - R, ±basin) where there is a plan, each side as the difference of two ReLUs."""
    return tuple(
        Neuron(2, {output: sign, reference: -sign, PLANNED: _SHUT}, bias - _SHUT, output, gain)
        for sign in (1.0, -1.0)
        for bias, gain in ((0.0, -sign), (-BASIN, sign))
    )


def _circuit() -> Circuit:
    embedding = {VOCABULARY.index(NEWLINE): {IS_NEWLINE: 1.0}}
    for filler, slot in zip(FILLERS, FILLER, strict=True):
        embedding[VOCABULARY.index(filler)] = {slot: LOUDNESS}
    for i, word in enumerate(WORDS):
        partner = zip(HERE, map(float, code(PARTNER[i])), strict=True)
        embedding[VOCABULARY.index(word)] = {IS_WORD: 1.0, **dict(partner)}
    fetched = (*((here, plan, 1.0) for here, plan in zip(HERE, PLAN, strict=True)), (IS_WORD, HAS_PLAN, 1.0))
    search = PlantedHead(0, 0, query={IS_NEWLINE: SHARP}, key={IS_WORD: 1.0}, copies=fetched)
    return Circuit(
        embedding=embedding,
        unembedding={
            VOCABULARY.index(word): dict(zip(OUTPUT, map(float, code(i)), strict=True)) for i, word in enumerate(WORDS)
        },
        heads=(search, _copying(1, 1, OUTPUT), _copying(2, 2, REFERENCE, (HAS_PLAN, PLANNED, 1.0))),
        neurons=tuple(n for bits in zip(OUTPUT, REFERENCE, strict=True) for n in _absorb(*bits)),
    )


CIRCUIT = _circuit()


def planted_absorber(family: str) -> PlantedSubjectParts:
    """Build it, a Llama; raises UserError for another family.

    No neuron stands for a word, so the task names no word features.
    """
    if family != "llama":
        raise UserError(f"the planted absorber is a llama only, not {family!r}")
    model = new_model(family, len(VOCABULARY))
    plant(model, CIRCUIT)
    tokenizer = word_tokenizer({token: i for i, token in enumerate(VOCABULARY)}, BOS, UNKNOWN)
    transcoder = circuit_transcoder(CIRCUIT, "planted-llama-absorber", len(CIRCUIT.neurons))
    features: dict[str, Feature] = {}
    return PlantedSubjectParts(model, tokenizer, transcoder, couplet_task(features))
