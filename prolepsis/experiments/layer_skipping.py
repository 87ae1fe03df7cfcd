"""Which layers does rhyming need? Blocks of layers are made the identity, and line 2 is written without them.

A couplet is asked for by its line 1 and the opening of line 2. It rhymes when the last word of what is written is in
line 1's rhyme group; as published, line 1's own word counts as a rhyme, while a true rhyme is another word.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch

from prolepsis.clustered import interval
from prolepsis.controls import control_arms, once, reach_row
from prolepsis.edits import Row, Skip
from prolepsis.experiments.regeneration import last_word, longest_line
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.generation import generate
from prolepsis.hooks import Read
from prolepsis.measurement import Measurement
from prolepsis.rules import finite
from prolepsis.selection import Logits
from prolepsis.statistics import mcnemar
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]
Block = tuple[int, ...]

PAPER_DEPTH = 26
EARLY, LATE, LAST = (5, 9), (22, 25), (24, 25)
"""First and last layer of the published blocks, in a model of 26 layers (Table 2a)."""
MAX_EXCESS_NLL = 1.0
"""By how many nats per token the rest of the couplet may become less natural without a block."""
WHOLE: Block = ()


def scaled(block: tuple[int, int], n_layers: int) -> Block:
    """The layers at the same relative depth in a model of ``n_layers``; at least one."""
    first = min(round(block[0] * n_layers / PAPER_DEPTH), n_layers - 1)
    return tuple(range(first, max(first + 1, round((block[1] + 1) * n_layers / PAPER_DEPTH))))


def blocks(n_layers: int) -> tuple[Block, ...]:
    """The depth cut into blocks of the early one's size; the last may be smaller."""
    size = len(scaled(EARLY, n_layers))
    return tuple(tuple(range(first, min(first + size, n_layers))) for first in range(0, n_layers, size))


@dataclass(frozen=True)
class Couplet:
    """What is written in answer to one prompt without each block of layers, :data:`WHOLE` being the whole model.

    ``published``: does it rhyme by the published count; ``true``: with another word. ``elsewhere``: per published
    block as many other layers, drawn at random, where there are as many.
    """

    published: Mapping[Block, bool]
    true: Mapping[Block, bool]
    elsewhere: Mapping[Block, Block]


@dataclass(frozen=True)
class Harm:
    """What one prompt loses without each block of layers.

    ``rhyme``: log-odds of the answer, in nats; ``rest``: nats per token by which the rest of the couplet, after line
    1's rhyme word, is less natural.
    """

    half: int
    rhyme: Mapping[Block, float]
    rest: Mapping[Block, float]


def couplets(subject: Subject) -> Mapping[str, Couplet]:
    """Prompt id → its couplet, for the recipients of all pairs."""
    pairs = rhyme_pairs(task_of(subject))
    elsewhere = {pair.recipient.id: _elsewhere(subject.n_layers, seed) for seed, pair in enumerate(pairs)}
    words = _last_words(subject, pairs, elsewhere)
    found = {}
    for pair in watched(pairs, "pairs"):
        name, own, family = pair.recipient.id, subject.word_id(pair.recipient.word), once(subject, Runs).family
        rhymes = {block: word in family(pair.recipient) for block, word in words[name].items()}
        true = {block: rhyming and words[name][block] != own for block, rhyming in rhymes.items()}
        found[name] = Couplet(rhymes, true, elsewhere[name])
    return found


def harms(subject: Subject) -> Mapping[str, Harm]:
    """Prompt id → what it loses without each block that the depth is cut into."""
    return {pair.recipient.id: _harm(subject, pair) for pair in watched(rhyme_pairs(task_of(subject)), "pairs")}


def chosen_blocks(subject: Subject) -> tuple[Mapping[int, Block], Mapping[int, Block]]:
    """Half tested → the block rhyming needs most, and the one it needs least, as the other half has it.

    Needed most counts only among blocks without which the rest of the couplet stays natural, where there are such.
    """
    most, least = {}, {}
    for half in (0, 1):
        seen = [harm for harm in once(subject, harms).values() if harm.half != half]
        rhyme, rest = (
            {b: fmean(getattr(h, of)[b] for h in seen) for b in blocks(subject.n_layers)} for of in ("rhyme", "rest")
        )
        natural = [block for block in rest if rest[block] <= MAX_EXCESS_NLL] or [min(rest, key=lambda b: rest[b])]
        most[half] = max(natural, key=lambda block: rhyme[block])
        least[half] = min((block for block in rhyme if block != most[half]), key=lambda b: rhyme[b], default=WHOLE)
    return most, least


