"""Is a plan held at a site? Interchange of the residual row between two prompts that differ in the rhyme word.

A site is a position whose token is equal in both prompts and is not the last one, read at resid_post of a layer. Where
the recipient's row there is replaced by the donor's, and the donor's answer becomes more likely, that row carries what
will be written. Site and layer are chosen on half of the rhyme groups and tested on the other half, both ways.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prolepsis.controls import control_arms, mechanism_controls, once, random_row, reach_row, unembedding_direction
from prolepsis.edits import Add, ReplaceRow, Row
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, rhyme_pairs, task_of
from prolepsis.experiments.state_map import StateMap, state_map
from prolepsis.hooks import Read
from prolepsis.measurement import Measurement
from prolepsis.selection import Logits
from prolepsis.subject import Subject
from prolepsis.task import Prompt
from prolepsis.watching import watched

Place = tuple[int, int]
Values = Mapping[str, float]


@dataclass(frozen=True)
class Sites:
    """Interchange effects of every pair at every place (layer, position), and the sites chosen from them.

    ``effects`` maps pair id → place → nats; ``chosen`` maps (half tested, template id) → place.
    """

    pairs: tuple[Pair, ...]
    source: Mapping[str, int]
    effects: Mapping[str, Mapping[Place, float]]
    chosen: Mapping[tuple[int, str], Place]

    def of(self, pair: Pair) -> Place:
        """The site a pair is tested at, chosen on the other half of the groups."""
        return self.chosen[pair.half, pair.recipient.template.id]

    def measured(self, pair: Pair) -> float:
        """Interchange effect at the pair's site, in nats."""
        return self.effects[pair.id][self.of(pair)]

    def elsewhere(self, pair: Pair) -> float:
        """Mean interchange effect at the other eligible positions of the site's layer."""
        layer, site = self.of(pair)
        others = [
            effect
            for (at, position), effect in self.effects[pair.id].items()
            if at == layer and position not in (site, self.source[pair.id])
        ]
        return statistics.fmean(others)

    def at_source(self, pair: Pair) -> float:
        """Interchange effect of the rhyme word's own row at the site's layer."""
        return self.effects[pair.id][self.of(pair)[0], self.source[pair.id]]

    def folds(self) -> list[dict[str, list[str]]]:
        """Which groups chose the sites that which groups tested."""
        halves = [sorted({pair.recipient.group for pair in self.pairs if pair.half == half}) for half in (0, 1)]
        return [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)]

    def reach_rows(self, runs: Runs) -> list[dict[str, object]]:
        """Whether the wiring lets each tested site reach the last position's logits."""
        rows: dict[str, dict[str, object]] = {}
        for pair in self.pairs:
            (layer, site), recipient = self.of(pair), runs.clean(pair.recipient)
            last = len(recipient.tokens) - 1
            name = f"{pair.recipient.template.id}: L{layer}@{site} → logits@{last}"
            if name not in rows:
                swap = [ReplaceRow(layer, site, runs.clean(pair.donor).resid_post(layer)[site])]
                rows[name] = reach_row(recipient, swap, Logits(last), name=name)
        return list(rows.values())


def find_sites(subject: Subject) -> Sites:
    """Interchange every pair at every eligible place, and choose each half's sites by the other half's mean effect."""
    runs, pairs = once(subject, Runs), rhyme_pairs(task_of(subject))
    # A row of the last layer is read by its own position alone, so it can be no site unless it is the only layer.
    layers = range(max(1, subject.n_layers - 1))
    source = {pair.id: runs.source(pair) for pair in pairs}
    effects: dict[str, dict[Place, float]] = {}
    for pair in watched(pairs, "pairs"):
        recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
        places = [(at, p) for at in layers for p in range(source[pair.id], len(recipient.tokens) - 1)]
        rows: list[Row] = [[ReplaceRow(at, p, donor.resid_post(at)[p])] for at, p in places]
        token = runs.answer(pair.donor)
        out = recipient.edit([*rows, []]).log_odds(token)
        effects[pair.id] = dict(zip(places, (out[:-1] - out[-1]).tolist(), strict=True))
    chosen = {}
    for half in (0, 1):
        for template in {pair.recipient.template.id for pair in pairs}:
            seen = [p for p in pairs if p.half != half and p.recipient.template.id == template]
            eligible = [place for place in effects[seen[0].id] if place[1] != source[seen[0].id]]
            chosen[half, template] = max(
                eligible, key=lambda place: statistics.fmean(effects[pair.id][place] for pair in seen)
            )
    return Sites(pairs, source, effects, chosen)


def interchange_effects(subject: Subject) -> Values:
    """Pair id → interchange effect at its site, in nats."""
    sites = once(subject, find_sites)
    return {pair.id: sites.measured(pair) for pair in sites.pairs}


def hand_off_effects(subject: Subject) -> Values:
    """Pair id → how much more the site's row carries than the source word's row at the same layer, in nats."""
    sites = once(subject, find_sites)
    return {pair.id: sites.measured(pair) - sites.at_source(pair) for pair in sites.pairs}


