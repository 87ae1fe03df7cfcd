"""Whether two tasks run through the same heads: rhymes and facts, head by head (section 8, table 3).

Asked by what heads carry: their indirect effects on a redirected rhyme are ranked against those on an exchanged fact,
over the heads that both edits reach. As published: the heads that recur in the rhyme prompts' lists by |Δattention|,
looked up in the facts' list. That is the one of :mod:`prolepsis.experiments.fact_routing`, of its pairs and patches:
the fact's last token is patched, block by block, and what counts is attention to the fact's tokens.
"""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prolepsis.edits import ReplaceRow
from prolepsis.experiments.carriers import DETECTABLE, Carriers, alone, find_carriers
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.fact_routing import Routings, n_listed, routings
from prolepsis.experiments.facts_asked import own_facts
from prolepsis.experiments.head_routing import Changes, routing
from prolepsis.experiments.mediation import Mediation, reached_heads, still
from prolepsis.experiments.rhyme_pairs import Pair, clusters_of
from prolepsis.experiments.routing_claims import routed_rows
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Support, Z, supports
from prolepsis.shams import reach_row
from prolepsis.statistics import overlap_probability
from prolepsis.subject import Subject
from prolepsis.watching import watched

Effects = Mapping[Head, float]
"""Head → its indirect effect, as a share of the whole."""

MIN_HEADS = 6
"""Fewer heads cannot be ranked against each other for anything, as fewer clusters are not judged by."""
SLIGHT = 0.01
"""Shares below this count as none, lest ranks be ranks of noise."""
PERMUTATIONS = 50
"""Per pair, of the facts' effects among the heads of each layer."""
RECURS = 2 / 5
"""The share of prompts whose lists a recurring head is in: the paper's 2 of 5."""
FACT_LAYER = 0
"""Where the subject's rows are exchanged: low enough for the heads of all layers above to have their part."""


@dataclass(frozen=True)
class Facts:
    """Exchanged facts: pairs, what each exchange is worth in nats, and by half the heads' mean indirect effects."""

    pairs: tuple[FactPair, ...]
    effects: tuple[float, ...]
    means: Mapping[int, Effects]

    def live(self) -> bool:
        """Whether there is an effect to be carried."""
        return statistics.fmean(self.effects) > DETECTABLE


def exchanged_facts(subject: Subject) -> Facts:
    """Exchange the subject of every fact pair at all its tokens together, and take heads out and put them in."""
    runs, pairs = subject.once(FactRuns), subject.once(own_facts)
    mediations = []
    for pair in watched(pairs, "pairs"):
        clean, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
        aligned = runs.align(pair, pair.donor).subject
        edit = [ReplaceRow(FACT_LAYER, at, donor.resid_post(FACT_LAYER)[source]) for at, source in aligned]
        mediations.append(Mediation(clean, edit, runs.option_ids(pair.donor)[0], reached_heads(clean, edit)))
    effects, lost, made = alone(mediations)
    by_pair = [shares(*one) for one in zip(effects, lost, made, strict=True)]
    means = {
        half: _mean([each for pair, each in zip(pairs, by_pair, strict=True) if pair.half == half]) for half in (0, 1)
    }
    return Facts(pairs, tuple(effects), means)


def shares(effect: float, lost: Effects, made: Effects) -> dict[Head, float]:
    """Per head the mean of what it loses and what it makes alone, as a share of ``effect`` (or of 1 nat, if less)."""
    whole = max(effect, DETECTABLE)
    each = {head: (lost[head] + made[head]) / 2 / whole for head in lost}
    return {head: share if abs(share) >= SLIGHT else 0.0 for head, share in each.items()}


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank (Spearman 1904); 0 where one side has but one value."""

    def ranks(values: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        x = np.asarray(values, dtype=np.float64)
        place = (x[:, None] > x).sum(1) + (x[:, None] == x).sum(1) / 2
        return np.asarray(place - place.mean())

    if not first:
        return 0.0
    a, b = ranks(first), ranks(second)
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else 0.0


@dataclass(frozen=True)
class _Overlap:
    """Rank correlation of one pair's effects with those on facts, over ``heads`` heads, with its ceiling and floor."""

    heads: int
    value: float
    ceiling: float
    floor: float


