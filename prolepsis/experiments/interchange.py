"""Is a plan held at a site? Interchange of the residual row between two prompts that differ in the rhyme word.

A site is a position whose token is equal in both prompts and is not the last one, read at resid_post of a layer. Where
the recipient's row there is replaced by the donor's, and the donor's answer becomes more likely, that row carries what
will be written. Site and layer are chosen on half of the rhyme groups and tested on the other half, both ways.
"""

import time
from collections.abc import Mapping

import torch
from torch.nn.functional import normalize

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.directions import random_row, unembedding_direction
from prolepsis.edits import Add, ReplaceRow, Row
from prolepsis.experiments.divergences import off_target_kl
from prolepsis.experiments.group_means import mean_differences
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, one_per_template
from prolepsis.experiments.sites import Place, Sites, find_sites, parameters
from prolepsis.experiments.state_map import StateMap, state_map
from prolepsis.measurement import Measurement
from prolepsis.running.hooks import Read
from prolepsis.shams import moved_log_odds
from prolepsis.subject import Subject
from prolepsis.subjects.task import Prompt

Values = Mapping[str, float]


def interchange_effects(subject: Subject) -> Values:
    """Pair id → interchange effect at its site, in nats."""
    sites = subject.once(find_sites)
    return {pair.id: sites.measured(pair) for pair in sites.pairs}


def hand_off_effects(subject: Subject) -> Values:
    """Pair id → how much more the site's row carries than the source word's row at the same layer, in nats."""
    sites = subject.once(find_sites)
    return {pair.id: sites.measured(pair) - sites.at_source(pair) for pair in sites.pairs}


def interchange(subject: Subject) -> Measurement:
    """Change in the donor answer's log-odds when the donor's row is put at the site, with its control arms.

    Arms: ``same-rhyme donor``, ``other positions``, ``donor's prompt`` (unedited: all there is to be carried, for a
    claim that the site carries nothing), ``untrained twin``, ``same behaviour``; rivals ``unembedding`` and ``mean
    difference`` (of the other words of the two rhyme groups) of equal norm; ``all positions`` (overlap with the donor's
    own next-token distribution); ``random row`` of the same norm; shams ``own row`` and ``unreachable row``, in one
    pair per template; guard ``off-target KL`` (outside the two rhyme groups, from the nearer of the prompt's and the
    donor's clean distributions).
    """
    start = time.perf_counter()
    sites, runs = subject.once(find_sites), subject.once(Runs)
    arms: dict[str, dict[str, float]] = {}
    for index, pair in enumerate(sites.pairs):
        for name, value in _arms(subject, runs, sites, pair, index).items():
            arms.setdefault(name, {})[pair.id] = value
    for pair in one_per_template(sites.pairs):
        for name, moved in _shams(subject, runs, pair, sites.of(pair)).items():
            arms.setdefault(name, {})[pair.id] = moved
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
            "sites": sites.named(),
            "accuracy": runs.accuracy(sites.pairs),
            "state map": subject.once(_state_map).plain(),
        },
        seconds=time.perf_counter() - start,
    )


def hand_off(subject: Subject) -> Measurement:
    """By how many nats the site's row carries more than the source word's, from the site's layer on."""
    start = time.perf_counter()
    sites, runs = subject.once(find_sites), subject.once(Runs)
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
            "sites": sites.named(),
            "source row": {pair.id: sites.at_source(pair) for pair in sites.pairs},
            "site row": {pair.id: sites.measured(pair) for pair in sites.pairs},
            "state map": subject.once(_state_map).plain(),
        },
        seconds=time.perf_counter() - start,
    )


def _state_map(subject: Subject) -> StateMap:
    return state_map(subject.once(find_sites), subject.once(Runs))


def _arms(subject: Subject, runs: Runs, sites: Sites, pair: Pair, seed: int) -> dict[str, float]:
    """The arms of one pair that need runs of their own."""
    layer, site = sites.of(pair)
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    token = runs.answer(pair.donor)

    def row_of(prompt: Prompt) -> torch.Tensor:
        return runs.clean(prompt).resid_post(layer)[site]

    swap = row_of(pair.donor) - row_of(pair.recipient)
    between_groups = normalize(subject.once(mean_differences)[pair.id].to(swap), dim=0)
    towards = unembedding_direction(subject, token).to(swap)
    rows: list[Row] = [
        [],
        [ReplaceRow(layer, site, row_of(pair.donor))],
        [ReplaceRow(layer, site, row_of(pair.mate))],
        [ReplaceRow(layer, p, donor.resid_post(layer)[p]) for p in range(len(donor.tokens))],
        [Add(layer, site, swap.norm() * towards)],
        [Add(layer, site, swap.norm() * between_groups)],
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
    }


def _shams(subject: Subject, runs: Runs, pair: Pair, place: Place) -> dict[str, float]:
    """Edits that must change nothing, against a clean batch of the same shape."""
    recipient, donor = runs.clean(pair.recipient), runs.clean(pair.donor)
    (layer, site), top = place, subject.n_layers - 1
    rows: list[Row] = [
        [ReplaceRow(layer, site, recipient.resid_post(layer)[site])],
        [ReplaceRow(top, site, donor.resid_post(top)[site])],
    ]
    own, unreachable = moved_log_odds(recipient, rows, runs.answer(pair.donor))
    return {"own row": own, "unreachable row": unreachable}
