"""Which heads carry a redirect? Each is taken out and put in by itself, then the leading ones together.

The redirect is the interchange of the donor's row at the site (see :mod:`prolepsis.experiments.interchange`); the heads
are those whose output at the last position it can reach. Heads that stand in for each other lose little one by one and
much together, so the carriers are a set: the fewest heads, in the order of what they lose and make alone, that lose
most of the redirect together on one half of the rhyme groups. They are tested on the other half. How much a few heads
carry is another question: there the set is the five leading ones, whatever they lose.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prolepsis.edits import ReplaceRow
from prolepsis.experiments.mediation import Mediation, Outputs, log_odds, reached_heads
from prolepsis.experiments.rhyme_pairs import Pair, Runs
from prolepsis.experiments.sites import Sites, find_sites, parameters
from prolepsis.names import Head
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]

DETECTABLE = 1.0
"""A redirect of fewer nats is none; shares of it are taken of this much."""
MOST = 0.8
"""The share of the mean redirect that carriers lose together on the half they are chosen on."""
LEADING = 5
"""Heads of a set that is few by its size, not by what it loses: as many as are said to carry a plan elsewhere (Y05)."""
DRAWS = 3
"""Random sets of heads per pair."""


@dataclass(frozen=True)
class Carriers:
    """Every pair's redirect in nats, what each head alone loses and makes of it, and the heads chosen on either half.

    ``lost`` and ``made`` map pair id → head → nats: with that head's clean output under the edit, and with its edited
    output in the clean run. ``ranked`` maps the half tested → all heads as the other half ranks them, the leading one
    first, and ``chosen`` those of them that are the carriers by ``rule``.
    """

    sites: Sites
    pairs: tuple[Pair, ...]
    mediations: Mapping[str, Mediation]
    redirects: Values
    lost: Mapping[str, Mapping[Head, float]]
    made: Mapping[str, Mapping[Head, float]]
    ranked: Mapping[int, tuple[Head, ...]]
    chosen: Mapping[int, tuple[Head, ...]]
    rule: str = f"fewest heads that lose {MOST:g} of the mean redirect together on the other half"

    def leading(self) -> "Carriers":
        """The same with the five leading heads in the carriers' place."""
        few = {half: heads[:LEADING] for half, heads in self.ranked.items()}
        return replace(self, chosen=few, rule=f"{LEADING} leading heads of the other half")

    def share(self, pair: Pair, nats: float) -> float:
        """``nats`` as a share of the pair's redirect."""
        return nats / max(self.redirects[pair.id], DETECTABLE)

    def detectable(self) -> tuple[str, ...]:
        """The pairs that have a redirect to carry."""
        return tuple(pair for pair, nats in self.redirects.items() if nats > DETECTABLE)

    def heads_of(self, pair: Pair) -> tuple[tuple[Head, ...], tuple[Head, ...]]:
        """The carriers a pair is tested with, and the other heads its redirect reaches."""
        heads = self.mediations[pair.id].heads
        carriers = tuple(head for head in self.chosen[pair.half] if head in heads)
        return carriers, tuple(head for head in heads if head not in carriers)

    def random_heads(self, pair: Pair) -> list[tuple[Head, ...]]:
        """Sets of as many heads as the pair has carriers, drawn from all that its redirect reaches."""
        carriers, others = self.heads_of(pair)
        heads = (*carriers, *others)
        generator = np.random.default_rng(self.pairs.index(pair))
        draws = [generator.permutation(len(heads))[: len(carriers)] for _ in range(DRAWS)]
        return [tuple(heads[at] for at in draw) for draw in draws]

    def shares(self, nats: Mapping[str, Mapping[Head, float]]) -> dict[str, float]:
        """Mean share of the redirect per head, of ``lost`` or ``made``, over all pairs."""
        found: dict[str, list[float]] = {}
        for pair in self.pairs:
            for head, value in nats[pair.id].items():
                found.setdefault(str(head), []).append(self.share(pair, value))
        return {head: statistics.fmean(values) for head, values in found.items()}

    def named(self) -> dict[str, list[str]]:
        """The carriers of each half, as a reader sees them."""
        return {f"half {half}": [str(head) for head in heads] for half, heads in sorted(self.chosen.items())}

    def parameters(self) -> dict[str, object]:
        """What fixes the protocol of every experiment on these carriers."""
        return {
            **parameters(self.sites),
            "pairs": [pair.id for pair in self.pairs],
            "carriers": self.rule,
            "random sets": DRAWS,
        }


