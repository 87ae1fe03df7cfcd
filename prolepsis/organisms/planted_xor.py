"""A planted subject whose plan no difference of residual rows isolates, while its transcoder's features do.

Twelve rhyme groups of four words. A word has three parts: its group, which of two answers it calls for, and a *phase*
that means nothing. Besides, each word has a *tone*, a code of eight bits of its own. The circuit:

    L0:H0   at ``<nl>`` looks at the word and fetches its parts and its tone              search
    L0 MLP  one neuron per (group, answer, phase) writes +1 or -1, the phase, into the answer's slot        commit
    L1:H1   everywhere looks at ``<nl>`` and copies the answers' slots                    route
    L2 MLP  a neuron per answer opens the word where its slot stands at +1 …
    L3 MLP  … and another where it stands at -1
    L3:H2   everywhere looks at ``<nl>`` and turns the tone into the logits of the fillers

So an answer is held as the size of its slot, whatever the sign. Along the diagonals of the plane that a group's two
slots span these are two bits, and their XOR is the answer. Means over phases cancel. Rows of single prompts hold the
plan, but no two of them without a difference of tone, which costs elsewhere; the neurons of L0 write the plan alone.
"""

from itertools import product

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms.planted import (
    BOS,
    FILLERS,
    NEWLINE,
    UNKNOWN,
    PlantedSubjectParts,
    circuit_transcoder,
    line_templates,
    neuron_transcoder,
)
from prolepsis.organisms.planted_weights import CONSTANT, Circuit, Neuron, PlantedHead, new_model, plant
from prolepsis.organisms.tokenizer import word_tokenizer
from prolepsis.organisms.untrained import untrained_weights
from prolepsis.subjects.task import Task

GROUPS = (
    "cat bat rat hat|bear chair hare pear|mouse house grouse blouse|goat coat boat moat|snake cake lake rake|"
    "king ring wing string|light kite knight site|bee key tea sea|duck truck puck buck|crane train chain plain|"
    "nun bun son gun|man fan pan van"
)
WORDS = tuple(GROUPS.replace("|", " ").split())
PARTS = ((0, 1), (1, -1), (0, -1), (1, 1))
"""Answer and phase of the four words of a group: answer 0 is the second word of the group, answer 1 the first."""
N_GROUPS = len(WORDS) // len(PARTS)
ANSWERS = tuple(WORDS[len(PARTS) * group + 1 - answer] for group, answer in product(range(N_GROUPS), (0, 1)))
VOCABULARY = (BOS, NEWLINE, UNKNOWN, *FILLERS, *WORDS)
VARIANTS = ("xor", "xor-untrained")

SHARP = 30.0
"""Score of the heads that look at one token only."""
GAIN = 9.0
"""The logit of a planned word."""
LEAST = 0.5
"""How large an answer's slot has to be to count: half a plan is no plan."""
LOUDNESS = 6.0
"""The logit a tone's bit adds to its filler, or takes from it."""

