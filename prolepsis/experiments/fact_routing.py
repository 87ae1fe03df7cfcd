"""Which heads turn to or from a fact when its last token is patched? Shifts of attention by block (section 8, Table 3).

The fact's last token is patched as in :mod:`prolepsis.experiments.patched_blocks`. A head's *shift* is the change of
its attention from the last position, averaged over the fact's tokens. Only heads above a block's first layer can shift:
the earlier the block, the more there are.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from prolepsis.controls import control_arms
from prolepsis.directions import random_row
from prolepsis.edits import ReplaceStream
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.facts_asked import facts_of, pairs_asked, without_doubtful
from prolepsis.experiments.patched_blocks import blocks, patch_rows, sources
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Pattern
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = dict[str, float]
Shifts = Mapping[Head, float]

TOP_SHARE = 10 / 512
"""The paper lists the ten of its model's 512 heads that shift most; other models list the same share, at least one."""


@dataclass(frozen=True)
class Routing:
    """A pair's shifts by block, for the blocks above whose first layer there is a layer; and the heads that lead."""

    shifts: tuple[Shifts, ...]
    leaders: tuple[tuple[Head, ...], ...]

    def share(self, head: Head) -> float:
        """Share of blocks in which ``head`` is among the leaders; 0 where no block can shift anything."""
        return len(self.led(head)) / max(1, len(self.leaders))

    def total(self, block: int) -> float:
        """Sum of absolute shifts in a block."""
        return sum(map(abs, self.shifts[block].values())) if block < len(self.shifts) else 0.0

    def layers(self, block: int) -> int:
        """How many layers can shift."""
        return len({head.layer for head in self.shifts[block]}) if block < len(self.shifts) else 0

    def evenly(self, n_blocks: int) -> float:
        """Decline of the total from the first to the last block were the shift per layer the same in all blocks."""
        layers = sum(self.layers(block) for block in range(n_blocks))
        per_layer = sum(self.total(block) for block in range(n_blocks)) / max(1, layers)
        return per_layer * (self.layers(0) - self.layers(n_blocks - 1))

    def led(self, head: Head) -> list[int]:
        """The blocks in which ``head`` is among the leaders."""
        return [block for block, leaders in enumerate(self.leaders) if head in leaders]


Routings = dict[str, Routing]


def n_listed(subject: Subject) -> int:
    """How many heads a list of those that shift most holds."""
    return max(1, round(TOP_SHARE * subject.n_layers * subject.n_heads))


def routings(subject: Subject) -> Routings:
    """Pair id → shifts when the fact's last token is the donor's."""
    return {pair: measured for pair, (measured, _) in subject.once(_both).items()}


def random_routings(subject: Subject) -> Routings:
    """The same with a random row of equal norm in the donor's place."""
    return {pair: random for pair, (_, random) in subject.once(_both).items()}


def _both(subject: Subject) -> dict[str, tuple[Routing, Routing]]:
    runs = subject.once(FactRuns)
    pairs = watched(facts_of(subject), "pairs of facts")
    return {pair.id: _routing(runs, pair, seed) for seed, pair in enumerate(pairs)}


def _routing(runs: FactRuns, pair: FactPair, seed: int) -> tuple[Routing, Routing]:
    subject, clean = runs.subject, runs.clean(pair.recipient)
    fact, query = list(runs.align(pair, pair.donor).fact), len(clean.tokens) - 1
    shifting = [block for block in blocks(subject.n_layers) if block[0] < subject.n_layers - 1]
    if not shifting:
        return Routing((), ()), Routing((), ())
    heads = [Head(layer, i) for layer in range(subject.n_layers) for i in range(subject.n_heads)]
    above = tuple((head, query) for head in heads if head.layer > shifting[0][0])
    rows = [_patch(runs, pair, block) for block in shifting]
    random = [[replace(edit, value=random_row(edit.value, seed)) for edit in row] for row in rows]
    read = clean.edit([*rows, *random, []], Read(logits=(), patterns=above)).patterns
    attention = torch.stack([read[key] for key in above], dim=1)[..., fact].mean(-1)  # [B, heads]
    shifts: list[Shifts] = []
    for block, moved in zip([*shifting, *shifting], (attention[:-1] - attention[-1]).tolist(), strict=True):
        shifts.append({key[0]: each for key, each in zip(above, moved, strict=True) if key[0].layer > block[0]})
    leaders = [_leaders(of, n_listed(subject)) for of in shifts]
    n = len(shifting)
    return Routing(tuple(shifts[:n]), tuple(leaders[:n])), Routing(tuple(shifts[n:]), tuple(leaders[n:]))