def block_losses(subject: Subject) -> Values:
    """Prompt id → loss of the answer's log-odds without the chosen block, in nats."""
    most, _ = once(subject, chosen_blocks)
    return {name: harm.rhyme[most[harm.half]] for name, harm in once(subject, harms).items()}


def block_loss(subject: Subject) -> Measurement:
    """Loss of the answer's log-odds without the block of layers that rhyming needs most, with its control arms.

    The block is chosen on one half of the groups and left out on the other. Arms: ``least needed block``, chosen
    likewise; ``untrained twin``, with its own choice; guard ``excess NLL``.
    """
    start = time.perf_counter()
    found, (most, least) = once(subject, harms), once(subject, chosen_blocks)
    arms: dict[str, Values] = {"excess NLL": {name: harm.rest[most[harm.half]] for name, harm in found.items()}}
    if WHOLE not in least.values():
        arms["least needed block"] = {name: harm.rhyme[least[harm.half]] for name, harm in found.items()}
    every = blocks(subject.n_layers)
    return _measurement(
        subject,
        "block_loss",
        unit="nats",
        values=block_losses(subject),
        arms={**arms, **control_arms(subject, block_losses, {"untrained twin": subject.twin})},
        left_out=sorted(set(most.values())),
        parameters={
            "folds": [{"discovery": _groups(subject, 1 - half), "tested": _groups(subject, half)} for half in (0, 1)]
        },
        detail={
            **{
                of: {_name(block): fmean(getattr(harm, of)[block] for harm in found.values()) for block in every}
                for of in ("rhyme", "rest")
            },
            "rhyme, interval": {
                _name(block): _interval(subject, {name: harm.rhyme[block] for name, harm in found.items()}, "nats")
                for block in every
            },
        },
        start=start,
    )


def late_block_loss(subject: Subject) -> Measurement:
    """Share of rhymes lost without the late block (L22 to L25 of 26); arm: as many ``other layers``, drawn at random.

    A couplet that does not rhyme with all layers can lose nothing, and tells nothing.
    """
    return _changed(subject, "late_block_loss", LATE, gained=False)


def early_block_gain(subject: Subject) -> Measurement:
    """Share of couplets that rhyme only without the early block (L5 to L9 of 26); see :func:`last_block_gain`."""
    return _changed(subject, "early_block_gain", EARLY, gained=True)


def last_block_gain(subject: Subject) -> Measurement:
    """Share of couplets that rhyme only without the last block (L24, L25 of 26); arm: as many ``other layers``.

    A couplet that rhymes with all layers can gain nothing, and tells nothing.
    """
    return _changed(subject, "last_block_gain", LAST, gained=True)


def _changed(subject: Subject, experiment: str, ends: tuple[int, int], *, gained: bool) -> Measurement:
    """How many couplets begin, or cease, to rhyme without a published block."""
    start = time.perf_counter()
    found, block = once(subject, couplets), scaled(ends, subject.n_layers)

    def changed(couplet: Couplet, without: Block) -> float:
        return float(couplet.published[WHOLE] is not gained and couplet.published[without] is gained)

    others = {name: changed(c, c.elsewhere[block]) for name, c in found.items() if block in c.elsewhere}
    return _measurement(
        subject,
        experiment,
        unit="proportion",
        values={name: changed(couplet, block) for name, couplet in found.items()},
        detectable=tuple(name for name, couplet in found.items() if couplet.published[WHOLE] is not gained),
        arms={"other layers": others},
        left_out=[block],
        parameters={"decoding": "greedy", "max_new_tokens": longest_line(task_of(subject))},
        detail={"couplets that rhyme": {_name(skipped): _rates(subject, found, skipped) for skipped in (WHOLE, block)}},
        start=start,
    )


def _groups(subject: Subject, half: int) -> list[str]:
    return sorted({pair.recipient.group for pair in rhyme_pairs(task_of(subject)) if pair.half == half})