def shared_heads(subject: Subject) -> Measurement:
    """Rank correlation between the heads' indirect effects on rhymes and on facts, per rhyme pair.

    Arms: ``other rhymes`` (the correlation with the mean over the rhyme pairs of the other half: as much as two samples
    of one task agree) and ``permuted heads`` (facts' effects permuted among the heads of each layer: as much as layers
    alone make two tasks agree).
    """
    return _measurement(subject, "shared_heads")


def separate_heads(subject: Subject) -> Measurement:
    """The same correlation, for the claim that the tasks' heads differ; same arms."""
    return _measurement(subject, "separate_heads")


def _measurement(subject: Subject, name: str) -> Measurement:
    start = time.perf_counter()
    rhymes, facts = subject.once(find_carriers), subject.once(exchanged_facts)
    found = subject.once(_overlaps)
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="rank correlation",
        design="pairs-of-groups",
        parameters={
            **rhymes.parameters(),
            "facts": [pair.id for pair in facts.pairs],
            "fact layer": FACT_LAYER,
            "permutations": PERMUTATIONS,
        },
        values={pair: one.value for pair, one in found.items()},
        clusters=clusters_of(rhymes.pairs),
        arms={
            "other rhymes": {pair: one.ceiling for pair, one in found.items()},
            "permuted heads": {pair: one.floor for pair, one in found.items()},
        },
        detectable=tuple(pair for pair in rhymes.detectable() if facts.live() and found[pair].heads >= MIN_HEADS),
        reach={"rows": _rows(rhymes)},
        detail={
            "rhymes: share by head": _named(_mean([_rhyme_shares(rhymes, pair) for pair in rhymes.pairs])),
            "facts: share by head": _named(_mean(list(facts.means.values()))),
            "facts: mean effect, nats": statistics.fmean(facts.effects),
        },
        seconds=time.perf_counter() - start,
    )


def _overlaps(subject: Subject) -> dict[str, _Overlap]:
    rhymes, facts = subject.once(find_carriers), subject.once(exchanged_facts)
    by_half = {half: _mean([_rhyme_shares(rhymes, p) for p in rhymes.pairs if p.half != half]) for half in (0, 1)}
    found = {}
    for seed, pair in enumerate(watched(rhymes.pairs, "pairs")):
        own, other = _rhyme_shares(rhymes, pair), facts.means[pair.half]
        heads = [head for head in own if head in other]
        x = [own[head] for head in heads]
        found[pair.id] = _Overlap(
            heads=len(heads),
            value=spearman(x, [other[head] for head in heads]),
            ceiling=spearman(x, [by_half[pair.half].get(head, 0.0) for head in heads]),
            floor=statistics.fmean(spearman(x, permuted) for permuted in _permuted(heads, other, seed)),
        )
    return found


def _permuted(heads: Sequence[Head], effects: Effects, seed: int) -> list[list[float]]:
    """The heads' effects, permuted within each layer."""
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(PERMUTATIONS):
        shuffled: dict[Head, float] = {}
        for layer in {head.layer for head in heads}:
            here = [head for head in heads if head.layer == layer]
            shuffled |= zip(here, generator.permutation([effects[head] for head in here]).tolist(), strict=True)
        drawn.append([shuffled[head] for head in heads])
    return drawn


def _rhyme_shares(rhymes: Carriers, pair: Pair) -> dict[Head, float]:
    return shares(rhymes.redirects[pair.id], rhymes.lost[pair.id], rhymes.made[pair.id])


def _mean(effects: Sequence[Effects]) -> dict[Head, float]:
    """Mean per head; a head that an edit does not reach has no effect there."""
    heads = sorted({head for each in effects for head in each}, key=lambda head: (head.layer, head.index))
    return {head: statistics.fmean(each.get(head, 0.0) for each in effects) for head in heads}