def _leaders(shifts: Shifts, n: int) -> tuple[Head, ...]:
    """The ``n`` heads that shift most; of equals the lower ones."""
    return tuple(sorted(shifts, key=lambda head: -abs(shifts[head]))[:n])


def _patch(runs: FactRuns, pair: FactPair, block: range) -> list[ReplaceStream]:
    position = runs.align(pair, pair.donor).fact[-1]
    return patch_rows(runs.clean(pair.donor), block, position, sources(runs, pair)[position])


def dominant(subject: Subject, found: Routings) -> dict[int, tuple[Head, Head]]:
    """Half tested → the two heads that lead most often in the other half's pairs; of equals the lower ones."""
    heads, chosen = [Head(layer, i) for layer in range(subject.n_layers) for i in range(subject.n_heads)], {}
    for half in (0, 1):
        others = [found[pair.id] for pair in facts_of(subject) if pair.half != half]
        counts = Counter(head for of in others for leaders in of.leaders for head in leaders)
        first, second, *_ = sorted(heads, key=lambda head: -counts[head])
        chosen[half] = first, second
    return chosen


# ---------------------------------------------------------------- statistics


def _appearance(subject: Subject, found: Routings, rank: int) -> Values:
    """Pair id → share of blocks in which the other half's most frequent leader (rank 0), or the next, leads."""
    chosen = dominant(subject, found)
    return {pair.id: found[pair.id].share(chosen[pair.half][rank]) for pair in facts_of(subject)}


def _appearances_of_dominant(subject: Subject) -> dict[str, tuple[FactPair, int, Head]]:
    """Appearance id → the pair and the block in which the dominant head, of the other half, leads; and that head."""
    found, layers = subject.once(routings), blocks(subject.n_layers)
    chosen = dominant(subject, found)
    return {
        f"{pair.id}, L{layers[block][0]}..{layers[block][-1]}": (pair, block, chosen[pair.half][0])
        for pair in facts_of(subject)
        for block in found[pair.id].led(chosen[pair.half][0])
    }


def _aversion(subject: Subject, found: Routings) -> Values:
    """Appearance id → 1 if the dominant head's shift in ``found`` is negative there, else 0."""
    return {
        appearance: float(found[pair.id].shifts[block][head] < 0)
        for appearance, (pair, block, head) in _appearances_of_dominant(subject).items()
    }


def _decline(subject: Subject, found: Routings) -> Values:
    """Pair id → total shift in the first block less that in the last."""
    last = len(blocks(subject.n_layers)) - 1
    return {pair: of.total(0) - of.total(last) for pair, of in found.items()}


def appearances(subject: Subject) -> Values:
    """Pair id → share of blocks in which the dominant head leads."""
    return _appearance(subject, subject.once(routings), 0)


def declines(subject: Subject) -> Values:
    """Pair id → total shift in the first block less that in the last."""
    return _decline(subject, subject.once(routings))


# ---------------------------------------------------------------- experiments


def fact_head_dominance(subject: Subject) -> Measurement:
    """Share of blocks in which one head is among those that shift most.

    Arms: ``next head`` (the same for the runner-up), ``random row``, ``untrained twin``. Both heads are chosen on the
    other half of the pairs. Nothing is detectable in a model so small that one head alone is listed: there the next
    head is absent wherever the first is present.
    """
    start, found = time.perf_counter(), subject.once(routings)
    arms = {
        "next head": _appearance(subject, found, 1),
        "random row": _appearance(subject, subject.once(random_routings), 0),
        **control_arms(subject, appearances, {"untrained twin": subject.twin}),
    }
    able = tuple(found) if n_listed(subject) > 1 else ()
    values = appearances(subject)
    return _measurement(subject, "fact_head_dominance", "proportion", values, arms, detectable=able, start=start)


