"""The paper's routing heads: whose attention to the site changes under suppress + inject there (section 6, appendix E).

Features are written at the site as in the position sweep: the natural group's suppressed, another group's injected.
Δattention is what a head's attention from the last position to the site gains by it. The main strength is the weakest,
in units of a word feature's typical activation, that redirects the other half of the rhyme groups at all.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from prolepsis.directions import matched_random, unembedding_direction
from prolepsis.edits import Row
from prolepsis.engine import CleanRun
from prolepsis.experiments.mediation import Mediation, log_odds, reached_heads, still
from prolepsis.experiments.position_sweep import strength_unit, sweeps, word_features
from prolepsis.experiments.rhyme_pairs import Pair, Runs, check_halves, task_of
from prolepsis.experiments.sites import find_sites
from prolepsis.names import Head
from prolepsis.reach import reach_each
from prolepsis.reachability.selection import Pattern, supports
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject, transcoder_of
from prolepsis.watching import watched
from prolepsis.writes import Writes, summed, write_at

Values = Mapping[str, float]
Changes = Mapping[Head, float]
"""Head → Δattention from the last position to the site."""

DETECTABLE = 1.0
"""A redirect of fewer nats is none."""
DOSES = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Strengths the main one is chosen among, in units of a word feature's typical activation."""
STRENGTHS = tuple(k / 6 for k in range(1, 13))
"""The paper's sweep, 12 strengths up to 20 where the main one is 10, in units of the main strength."""
LISTED = 10 / 208
"""The paper's list of top heads as a share of all of them."""
RANDOM = tuple(f"random {draw}" for draw in range(4))
"""Arms of random writes."""
RANDOM_STRENGTHS = (1 / 3, 1.5, 2.0)
"""Where random writes are compared with the sweep, in units of the main strength."""


@dataclass(frozen=True)
class Routed:
    """One pair's Δattention and log-odds of the injected word, in nats, by arm.

    Arms: ``both`` (suppress + inject at the main strength), ``suppress`` and ``inject`` alone, those of :data:`RANDOM`
    (norm and projection on the word matched in every layer), ``random suppress`` (such a write in the suppression's
    place, the injection kept) and ``random suppress alone``, and some followed by ``×k``, a multiple of the main
    strength. ``reached`` says how many layers' attention to the site ``both``, ``suppress`` and ``inject`` reach.
    """

    pair: Pair
    site: int
    main: Mediation
    changes: Mapping[str, Changes]
    odds: Values
    reached: Mapping[str, int]

    @property
    def redirect(self) -> float:
        """What the main edit gives the injected word, in nats."""
        return self.odds["both"] - self.odds["clean"]

    @property
    def still(self) -> float:
        """Attention that changes by less does not change."""
        return still(self.main.clean.subject)

    @property
    def combined(self) -> bool:
        """Whether suppression and injection each reach some attention.

        Where one does not, as where no word of the natural group has a feature to suppress, both move exactly what the
        other moves: what either adds cannot be told.
        """
        return self.reached["suppress"] > 0 < self.reached["inject"]

    def total(self, arm: str) -> float:
        """Σ|Δattention| over the heads the main edit reaches."""
        return sum(map(abs, self.changes[arm].values()))


@dataclass(frozen=True)
class Routing:
    """The routed pairs, the main strength of each half and its top head by mean |Δattention|, from the other half."""

    routed: tuple[Routed, ...]
    doses: Mapping[int, float]
    tops: Mapping[tuple[int, str], Head | None]

    def top(self, one: Routed, arm: str = "both") -> float:
        """|Δattention| of the head that is top on the other half under the same arm."""
        return abs(one.changes[arm].get(self.top_head(one, arm), 0.0))

    def top_head(self, one: Routed, arm: str = "both") -> Head:
        """The head that is top on the other half; one that the edit does not reach where there is none."""
        return self.tops[one.pair.half, arm] or Head(0, 0)

    def ranked(self, one: Routed, arm: str = "both") -> list[Head]:
        """The heads by their mean |Δattention| on the other half under the same arm, the top one first."""
        return _ranked([other.changes[arm] for other in self.routed if other.pair.half != one.pair.half])

    def detectable(self) -> tuple[str, ...]:
        """The pairs that the main edit redirects."""
        return tuple(one.pair.id for one in self.routed if one.redirect > DETECTABLE)

    def combined(self) -> tuple[Routed, ...]:
        """The pairs that can tell what suppression and injection do together."""
        return tuple(one for one in self.routed if one.combined)