def _named(effects: Effects) -> dict[str, float]:
    return {str(head): value for head, value in effects.items()}


def _rows(rhymes: Carriers) -> list[dict[str, object]]:
    """Whether the redirect reaches any head's output at the last position: per template and site, in the last layer."""
    rows: dict[tuple[str, tuple[Support, ...], Z], dict[str, object]] = {}
    for pair in rhymes.pairs:
        one = rhymes.mediations[pair.id]
        readout = Z(Head(one.clean.subject.n_layers - 1, 0), one.last)
        key = (pair.recipient.template.id, supports(one.edit), readout)
        if key not in rows:
            rows[key] = reach_row(one.clean, one.edit, readout)
    return list(rows.values())


def recurring_heads(subject: Subject) -> Measurement:
    """For each head that recurs in the rhyme prompts' lists by |Δattention|: 1 if it is on the facts' list, else 0.

    A list is as long, among all heads, as the paper's 10 of 512; the facts' list holds the heads found most often on
    the lists of single pairs and blocks. Recurring heads that no patched fact can shift could not be on it, and are not
    detectable. Arm ``chance``: the share of the heads both edits reach that is on the facts' list. The list is cut to
    its length before heads that rhymes do not reach are left out of that share: values are read off that very list,
    and others moving up would lengthen it. ``detail`` says how probable an empty intersection is by chance, and how
    long lists would have to be for it to mean something.
    """
    start = time.perf_counter()
    routed, facts = subject.once(routing).routed, subject.once(routings)
    length = n_listed(subject)
    counts = Counter(head for one in routed for head in _top(one.changes["both"], length, one.still))
    recurring = [head for head, times in counts.items() if times >= RECURS * len(routed)]
    listed = facts_list(facts, length, still(subject))
    shifting = {head for of in facts.values() for shifts in of.shifts for head in shifts}
    eligible = {head for one in routed for head in one.main.heads} & shifting
    able, there = [head for head in recurring if head in eligible], [head for head in listed if head in eligible]
    names = {str(head): head for head in recurring}
    overlap = overlap_probability(len({*able} & {*there}), len(able), len(there), len(eligible))
    return Measurement(
        experiment="recurring_heads",
        subject=subject.digest,
        unit="proportion",
        design="one-way",
        parameters={
            "prompts": [one.pair.id for one in routed],
            "facts": list(facts),
            "list": length,
            "recurs": RECURS,
        },
        values={name: float(head in listed) for name, head in names.items()},
        clusters={name: (name,) for name in names},
        arms={"chance": dict.fromkeys(map(str, able), len(there) / max(1, len(eligible)))},
        detectable=tuple(map(str, able)),
        reach={"rows": routed_rows(subject)},
        detail={
            "facts' list": [str(head) for head in listed],
            "eligible heads": len(eligible),
            "probability of so small an overlap": overlap.at_most,
            "lists that an empty overlap needs": telling_size(len(eligible)),
        },
        seconds=time.perf_counter() - start,
    )


def facts_list(facts: Routings, length: int, least: float) -> list[Head]:
    """The heads that lead most often, over all pairs and blocks, where they shift by ``least``; of equals the lower."""
    counts = Counter(
        head
        for of in facts.values()
        for shifts, leaders in zip(of.shifts, of.leaders, strict=True)
        for head in leaders
        if abs(shifts[head]) >= least
    )
    return sorted(counts, key=lambda head: (-counts[head], head.layer, head.index))[:length]


def telling_size(total: int) -> int:
    """The length of two equal lists, of ``total`` heads, from which an empty overlap has a probability below .05."""
    return next((n for n in range(1, total + 1) if overlap_probability(0, n, n, total).at_most < 0.05), total)


def _top(changes: Changes, length: int, least: float) -> list[Head]:
    moved = [head for head, change in changes.items() if abs(change) >= least]
    return sorted(moved, key=lambda head: -abs(changes[head]))[:length]