def fact_head_direction(subject: Subject) -> Measurement:
    """Share of the dominant head's shifts that are negative: attention turned away from the fact.

    Items are the head's appearances: the blocks of a pair in which it leads. Arms: ``chance``, ``random row`` (the same
    head's shifts in the same blocks). Of a data set's pair only the original prompt is patched, as in the paper, so
    that a head that leaves any fact whose row is disturbed turns away as well. Nothing is detectable where
    :func:`fact_head_dominance` can detect nothing.
    """
    start, values = time.perf_counter(), _aversion(subject, subject.once(routings))
    arms = {"chance": dict.fromkeys(values, 0.5), "random row": _aversion(subject, subject.once(random_routings))}
    able = tuple(values) if n_listed(subject) > 1 else ()
    measured = _measurement(subject, "fact_head_direction", "proportion", values, arms, detectable=able, start=start)
    clusters = {appearance: (pair.cluster,) for appearance, (pair, *_) in _appearances_of_dominant(subject).items()}
    return replace(measured, design="by-item", clusters=clusters)


def fact_routing_decline(subject: Subject) -> Measurement:
    """Total absolute shift in the first block less that in the last, in units of attention.

    Arms: ``equal shift per layer`` (what the number of layers above each block gives by itself), ``random row``,
    ``untrained twin``.
    """
    start, found = time.perf_counter(), subject.once(routings)
    n_blocks = len(blocks(subject.n_layers))
    arms = {
        "equal shift per layer": {pair: of.evenly(n_blocks) for pair, of in found.items()},
        "random row": _decline(subject, subject.once(random_routings)),
        **control_arms(subject, declines, {"untrained twin": subject.twin}),
    }
    values = declines(subject)
    return _measurement(subject, "fact_routing_decline", "attention", values, arms, ends=True, start=start)


def _measurement(
    subject: Subject,
    name: str,
    unit: str,
    values: Values,
    arms: Mapping[str, Mapping[str, float]],
    *,
    start: float,
    detectable: tuple[str, ...] | None = None,
    ends: bool = False,
) -> Measurement:
    """``ends`` says that the claim compares the first block with the last."""
    pairs = facts_of(subject)
    chosen = dominant(subject, subject.once(routings))
    halves = [[pair.id for pair in pairs if pair.half == half] for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="one-way",
        parameters={
            "pairs": [pair.id for pair in pairs],
            "folds": [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)],
            "heads listed": n_listed(subject),
        },
        values=values,
        clusters={pair.id: (pair.cluster,) for pair in pairs},
        arms=arms,
        detectable=detectable,
        reach={"rows": [row for row in subject.once(_reach_rows) if ends or row["claimed"]]},
        detail={**subject.once(_detail), "dominant": {str(half): list(map(str, at)) for half, at in chosen.items()}},
        seconds=time.perf_counter() - start,
    )


def _detail(subject: Subject) -> dict[str, object]:
    """By block: mean total shift, the layers that can shift, and the mean total per such layer; and of which pairs."""
    found, every = subject.once(routings), range(len(blocks(subject.n_layers)))

    def totals(pairs: list[str]) -> list[float]:
        return [statistics.fmean(found[pair].total(block) for pair in pairs) for block in every]

    layers = [next(iter(found.values())).layers(block) for block in every]
    shares = [statistics.fmean(_appearance(subject, found, rank).values()) for rank in (0, 1)]
    negative = _aversion(subject, found).values()
    return {
        "lists with the dominant head, and with the next": shares,
        "negative shifts of the dominant head, of its appearances": statistics.fmean(negative) if negative else None,
        "total shift by block": totals(list(found)),
        "layers above": layers,
        "total shift per layer above": [
            total / max(1, above) for total, above in zip(totals(list(found)), layers, strict=True)
        ],
        "pairs": pairs_asked(subject),
        "total shift by block in some pairs": without_doubtful(subject, totals),
    }


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Whether patching the first, and the last, block can shift the attention of a head in the last layer."""
    runs, rows, found = subject.once(FactRuns), dict[str, dict[str, object]](), blocks(subject.n_layers)
    for pair in facts_of(subject):
        clean, wording = runs.clean(pair.recipient), f"{pair.recipient.relation.id}-{pair.recipient.template}"
        position, query = runs.align(pair, pair.donor).fact[-1], len(clean.tokens) - 1
        readout = Pattern(Head(subject.n_layers - 1, 0), query, position)
        for block in dict.fromkeys((found[0], found[-1])):
            name = f"{wording}: L{block[0]}..{block[-1]}@{position} → {readout}"
            if name not in rows:
                edits = _patch(runs, pair, block)
                rows[name] = reach_row(clean, edits, readout, name=name, claimed=block == found[0])
    return list(rows.values())