def routing(subject: Subject) -> Routing:
    """Write features at the site of one pair per rhyme group, and read where all heads look."""
    sites, found = subject.once(find_sites), subject.once(sweeps)
    pairs = [pair for pair in sites.pairs[: len(sites.pairs) // 2] if pair.id in found]
    check_halves(subject, pairs)
    writes = {pair.id: _writes(subject, pair) for pair in pairs}
    doses = _doses(subject, pairs, writes)
    routed = tuple(
        _routed(subject, pair, writes[pair.id], doses[pair.half], seed)
        for seed, pair in enumerate(watched(pairs, "pairs"))
    )
    tops = {
        (half, arm): _top([one.changes[arm] for one in routed if one.pair.half != half])
        for half in (0, 1)
        for arm in routed[0].changes
    }
    return Routing(routed, doses, tops)


def lost_by_head(subject: Subject) -> dict[str, dict[Head, float]]:
    """Pair id → head → nats of the paper's own redirect lost with that head's clean output at the last position."""
    routed = subject.once(routing).routed
    odds = log_odds(
        [(one.main, [{head: one.main.clean_z[head]} for head in one.main.heads]) for one in routed], edited=True
    )
    return {
        one.pair.id: {head: top - value for head, value in zip(one.main.heads, without, strict=True)}
        for one, (top, *without) in zip(routed, odds, strict=True)
    }


@dataclass(frozen=True)
class _Features:
    """What is written for one pair at a strength of 1: a vector [d] per layer."""

    word: str
    suppress: Writes
    inject: Writes


def _writes(subject: Subject, pair: Pair) -> _Features:
    task, features, unit = task_of(subject), subject.once(word_features), subject.once(strength_unit)
    sweep, transcoder = subject.once(sweeps)[pair.id], transcoder_of(subject)
    natural = [features[word] for word in task.groups[pair.recipient.group] if word in features]
    return _Features(sweep.word, transcoder.writes(natural, -unit), transcoder.writes([sweep.feature], unit))


def _doses(subject: Subject, pairs: Sequence[Pair], writes: Mapping[str, _Features]) -> dict[int, float]:
    """Per half the weakest strength that redirects the other half's pairs, or the one that comes nearest to it."""
    sites, runs = subject.once(find_sites), subject.once(Runs)
    effects: dict[int, list[list[float]]] = {0: [], 1: []}
    for pair in watched(pairs, "pairs"):
        both, site = summed(writes[pair.id].suppress, writes[pair.id].inject), sites.of(pair)[1]
        out = runs.clean(pair.recipient).edit([[], *(write_at(site, both, dose) for dose in DOSES)])
        clean, *odds = out.log_odds(subject.word_id(writes[pair.id].word)).tolist()
        effects[1 - pair.half].append([value - clean for value in odds])
    means = {half: [statistics.fmean(column) for column in zip(*rows, strict=True)] for half, rows in effects.items()}
    return {
        half: next(
            (dose for dose, nats in zip(DOSES, mean, strict=True) if nats > DETECTABLE), DOSES[mean.index(max(mean))]
        )
        for half, mean in means.items()
    }


def _routed(subject: Subject, pair: Pair, features: _Features, dose: float, seed: int) -> Routed:
    clean, site = subject.once(Runs).clean(pair.recipient), subject.once(find_sites).of(pair)[1]
    token = subject.word_id(features.word)
    towards = unembedding_direction(subject, token).cpu()
    both = summed(features.suppress, features.inject)
    random = {arm: matched_random(both, towards, len(RANDOM) * seed + draw) for draw, arm in enumerate(RANDOM)}
    in_its_place = matched_random(features.suppress, towards, seed)
    arms = {
        "both": write_at(site, both, dose),
        "suppress": write_at(site, features.suppress, dose),
        "inject": write_at(site, features.inject, dose),
        "random suppress": write_at(site, summed(in_its_place, features.inject), dose),
        "random suppress alone": write_at(site, in_its_place, dose),
        **{f"both ×{k:.3g}": write_at(site, both, k * dose) for k in STRENGTHS},
        **{arm: write_at(site, writes, dose) for arm, writes in random.items()},
        **{
            f"{arm} ×{k:.3g}": write_at(site, writes, k * dose)
            for arm, writes in random.items()
            for k in RANDOM_STRENGTHS
        },
    }
    heads, last = reached_heads(clean, arms["both"]), len(clean.tokens) - 1
    out = clean.edit([[], *arms.values()], Read(patterns=tuple((head, last) for head in heads)))
    at_site = [out.patterns[head, last][:, site] for head in heads]
    weights = torch.stack(at_site, dim=1) if at_site else torch.zeros(1 + len(arms), 0)  # [B, heads]
    moved = (weights[1:] - weights[0]).tolist()
    return Routed(
        pair=pair,
        site=site,
        main=Mediation(clean, arms["both"], token, heads),
        changes={arm: dict(zip(heads, changes, strict=True)) for arm, changes in zip(arms, moved, strict=True)},
        odds=dict(zip(("clean", *arms), out.log_odds(token).tolist(), strict=True)),
        reached={arm: _layers_reached(clean, arms[arm], site) for arm in ("both", "suppress", "inject")},
    )


def _layers_reached(clean: CleanRun, edit: Row, site: int) -> int:
    """In how many layers the wiring lets ``edit`` change attention from the last position to the site.

    Heads that cannot see the site may still be reached by way of other positions.
    """
    subject, last = clean.subject, len(clean.tokens) - 1
    attention = [Pattern(Head(layer, 0), last, site) for layer in range(subject.n_layers)]
    return sum(found.answer for found in reach_each(subject.wiring, supports(edit), attention, tokens=clean.tokens))


def _top(changes: Sequence[Changes]) -> Head | None:
    """The head of largest mean |Δattention|, None where no head is reached."""
    return next(iter(_ranked(changes)), None)


def _ranked(changes: Sequence[Changes]) -> list[Head]:
    heads = sorted({head for each in changes for head in each}, key=lambda head: (head.layer, head.index))
    return sorted(heads, key=lambda head: -sum(abs(each.get(head, 0.0)) for each in changes))