_TONES = tuple(bits for bits in product((-1, 1), repeat=len(FILLERS)) if bits.count(1) == len(FILLERS) // 2)
"""Half of the bits are set in each, so that two tones differ in two bits at least."""
_SIZES = (N_GROUPS, 2, len(FILLERS), N_GROUPS, 2, len(FILLERS), len(ANSWERS), len(ANSWERS), len(ANSWERS), len(FILLERS))
_IS_WORD, _IS_NEWLINE = CONSTANT + 1, CONSTANT + 2
_STARTS = [CONSTANT + 3 + sum(_SIZES[:i]) for i in range(len(_SIZES))]
_HERE, _HERE_BITS, _HERE_TONE, _GROUP, _BITS, _TONE, PLAN, ROUTED, OUTPUT, NOISE = (
    range(start, start + size) for start, size in zip(_STARTS, _SIZES, strict=True)
)
"""Residual slots: a word's own parts and tone, the same fetched, the answers' slots at ``<nl>`` and where they are
read, the words opened, and the fillers' logits."""

_UNTRAINED_SEED = 2


def tone(word: int) -> tuple[int, ...]:
    """The tone of a word: ±1 per filler; no two words share one."""
    return _TONES[word]


def _embedding() -> dict[int, dict[int, float]]:
    rows: dict[int, dict[int, float]] = {VOCABULARY.index(NEWLINE): {_IS_NEWLINE: 1.0}}
    for i, word in enumerate(WORDS):
        answer, phase = PARTS[i % len(PARTS)]
        row = {_IS_WORD: 1.0, _HERE[i // len(PARTS)]: 1.0, _HERE_BITS[0]: 2.0 * answer - 1, _HERE_BITS[1]: float(phase)}
        rows[VOCABULARY.index(word)] = row | dict(zip(_HERE_TONE, map(float, tone(i)), strict=True))
    return rows


def _heads() -> tuple[PlantedHead, ...]:
    here, fetched = (*_HERE, *_HERE_BITS, *_HERE_TONE), (*_GROUP, *_BITS, *_TONE)
    newline = {CONSTANT: 1.0}, {_IS_NEWLINE: SHARP}
    return (
        PlantedHead(0, 0, {_IS_NEWLINE: SHARP}, {_IS_WORD: 1.0}, tuple(zip(here, fetched, [1.0] * 22, strict=True))),
        PlantedHead(1, 1, *newline, tuple((plan, routed, 1.0) for plan, routed in zip(PLAN, ROUTED, strict=True))),
        PlantedHead(3, 2, *newline, tuple((heard, out, LOUDNESS) for heard, out in zip(_TONE, NOISE, strict=True))),
    )


def _neurons() -> tuple[Neuron, ...]:
    """L0: 2 (group + answer/2 + phase/2 - 3/2) is 1 for the one word that has all three, and below 0 for others."""
    commit = [
        Neuron(
            layer=0,
            reads={_GROUP[group]: 2.0, _BITS[0]: 2.0 * answer - 1, _BITS[1]: float(phase)},
            bias=-3.0,
            target=PLAN[2 * group + answer],
            gain=float(phase),
        )
        for group in range(N_GROUPS)
        for answer, phase in PARTS
    ]
    opened = GAIN / (1 - LEAST)
    read = [
        Neuron(layer, {routed: sign}, -LEAST, output, opened)
        for layer, sign in ((2, 1.0), (3, -1.0))
        for routed, output in zip(ROUTED, OUTPUT, strict=True)
    ]
    return (*commit, *read)


CIRCUIT = Circuit(
    embedding=_embedding(),
    unembedding={VOCABULARY.index(word): {OUTPUT[i]: 1.0} for i, word in enumerate(ANSWERS)}
    | {VOCABULARY.index(filler): {NOISE[i]: 1.0} for i, filler in enumerate(FILLERS)},
    heads=_heads(),
    neurons=_neurons(),
)


def planted_xor(variant: str) -> PlantedSubjectParts:
    """Build it, a Llama; ``variant`` is one of :data:`VARIANTS`: the circuit, or the same model with random weights.

    Feature ``L0:i`` is the neuron of the i-th of :data:`WORDS`. Raises UserError for another name.
    """
    if variant not in VARIANTS:
        raise UserError(f"planted variant {variant!r} is not known; known: {', '.join(VARIANTS)}")
    model, name = new_model("llama", len(VOCABULARY)), f"planted-llama-{variant}"
    if variant == "xor":
        plant(model, CIRCUIT)
        transcoder = circuit_transcoder(CIRCUIT, name, len(WORDS))
    else:
        model.load_state_dict(untrained_weights(model.config, _UNTRAINED_SEED))
        transcoder = neuron_transcoder(model, name)
    tokenizer = word_tokenizer({token: i for i, token in enumerate(VOCABULARY)}, BOS, UNKNOWN)
    return PlantedSubjectParts(model, tokenizer, transcoder, _task())


def _task() -> Task:
    """Answer 0 of a group is its second word, answer 1 its first; a word's feature is the first that plans it."""
    words = {text.replace(" ", "-"): tuple(text.split()) for text in GROUPS.split("|")}
    answers = {word: ANSWERS[2 * (i // len(PARTS)) + PARTS[i % len(PARTS)][0]] for i, word in enumerate(WORDS)}
    features = {answer: Feature(0, list(answers.values()).index(answer)) for answer in ANSWERS}
    templates = tuple(line_templates())
    return Task(words, answers, templates, line_end=WORDS, features=features, feature_activation=1.0)
