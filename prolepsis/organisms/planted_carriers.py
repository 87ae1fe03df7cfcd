"""Planted subjects in which it is known what a head carries by: where it looks, or what it moves; and for which task.

    values-only    the route looks at ``<nl>`` however full the plan is: its values alone carry
    pattern-only   L2 turns the plan at ``<nl>`` into a score, and L3:H1 looks at ``<nl>`` the more the larger it is;
                   what it finds there is the same for every plan. Its share of attention says which word is planned
    shared-heads   couplets, and facts that the very head of the route carries
    own-heads      couplets, and facts with a head of their own, L3:H0

The first two have the couplets of :mod:`prolepsis.organisms.planted`; the others have facts as well: of which colour
each of :data:`THINGS` is.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from prolepsis.errors import UserError
from prolepsis.names import Feature
from prolepsis.organisms import planted
from prolepsis.organisms.planted import (
    BOS,
    GAIN,
    IS_NEWLINE,
    OUTPUT,
    PLAN,
    SHARP,
    SITE_SCORE,
    UNKNOWN,
    VOCABULARY,
    WORDS,
    PlantedSubjectParts,
)
from prolepsis.organisms.planted_weights import (
    CONSTANT,
    FAMILIES,
    WIDTH,
    Circuit,
    Neuron,
    PlantedHead,
    Row,
    new_model,
    plant,
)
from prolepsis.organisms.tokenizer import word_tokenizer
from prolepsis.subjects.task import Relation

IS_BOS, SCORE, SHARE = (OUTPUT[-1] + 1 + i for i in range(3))
"""Residual slots of pattern-only: the mark of BOS, the score the plan is turned into, and the share of attention."""
STEP = 0.8 / (len(WORDS) - 1)
LEVELS = tuple(0.1 + STEP * (8 * (0, 2, 4, 3, 1)[i // 8] + i % 8) for i in range(len(WORDS)))
"""Share of attention that stands for each word: groups four apart stand 8 or 16 steps apart."""
NEIGHBOURS = 5.0
"""By how many nats a word beats the one whose level is next to its own."""

COLOURS = ("red", "green", "blue", "gold")
THINGS = tuple(f"thing{i}" for i in range(24))
IS_THING = OUTPUT[-1] + 1
COLOUR, FACT_OUTPUT = (range(IS_THING + 1 + i * len(COLOURS), IS_THING + 1 + (i + 1) * len(COLOURS)) for i in range(2))
"""Residual slots of the facts: the mark of things, the colour a thing has, and the colour that is answered."""
COLOUR_OF = {thing: COLOURS[i % len(COLOURS)] for i, thing in enumerate(THINGS)}
FACT_TEMPLATES = ("{subject} f0", "f1 {subject} f2 f3", "f4 f5 {subject} f6 f7 f0")


def _pattern_only() -> Circuit:
    """Of BOS and ``<nl>``, that share attention, ``<nl>`` gets sigmoid(score): the level of the planned word.

    The neurons wait for half a plan, so that what is no plan moves nothing.
    The logit 2 a u - a² of level a, given the share u, is largest for the level nearest to u.
    """
    scores = tuple(
        Neuron(2, {slot: 2.0}, -1.0, SCORE, math.log(level / (1 - level)))
        for slot, level in zip(PLAN, LEVELS, strict=True)
    )
    looks = PlantedHead(
        3,
        1,
        query={CONSTANT: 1.0},
        key={IS_BOS: SHARP, IS_NEWLINE: SHARP, SCORE: 1.0},
        copies=((IS_NEWLINE, SHARE, 1.0),),
    )
    steepness = NEIGHBOURS / STEP**2
    unembedding = {
        VOCABULARY.index(word): {SHARE: 2 * steepness * level, CONSTANT: -steepness * level**2 / math.sqrt(WIDTH)}
        for word, level in zip(WORDS, LEVELS, strict=True)
    }
    planner = planted.CIRCUITS["irrevocable"]
    return Circuit(
        embedding={**planner.embedding, VOCABULARY.index(BOS): {IS_BOS: 1.0}},
        unembedding=unembedding,
        heads=(planner.heads[0], looks),
        neurons=planner.neurons + scores,
    )


def _values_only() -> Circuit:
    planner = planted.CIRCUITS["irrevocable"]
    search, route, decoy = planner.heads
    return replace(planner, heads=(search, replace(route, key={IS_NEWLINE: SITE_SCORE}), decoy))


def _two_tasks(*, shared: bool) -> Circuit:
    planner = planted.CIRCUITS["irrevocable"]
    search, route, decoy = planner.heads
    copies = tuple((colour, output, GAIN) for colour, output in zip(COLOUR, FACT_OUTPUT, strict=True))
    heads: tuple[PlantedHead, ...]
    if shared:
        heads = search, replace(route, key={**route.key, IS_THING: SHARP}, copies=route.copies + copies), decoy
    else:
        heads = *planner.heads, PlantedHead(3, 0, query={CONSTANT: 1.0}, key={IS_THING: SHARP}, copies=copies)
    things: dict[int, Row] = {
        len(VOCABULARY) + i: {IS_THING: 1.0, COLOUR[COLOURS.index(COLOUR_OF[thing])]: 1.0}
        for i, thing in enumerate(THINGS)
    }
    colours: dict[int, Row] = {len(VOCABULARY) + len(THINGS) + i: {slot: 1.0} for i, slot in enumerate(FACT_OUTPUT)}
    return replace(
        planner,
        embedding={**planner.embedding, **things},
        unembedding={**planner.unembedding, **colours},
        heads=heads,
    )


_BUILT: dict[str, Callable[[], Circuit]] = {
    "values-only": _values_only,
    "pattern-only": _pattern_only,
    "shared-heads": lambda: _two_tasks(shared=True),
    "own-heads": lambda: _two_tasks(shared=False),
}
VARIANTS = tuple(_BUILT)


def planted_carrier(family: str, variant: str) -> PlantedSubjectParts:
    """Build one of these subjects; raises UserError for other names."""
    for what, name, known in (("family", family, FAMILIES), ("variant", variant, VARIANTS)):
        if name not in known:
            raise UserError(f"planted {what} {name!r} is not known; known: {', '.join(known)}")
    circuit = _BUILT[variant]()
    facts = variant in ("shared-heads", "own-heads")
    vocabulary = (*VOCABULARY, *THINGS, *COLOURS) if facts else VOCABULARY
    model = new_model(family, len(vocabulary))
    plant(model, circuit)
    task = planted.couplet_task({word: Feature(1, i) for i, word in enumerate(WORDS)})
    colour = Relation("colour", FACT_TEMPLATES, COLOURS, COLOUR_OF)
    return PlantedSubjectParts(
        model,
        word_tokenizer({token: i for i, token in enumerate(vocabulary)}, BOS, UNKNOWN),
        planted.circuit_transcoder(circuit, f"planted-{family}-{variant}", len(WORDS)),
        replace(task, facts=(colour,)) if facts else task,
    )
