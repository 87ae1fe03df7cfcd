"""Which layers does rhyming need? Couplets are written without published blocks, and blocks chosen and tested (Q4)."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from prolepsis.controls import control_arms
from prolepsis.edits import Row, Skip
from prolepsis.experiments.regeneration import longest_line
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.experiments.skipped_couplets import (
    BEYOND_LATE,
    EARLY,
    LAST,
    LATE,
    MIDDLE,
    WHOLE,
    Block,
    Couplet,
    Ends,
    couplets,
    line_1,
    scaled,
    skipped_blocks,
)
from prolepsis.judging.clustered import interval
from prolepsis.judging.rules import finite
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.statistics import mcnemar
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]

MAX_EXCESS_NLL = 1.0
"""By how many nats per token the rest of the couplet may become less natural without a block."""


def blocks(n_layers: int) -> tuple[Block, ...]:
    """The depth cut into blocks of the early one's size; the last may be smaller."""
    size = len(scaled(EARLY, n_layers))
    return tuple(tuple(range(first, min(first + size, n_layers))) for first in range(0, n_layers, size))


@dataclass(frozen=True)
class Harm:
    """What one prompt loses without each block of layers.

    ``rhyme``: log-odds of the answer, in nats; ``rest``: nats per token by which the rest of the couplet, after line
    1's rhyme word, is less natural.
    """

    half: int
    rhyme: Mapping[Block, float]
    rest: Mapping[Block, float]


def harms(subject: Subject) -> Mapping[str, Harm]:
    """Prompt id → what it loses without each block that the depth is cut into, and without each published one."""
    return {pair.recipient.id: _harm(subject, pair) for pair in watched(rhyme_pairs(task_of(subject)), "pairs")}


def chosen_blocks(subject: Subject) -> tuple[Mapping[int, Block], Mapping[int, Block]]:
    """Half tested → the block rhyming needs most, and the one it needs least, as the other half has it.

    Needed most counts only among blocks without which the rest of the couplet stays natural, where there are such.
    """
    most, least = {}, {}
    for half in (0, 1):
        seen = [harm for harm in subject.once(harms).values() if harm.half != half]
        rhyme, rest = (
            {b: fmean(getattr(h, of)[b] for h in seen) for b in blocks(subject.n_layers)} for of in ("rhyme", "rest")
        )
        natural = [block for block in rest if rest[block] <= MAX_EXCESS_NLL] or [min(rest, key=lambda b: rest[b])]
        most[half] = max(natural, key=lambda block: rhyme[block])
        least[half] = min((block for block in rhyme if block != most[half]), key=lambda b: rhyme[b], default=WHOLE)
    return most, least


def block_losses(subject: Subject) -> Values:
    """Prompt id → loss of the answer's log-odds without the chosen block, in nats."""
    most, _ = subject.once(chosen_blocks)
    return {name: harm.rhyme[most[harm.half]] for name, harm in subject.once(harms).items()}


def block_loss(subject: Subject) -> Measurement:
    """Loss of the answer's log-odds without the block of layers that rhyming needs most, with its control arms.

    The block is chosen on one half of the groups and left out on the other. Arms: ``least needed block``, chosen
    likewise; ``untrained twin``, with its own choice; guard ``excess NLL``.
    """
    start = time.perf_counter()
    found, (most, least) = subject.once(harms), subject.once(chosen_blocks)
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
    """Share of rhymes lost without the late block (L22 to L25 of 26), with its control arms.

    A couplet that does not rhyme with all layers can lose nothing, and tells nothing. Arm: as many ``other layers``,
    drawn at random. Guard ``excess NLL``: unnaturalness of the task's couplets without the block, in nats per token.
    """
    return _changed(subject, "late_block_loss", LATE, gained=False)


def middle_block_loss(subject: Subject) -> Measurement:
    """Share of rhymes lost without a part of the planning stage (L10 to L14, L15 to L19 of 26), the mean of both parts.

    Arms as of :func:`late_block_loss`, but the ``other layers`` are drawn outside the whole stage (L10 to L22).
    """
    return _changed(subject, "middle_block_loss", *MIDDLE, gained=False)


