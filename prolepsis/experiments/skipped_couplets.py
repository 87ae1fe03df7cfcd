"""What is written without some layers? Blocks of them are made the identity, and the second line is read (section 7).

As published, the prompt is one line and the line break after it, and line 1's own word counts as a rhyme; a true rhyme
is another word. Rhymes are told as where rhymes are elicited: by the ending of the first pronunciation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prolepsis.edits import Skip
from prolepsis.experiments.elicitation import scored
from prolepsis.experiments.regeneration import ending, longest_line
from prolepsis.experiments.rhyme_pairs import Pair, rhyme_pairs, task_of
from prolepsis.running.generation import generate
from prolepsis.subject import Subject
from prolepsis.subjects.task import Prompt
from prolepsis.watching import watched

Block = tuple[int, ...]
Ends = tuple[int, int]

PAPER_DEPTH = 26
EARLY, LATE, LAST = (5, 9), (22, 25), (24, 25)
"""First and last layer of the published blocks, in a model of 26 layers (Table 2a)."""
PLANNING, MIDDLE = (10, 22), ((10, 14), (15, 19))
"""The stage that is said to plan, and blocks within it that are as large as the early one."""
BEYOND_LATE = (20, 25)
"""The late block and the two layers before it."""
WHOLE: Block = ()


def scaled(block: Ends, n_layers: int) -> Block:
    """The layers at the same relative depth in a model of ``n_layers``; at least one."""
    first = min(round(block[0] * n_layers / PAPER_DEPTH), n_layers - 1)
    return tuple(range(first, max(first + 1, round((block[1] + 1) * n_layers / PAPER_DEPTH))))


def skipped_blocks(n_layers: int) -> tuple[Block, ...]:
    """The blocks that couplets are written without."""
    return tuple(dict.fromkeys(scaled(ends, n_layers) for ends in _OUTSIDE_OF))


_OUTSIDE_OF: Mapping[Ends, Ends] = {
    **{ends: ends for ends in (EARLY, LATE, LAST)},
    **dict.fromkeys(MIDDLE, PLANNING),
    BEYOND_LATE: BEYOND_LATE,
}
"""Block → the layers outside of which as many others are drawn: for a part of a stage outside the whole stage."""


@dataclass(frozen=True)
class Couplet:
    """What is written in answer to one prompt without each block of layers, :data:`WHOLE` being the whole model.

    ``published``: does it rhyme by the published count; ``true``: with another word. ``elsewhere``: per published
    block as many other layers, drawn at random, where there are as many.
    """

    published: Mapping[Block, bool]
    true: Mapping[Block, bool]
    elsewhere: Mapping[Ends, Block]


def couplets(subject: Subject) -> Mapping[str, Couplet]:
    """Prompt id → its couplet, for the recipients of all pairs."""
    pairs = rhyme_pairs(task_of(subject))
    elsewhere = {pair.recipient.id: _elsewhere(subject.n_layers, seed) for seed, pair in enumerate(pairs)}
    words = _last_words(subject, pairs, elsewhere)
    found = {}
    for pair in watched(pairs, "pairs"):
        written = words[pair.recipient.id]
        outcomes = scored(subject, [(pair.recipient.word, word) for word in written.values()])
        of_blocks = dict(zip(written, outcomes, strict=True))
        found[pair.recipient.id] = Couplet(
            published={block: outcome != "neither" for block, outcome in of_blocks.items()},
            true={block: outcome == "rhyme" for block, outcome in of_blocks.items()},
            elsewhere=elsewhere[pair.recipient.id],
        )
    return found


def line_1(prompt: Prompt) -> str:
    """What the paper's model goes on from: the rhyme word's line with the line break, and nothing before it.

    In a language without that mark of a line's end it is the prompt's own stem, as that language's grammar has it.
    """
    text = prompt.template.text
    slot = text.index("{word}")
    end = text.find("\n", slot) + 1
    return text[text.rfind("\n", 0, slot) + 1 : end].replace("{word}", prompt.word) if end else prompt.stem


def _elsewhere(n_layers: int, seed: int) -> Mapping[Ends, Block]:
    """Per published block as many layers elsewhere, drawn at random, where there are as many."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for ends, outside in _OUTSIDE_OF.items():
        size, barred = len(scaled(ends, n_layers)), scaled(outside, n_layers)
        others = [layer for layer in range(n_layers) if layer not in barred]
        if len(others) >= size:
            drawn[ends] = tuple(sorted(rng.choice(others, size, replace=False).tolist()))
    return drawn


def _last_words(
    subject: Subject, pairs: Sequence[Pair], elsewhere: Mapping[str, Mapping[Ends, Block]]
) -> dict[str, dict[Block, str]]:
    """Prompt id → block → the word that ends the line written without it, "" where none does; batched by length."""
    task = task_of(subject)
    line_ends = subject.ends_of_lines(task.line_end)
    stems = {pair.recipient.id: subject.encode(line_1(pair.recipient)) for pair in pairs}
    every = skipped_blocks(subject.n_layers)
    found: dict[str, dict[Block, str]] = {name: {} for name in stems}
    for length in sorted({len(stem) for stem in stems.values()}):
        asked = [
            (name, block)
            for name, stem in stems.items()
            if len(stem) == length
            for block in dict.fromkeys((WHOLE, *every, *elsewhere[name].values()))
        ]
        written = generate(
            subject,
            [stems[name] for name, _ in asked],
            [[Skip(block)] if block else [] for _, block in asked],
            max_new_tokens=longest_line(task),
            stop=line_ends,
        )
        for (name, block), line in zip(asked, written, strict=True):
            found[name][block] = ending(subject, line, task.answers, line_ends)
    return found
