"""How far a correction moves attention to the last token, the stronger it is (appendix G.2 of the paper).

The edits are those of :mod:`prolepsis.experiments.correction`, all at the last token, and the total shift is
Σ|Δattention| over all heads, from the last token to itself, against the unedited run. A shift that grows as much under
any write of the correction's size, or under the correction without a commitment, is not a response to a contradiction.
"""

import statistics
import time
from collections.abc import Mapping

import torch

from prolepsis.directions import matched_random, unembedding_direction
from prolepsis.edits import Row
from prolepsis.experiments.correction import STEPS, Protocol, outcomes, protocols
from prolepsis.experiments.rhyme_pairs import Runs, clusters_of
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Pattern
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched
from prolepsis.writes import write_at

DRAWS = 2
"""Random corrections per pair."""


def total_shifts(subject: Subject) -> dict[str, Mapping[str, float]]:
    """Pair id → run → total shift: of each step with the commitment ("step 0", …), and at the largest step of others.

    Others: ``correction alone``, ``suppression`` and it ``with correction``, ``random 0``, … with the commitment.
    """
    return {
        made.pair.id: _shifts(subject, made, seed)
        for seed, made in enumerate(watched(subject.once(protocols), "pairs"))
    }


def _shifts(subject: Subject, made: Protocol, seed: int) -> dict[str, float]:
    clean = subject.once(Runs).clean(made.pair.recipient)
    last, largest = len(clean.tokens) - 1, STEPS[-1]
    towards = unembedding_direction(subject, subject.word_id(made.correct_word)).cpu()
    committed = made.row(last, commit=True, step=0.0)
    runs: dict[str, Row] = {f"step {step:g}": made.row(last, commit=True, step=step) for step in STEPS}
    runs["correction alone"] = write_at(last, made.correct, largest)
    runs["suppression"] = made.row(last, commit=False, step=0.0)
    runs["suppression with correction"] = made.row(last, commit=False, step=largest)
    for draw in range(DRAWS):
        random = matched_random(made.correct, towards, DRAWS * seed + draw)
        runs[f"random {draw}"] = [*committed, *write_at(last, random, largest)]
    heads = [Head(layer, index) for layer in range(subject.n_layers) for index in range(subject.n_heads)]
    out = clean.edit([[], *runs.values()], Read(logits=(), patterns=tuple((head, last) for head in heads)))
    attention = torch.stack([out.patterns[head, last][:, last] for head in heads])  # [heads, runs]
    total = (attention - attention[:, :1]).abs().sum(0)
    return dict(zip(runs, total[1:].tolist(), strict=True))


def total_shift_rises(subject: Subject) -> Measurement:
    """How much the total shift of attention grows from no correction to the strongest one, with its control arms.

    Arms: ``random correction`` (matched random writes in the correction's place), ``without the commitment`` (the
    growth under the suppression alone), ``correction alone`` (what it moves by itself). Only pairs whose commitment
    took hold can tell.
    """
    start, runs, made = time.perf_counter(), subject.once(Runs), subject.once(protocols)
    found, held, largest = subject.once(total_shifts), subject.once(outcomes), f"step {STEPS[-1]:g}"
    arms = {
        "random correction": {
            pair: statistics.fmean(shift[f"random {draw}"] for draw in range(DRAWS)) - shift["step 0"]
            for pair, shift in found.items()
        },
        "without the commitment": {
            pair: shift["suppression with correction"] - shift["suppression"] for pair, shift in found.items()
        },
        "correction alone": {pair: shift["correction alone"] for pair, shift in found.items()},
    }
    return Measurement(
        experiment="total_shift_rises",
        subject=subject.digest,
        unit="attention",
        design="pairs-of-groups",
        parameters={"pairs": list(found), "steps": list(STEPS), "random corrections": DRAWS},
        values={pair: shift[largest] - shift["step 0"] for pair, shift in found.items()},
        clusters=clusters_of(tuple(protocol.pair for protocol in made)),
        arms=arms,
        detectable=tuple(pair for pair, outcome in held.items() if outcome.took_hold),
        reach={"rows": [_reach(runs, protocol) for protocol in made]},
        detail={
            "total shift by step": {
                f"step {step:g}": statistics.fmean(shift[f"step {step:g}"] for shift in found.values())
                for step in STEPS
            }
        },
        seconds=time.perf_counter() - start,
    )


def _reach(runs: Runs, made: Protocol) -> dict[str, object]:
    """Whether the correction can move attention in the last layer: if not there, nowhere."""
    clean = runs.clean(made.pair.recipient)
    last = len(clean.tokens) - 1
    correction = write_at(last, made.correct, STEPS[-1])
    given = made.row(last, commit=True, step=0.0)
    readout = Pattern(Head(clean.subject.n_layers - 1, 0), last, last)
    return reach_row(clean, correction, readout, given=given, item=made.pair.id)