def early_block_gain(subject: Subject) -> Measurement:
    """Share of couplets that rhyme only without the early block (L5 to L9 of 26); see :func:`last_block_gain`."""
    return _changed(subject, "early_block_gain", EARLY, gained=True)


def last_block_gain(subject: Subject) -> Measurement:
    """Share of couplets that rhyme only without the last block (L24, L25 of 26); arms as of :func:`late_block_loss`.

    A couplet that rhymes with all layers can gain nothing, and tells nothing.
    """
    return _changed(subject, "last_block_gain", LAST, gained=True)


def _changed(subject: Subject, experiment: str, *skipped: Ends, gained: bool) -> Measurement:
    """How many couplets begin, or cease, to rhyme without a published block, or without each of several."""
    start = time.perf_counter()
    found = subject.once(couplets)

    def changed(couplet: Couplet, without: Sequence[Block]) -> float:
        if couplet.published[WHOLE] is gained:
            return 0.0
        return fmean(couplet.published[block] is gained for block in without)

    able = tuple(name for name, couplet in found.items() if couplet.published[WHOLE] is not gained)
    return _of_couplets(subject, experiment, skipped, changed, detectable=able, start=start)


def rhymes_beyond_late_block(subject: Subject) -> Measurement:
    """Share of couplets that rhyme without the late block and two layers more (L20 to L25 of 26), with its arms.

    Arms as of :func:`late_block_loss`, and ``all layers``.
    """
    start = time.perf_counter()

    def rhyming(couplet: Couplet, without: Sequence[Block]) -> float:
        return fmean(couplet.published[block] for block in without)

    whole = {name: float(couplet.published[WHOLE]) for name, couplet in subject.once(couplets).items()}
    return _of_couplets(
        subject, "rhymes_beyond_late_block", [BEYOND_LATE], rhyming, arms={"all layers": whole}, start=start
    )


def _of_couplets(
    subject: Subject,
    experiment: str,
    skipped: Sequence[Ends],
    counted: Callable[[Couplet, Sequence[Block]], float],
    *,
    start: float,
    arms: Mapping[str, Values] | None = None,
    detectable: tuple[str, ...] | None = None,
) -> Measurement:
    """What is ``counted`` of each couplet without the blocks, and with as many layers left out elsewhere."""
    found, harm = subject.once(couplets), subject.once(harms)
    left_out = list(dict.fromkeys(scaled(ends, subject.n_layers) for ends in skipped))
    others = {
        name: counted(couplet, [couplet.elsewhere[ends] for ends in skipped])
        for name, couplet in found.items()
        if set(skipped) <= set(couplet.elsewhere)
    }
    return _measurement(
        subject,
        experiment,
        unit="proportion",
        values={name: counted(couplet, left_out) for name, couplet in found.items()},
        detectable=detectable,
        arms={
            **(arms or {}),
            "other layers": others,
            "excess NLL": {name: fmean(harm[name].rest[block] for block in left_out) for name in found},
        },
        left_out=left_out,
        parameters={
            "stems": {pair.recipient.id: line_1(pair.recipient) for pair in rhyme_pairs(task_of(subject))},
            "decoding": "greedy",
            "max_new_tokens": longest_line(task_of(subject)),
        },
        detail={"couplets that rhyme": {_name(block): _rates(subject, found, block) for block in (WHOLE, *left_out)}},
        start=start,
    )


def _groups(subject: Subject, half: int) -> list[str]:
    return sorted({pair.recipient.group for pair in rhyme_pairs(task_of(subject)) if pair.half == half})


def _harm(subject: Subject, pair: Pair) -> Harm:
    runs = subject.once(Runs)
    every = tuple(dict.fromkeys((*blocks(subject.n_layers), *skipped_blocks(subject.n_layers))))
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
    first = subject.once(Runs).clean(pairs[0].recipient)
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