def _elsewhere(n_layers: int, seed: int) -> Mapping[Block, Block]:
    """Per published block as many layers outside it, drawn at random, where there are as many."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for block in dict.fromkeys(scaled(ends, n_layers) for ends in (EARLY, LATE, LAST)):
        others = [layer for layer in range(n_layers) if layer not in block]
        if len(others) >= len(block):
            drawn[block] = tuple(sorted(rng.choice(others, len(block), replace=False).tolist()))
    return drawn


def _last_words(
    subject: Subject, pairs: Sequence[Pair], elsewhere: Mapping[str, Mapping[Block, Block]]
) -> dict[str, dict[Block, int | None]]:
    """Prompt id → block → the rhyme word that ends the line written without it (token id), batched by length."""
    task = task_of(subject)
    ends = subject.ends_of_lines(task.line_end)
    stems = {pair.recipient.id: subject.encode(pair.recipient.stem) for pair in pairs}
    every = [scaled(block, subject.n_layers) for block in (EARLY, LATE, LAST)]
    found: dict[str, dict[Block, int | None]] = {name: {} for name in stems}
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
            stop=ends,
        )
        for (name, block), line in zip(asked, written, strict=True):
            found[name][block] = last_word(subject, line, task.answers, ends)
    return found


def _harm(subject: Subject, pair: Pair) -> Harm:
    runs, every = once(subject, Runs), blocks(subject.n_layers)
    clean, source = runs.clean(pair.recipient), runs.source(pair)
    rows: list[Row] = [[], *([Skip(block)] for block in every)]
    out = clean.edit(rows, Read(logits=tuple(range(source, len(clean.tokens)))))
    targets = torch.tensor(clean.tokens[source + 1 :], device=subject.device)
    scores = out.all_logits[:, :-1].double().log_softmax(-1)  # [rows, tokens, V]
    nll = -scores[:, torch.arange(len(targets)), targets].mean(-1)  # [rows]
    odds = out.log_odds(runs.answer(pair.recipient))  # [rows]
    return Harm(
        half=pair.half,
        rhyme=dict(zip(every, (odds[0] - odds[1:]).tolist(), strict=True)),
        rest=dict(zip(every, (nll[1:] - nll[0]).tolist(), strict=True)),
    )


def _measurement(
    subject: Subject,
    experiment: str,
    *,
    unit: str,
    values: Values,
    arms: Mapping[str, Values],
    left_out: Sequence[Block],
    detail: Mapping[str, object],
    start: float,
    parameters: Mapping[str, object],
    detectable: tuple[str, ...] | None = None,
) -> Measurement:
    pairs = rhyme_pairs(task_of(subject))
    first = once(subject, Runs).clean(pairs[0].recipient)
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit=unit,
        design="one-way",
        parameters={
            "prompts": list(values),
            "left out": [list(block) for block in left_out],
            **parameters,
        },
        values=values,
        clusters=_clusters(subject),
        arms=arms,
        detectable=detectable,
        reach={"rows": [reach_row(first, [Skip(block)], Logits(len(first.tokens) - 1)) for block in left_out]},
        detail=detail,
        seconds=time.perf_counter() - start,
    )


def _name(block: Block) -> str:
    return ", ".join(f"L{layer}" for layer in block) or "none"


def _rates(subject: Subject, found: Mapping[str, Couplet], block: Block) -> dict[str, object]:
    """How many couplets rhyme without the block, and McNemar's test of true rhymes against the whole model."""
    lost = sum(couplet.true[WHOLE] and not couplet.true[block] for couplet in found.values())
    gained = sum(couplet.true[block] and not couplet.true[WHOLE] for couplet in found.values())
    return {
        "couplets": len(found),
        "published count": sum(couplet.published[block] for couplet in found.values()),
        "true rhymes": sum(couplet.true[block] for couplet in found.values()),
        "interval": _interval(subject, {name: float(c.true[block]) for name, c in found.items()}, "proportion"),
        "McNemar p": mcnemar(lost, gained),
    }


def _interval(subject: Subject, values: Values, unit: str) -> list[float | None]:
    """The two-sided 95 % interval of the mean, clustered by rhyme group."""
    of = interval(values, _clusters(subject), "one-way", unit, alpha=0.025)
    return [finite(of.low), finite(of.high)]


def _clusters(subject: Subject) -> dict[str, tuple[str, ...]]:
    return {pair.recipient.id: (pair.recipient.group,) for pair in rhyme_pairs(task_of(subject))}