def find_carriers(subject: Subject) -> Carriers:
    """Redirect one pair per rhyme group at its site, and choose the heads each half is tested with."""
    sites, runs = subject.once(find_sites), subject.once(Runs)
    # The first pairs have every group once on either side: as many clusters as all of them.
    pairs = sites.pairs[: len(sites.pairs) // 2]
    mediations = {pair.id: _redirect(sites, runs, pair) for pair in watched(pairs, "pairs")}
    redirects, lost, made = alone([mediations[pair.id] for pair in pairs])
    names = [pair.id for pair in pairs]
    ranked, chosen = {}, {}
    for half in (0, 1):
        seen = [index for index, pair in enumerate(pairs) if pair.half != half]
        ranked[half] = _ranked([lost[index] for index in seen], [made[index] for index in seen])
        chosen[half] = _choose(
            [mediations[names[index]] for index in seen], [redirects[index] for index in seen], ranked[half]
        )
    return Carriers(
        sites=sites,
        pairs=pairs,
        mediations=mediations,
        redirects=dict(zip(names, redirects, strict=True)),
        lost=dict(zip(names, lost, strict=True)),
        made=dict(zip(names, made, strict=True)),
        ranked=ranked,
        chosen=chosen,
    )


def alone(mediations: Sequence[Mediation]) -> tuple[list[float], list[dict[Head, float]], list[dict[Head, float]]]:
    """Per mediation: its effect in nats, what each head's clean output takes from it, and what its edited one makes."""
    edited = log_odds([(one, [{head: one.clean_z[head]} for head in one.heads]) for one in mediations], edited=True)
    clean = log_odds([(one, [{head: one.edited_z[head]} for head in one.heads]) for one in mediations], edited=False)
    effects, lost, made = [], [], []
    for one, (top, *without), (floor, *by_itself) in zip(mediations, edited, clean, strict=True):
        effects.append(top - floor)
        lost.append({head: top - odds for head, odds in zip(one.heads, without, strict=True)})
        made.append({head: odds - floor for head, odds in zip(one.heads, by_itself, strict=True)})
    return effects, lost, made


def _redirect(sites: Sites, runs: Runs, pair: Pair) -> Mediation:
    layer, site = sites.of(pair)
    clean = runs.clean(pair.recipient)
    edit = [ReplaceRow(layer, site, runs.clean(pair.donor).resid_post(layer)[site])]
    return Mediation(clean, edit, runs.answer(pair.donor), reached_heads(clean, edit))


def _ranked(lost: Sequence[Mapping[Head, float]], made: Sequence[Mapping[Head, float]]) -> tuple[Head, ...]:
    """Heads by the mean of what they lose and what they make, the leading one first."""
    heads = sorted({head for found in lost for head in found}, key=lambda head: (head.layer, head.index))
    total = {
        head: sum(found.get(head, 0.0) for found in lost) + sum(found.get(head, 0.0) for found in made)
        for head in heads
    }
    return tuple(sorted(heads, key=lambda head: -total[head]))


def _choose(mediations: Sequence[Mediation], redirects: Sequence[float], ranked: tuple[Head, ...]) -> tuple[Head, ...]:
    """The fewest leading heads that lose most of the redirect together; the leading one where there is no redirect."""
    if not ranked or statistics.fmean(redirects) < DETECTABLE:
        return ranked[:1]

    def leading(one: Mediation, n: int) -> Outputs:
        return {head: one.clean_z[head] for head in ranked[:n] if head in one.heads}

    asked = [(one, [leading(one, n) for n in range(1, len(ranked) + 1)]) for one in mediations]
    odds = log_odds(asked, edited=True)
    for n in range(1, len(ranked)):
        if statistics.fmean(found[0] - found[n] for found in odds) >= MOST * statistics.fmean(redirects):
            return ranked[:n]
    return ranked
