"""Does the difference of two rhyme groups' means, added at the site, change the rhyme? Needs no transcoder.

The means are of the groups' other words, so that what steers is what the words of a group share; and what it can raise
is the rhyme, any word of the donor's group, not the one that the donor's prompt calls for. The dose is where gain less
off-target KL is largest on half of the rhyme groups, and is used on the other half, both ways; no other method caps it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from prolepsis.controls import control_arms
from prolepsis.directions import random_row
from prolepsis.edits import Add, Row
from prolepsis.experiments.divergences import off_target_kl
from prolepsis.experiments.dose_paths import Path, Paths, Use, mean_curve, reference_use
from prolepsis.experiments.group_means import mean_differences
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of
from prolepsis.experiments.sites import Place, find_sites, parameters
from prolepsis.experiments.steering import DOSES, zero_dose
from prolepsis.measurement import Measurement
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor
Values = dict[str, float]

AT_SITE = "at the site"
"""The one variant there is: where the difference is added."""


@dataclass(frozen=True)
class MeanSteering:
    """The paths of every pair by arm, and the dose that each half is tested with."""

    pairs: tuple[Pair, ...]
    paths: Mapping[str, Paths]
    uses: Mapping[int, Use]

    def gains(self, arm: str) -> Values:
        """Pair id → gain at the dose chosen on the other half, in nats."""
        return {pair.id: self._path(arm, pair).gains[self.uses[pair.half].largest] for pair in self.pairs}

    def costs(self, arm: str) -> Values:
        """Pair id → off-target KL at that dose, in nats."""
        return {pair.id: self._path(arm, pair).costs[self.uses[pair.half].largest] for pair in self.pairs}

    def _path(self, arm: str, pair: Pair) -> Path:
        return self.paths[arm][AT_SITE][pair.id]


def steer_by_means(subject: Subject) -> MeanSteering:
    """Steer every pair by the difference of means, and by a random row of its norm, at every dose."""
    sites, runs, means = subject.once(find_sites), subject.once(Runs), subject.once(mean_differences)
    by_arm: dict[str, dict[str, Path]] = {"mean difference": {}, "random row": {}}
    for seed, pair in enumerate(watched(sites.pairs, "pairs")):
        vectors = [means[pair.id], random_row(means[pair.id], seed)]
        for arm, path in zip(by_arm, _paths(runs, pair, sites.of(pair), vectors), strict=True):
            by_arm[arm][pair.id] = path
    paths = {arm: {AT_SITE: of_arm} for arm, of_arm in by_arm.items()}
    others = {half: [pair.id for pair in sites.pairs if pair.half != half] for half in (0, 1)}
    uses = {half: reference_use(paths["mean difference"], seen) for half, seen in others.items()}
    return MeanSteering(sites.pairs, paths, uses)


def _paths(runs: Runs, pair: Pair, place: Place, vectors: Sequence[Tensor]) -> list[Path]:
    """The path of each of ``vectors`` [d] at ``place``: gains up to the rhyme's log-odds in the donor's own run."""
    (layer, site), rhyme = place, runs.family(pair.donor)
    edits: list[Row] = [[Add(layer, site, dose * vector)] for vector in vectors for dose in DOSES]
    out, of_donor = runs.clean(pair.recipient).edit([[], *edits]), runs.clean(pair.donor).read(Read())
    natural, odds = float(rhyme_odds(of_donor.last_logits, rhyme)), rhyme_odds(out.last_logits, rhyme).tolist()
    gains = [min(value, max(natural, odds[0])) - odds[0] for value in odds[1:]]
    p, donors_own = out.probabilities().double(), of_donor.probabilities()[0].double()
    families = runs.family(pair.recipient) + rhyme
    costs = [min(off_target_kl(own, edited, families) for own in (p[0], donors_own)) for edited in p[1:]]
    starts = range(0, len(edits), len(DOSES))
    return [Path((0.0, *gains[i : i + len(DOSES)]), (0.0, *costs[i : i + len(DOSES)])) for i in starts]


def rhyme_odds(logits: Tensor, words: Sequence[int]) -> Tensor:
    """Log-odds in nats [B] that one of ``words`` is next, by ``logits`` [B, V], in float64."""
    of_words = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
    of_words[list(words)] = True
    exact = logits.double()
    return exact[:, of_words].logsumexp(-1) - exact[:, ~of_words].logsumexp(-1)


def mean_gains(subject: Subject) -> Values:
    """Pair id → gain of the donor's rhyme by the difference of the two groups' means, in nats."""
    return subject.once(steer_by_means).gains("mean difference")


def mean_steering(subject: Subject) -> Measurement:
    """Gain in the log-odds of the donor's rhyme group by the difference of the two groups' means at the site.

    Arms: ``random row`` of equal norm at the same dose, ``untrained twin``; sham ``zero dose``; guard ``off-target KL``
    (outside the two rhyme groups, from the nearer of the prompt's and the donor's clean distributions).
    """
    start, found, sites = time.perf_counter(), subject.once(steer_by_means), subject.once(find_sites)
    return Measurement(
        experiment="mean_steering",
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters={**parameters(sites), "doses": list(DOSES), "dose": "largest gain less cost on the other half"},
        values=mean_gains(subject),
        clusters=clusters_of(found.pairs),
        arms={
            "random row": found.gains("random row"),
            "off-target KL": found.costs("mean difference"),
            "zero dose": subject.once(zero_dose),
            **control_arms(subject, mean_gains, {"untrained twin": subject.twin}),
        },
        reach={"rows": sites.reach_rows(subject.once(Runs))},
        detail={
            "sites": sites.named(),
            "dose": {f"half {half}": (0.0, *DOSES)[use.largest] for half, use in found.uses.items()},
            "by dose": {arm: mean_curve(paths, [p.id for p in found.pairs]) for arm, paths in found.paths.items()},
        },
        seconds=time.perf_counter() - start,
    )