def interchange(subject: Subject) -> Measurement:
    """Change in the donor answer's log-odds when the donor's row is put at the site, with its control arms.

    Arms: ``same-rhyme donor``, ``other positions``, ``donor's prompt`` (unedited: all there is to be carried, for a
    claim that the site carries nothing), ``untrained twin``, ``same behaviour``; rivals ``unembedding``
    and ``mean difference`` of equal norm; ``all positions`` (overlap with the donor's own next-token distribution);
    ``random row`` of the same norm; shams ``own row`` and ``unreachable row``; guard ``off-target KL`` (outside the
    two rhyme groups, from the nearer of the prompt's and the donor's clean distributions).
    """
    start = time.perf_counter()
    sites, runs = once(subject, find_sites), once(subject, Runs)
    arms: dict[str, dict[str, float]] = {}
    for index, pair in enumerate(sites.pairs):
        for name, value in _arms(subject, runs, sites, pair, index).items():
            arms.setdefault(name, {})[pair.id] = value
    arms["other positions"] = {pair.id: sites.elsewhere(pair) for pair in sites.pairs}
    return Measurement(
        experiment="interchange",
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters=parameters(sites),
        values=interchange_effects(subject),
        clusters=clusters_of(sites.pairs),
        arms={**arms, **control_arms(subject, interchange_effects, mechanism_controls(subject))},
        reach={"rows": sites.reach_rows(runs)},
        detail={
            "sites": _named(sites),
            "accuracy": runs.accuracy(sites.pairs),
            "state map": once(subject, _state_map).plain(),
        },
        seconds=time.perf_counter() - start,
    )


def hand_off(subject: Subject) -> Measurement:
    """By how many nats the site's row carries more than the source word's, from the site's layer on."""
    start = time.perf_counter()
    sites, runs = once(subject, find_sites), once(subject, Runs)
    others = {pair.id: sites.elsewhere(pair) - sites.at_source(pair) for pair in sites.pairs}
    return Measurement(
        experiment="hand_off",
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters=parameters(sites),
        values=hand_off_effects(subject),
        clusters=clusters_of(sites.pairs),
        arms={"other positions": others, **control_arms(subject, hand_off_effects, mechanism_controls(subject))},
        reach={"rows": sites.reach_rows(runs)},
        detail={
            "sites": _named(sites),
            "source row": {pair.id: sites.at_source(pair) for pair in sites.pairs},
            "site row": {pair.id: sites.measured(pair) for pair in sites.pairs},
            "state map": once(subject, _state_map).plain(),
        },
        seconds=time.perf_counter() - start,
    )


def parameters(sites: Sites) -> dict[str, object]:
    """What fixes the protocol of every experiment at these sites."""
    return {
        "pairs": [pair.id for pair in sites.pairs],
        "folds": sites.folds(),
        "site": "largest mean interchange effect on the other half, per template",
    }


def _state_map(subject: Subject) -> StateMap:
    return state_map(once(subject, find_sites), once(subject, Runs))


def _named(sites: Sites) -> dict[str, str]:
    return {
        f"{template}, half {half}": f"L{layer}@{position}"
        for (half, template), (layer, position) in sorted(sites.chosen.items())
    }


def _arms(subject: Subject, runs: Runs, sites: Sites, pair: Pair, seed: int) -> dict[str, float]:
    """The arms of one pair that need runs of their own."""
    layer, site = sites.of(pair)
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    token = runs.answer(pair.donor)

    def row_of(prompt: Prompt) -> torch.Tensor:
        return runs.clean(prompt).resid_post(layer)[site]

    swap = row_of(pair.donor) - row_of(pair.recipient)
    mean_difference = (row_of(pair.donor) + row_of(pair.donor_mate) - row_of(pair.recipient) - row_of(pair.mate)) / 2
    towards = unembedding_direction(subject, token).to(swap)
    rows: list[Row] = [
        [],
        [ReplaceRow(layer, site, row_of(pair.donor))],
        [ReplaceRow(layer, site, row_of(pair.mate))],
        [ReplaceRow(layer, p, donor.resid_post(layer)[p]) for p in range(len(donor.tokens))],
        [Add(layer, site, swap.norm() * towards)],
        [Add(layer, site, mean_difference)],
        [Add(layer, site, random_row(swap, seed))],
    ]
    out = recipient.edit(rows)
    odds = (out.log_odds(token) - out.log_odds(token)[0]).tolist()
    p = out.probabilities().double()
    of_donor = donor.read(Read())
    donors_own = of_donor.probabilities()[0].double()
    families = runs.family(pair.recipient) + runs.family(pair.donor)
    return {
        "same-rhyme donor": odds[2],
        "unembedding": odds[4],
        "mean difference": odds[5],
        "random row": odds[6],
        "donor's prompt": float(of_donor.log_odds(token)[0] - out.log_odds(token)[0]),
        "all positions": float(torch.minimum(p[3], donors_own).sum()),
        "off-target KL": min(off_target_kl(own, p[1], families) for own in (p[0], donors_own)),
        **_shams(subject, runs, pair, (layer, site)),
    }


def _shams(subject: Subject, runs: Runs, pair: Pair, place: Place) -> dict[str, float]:
    """Edits that must change nothing, against a clean batch of the same shape."""
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    (layer, site), top = place, subject.n_layers - 1
    rows: list[Row] = [
        [ReplaceRow(layer, site, recipient.resid_post(layer)[site])],
        [ReplaceRow(top, site, donor.resid_post(top)[site])],
    ]
    token = runs.answer(pair.donor)
    moved = recipient.edit(rows).log_odds(token) - recipient.unedited(rows).log_odds(token)
    return {"own row": float(moved[0]), "unreachable row": float(moved[1])}


def off_target_kl(clean: torch.Tensor, edited: torch.Tensor, on_target: list[int]) -> float:
    """KL(clean || edited) in nats between distributions [V] over the tokens outside ``on_target``, renormalised."""
    kept = torch.ones(len(clean), dtype=torch.bool)
    kept[on_target] = False
    p, q = clean[kept].clamp(min=1e-30), edited[kept].clamp(min=1e-30)
    p, q = p / p.sum(), q / q.sum()
    return float((p * (p / q).log()).sum())
