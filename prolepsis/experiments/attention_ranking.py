"""Whether a change of attention tells the heads that carry a redirect from those that do not."""

import statistics
import time
from collections.abc import Mapping, Sequence

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.directions import random_row
from prolepsis.edits import ReplaceRow
from prolepsis.experiments.carriers import Carriers, find_carriers
from prolepsis.experiments.mediation import Mediation, still
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]


def attention_ranking(subject: Subject) -> Measurement:
    """Area under the ROC curve of |Δattention| to the site as a classifier of carriers, with its control arms.

    Per pair: the chance that the attention of a carrier (chosen on the other half) from the last position to the site
    changes more under the redirect than that of another head. Arms: ``random heads`` (as if they were the carriers),
    ``random edit`` (a random change of the site's row, of equal norm), ``untrained twin``, ``same behaviour``.
    """
    start = time.perf_counter()
    found = subject.once(find_carriers)
    arms: dict[str, dict[str, float]] = {"random heads": {}, "random edit": {}}
    for seed, pair in enumerate(found.pairs):
        moved = _changes(found, pair)
        arms["random heads"][pair.id] = statistics.fmean(
            area_under_curve(moved, heads) for heads in found.random_heads(pair)
        )
        arms["random edit"][pair.id] = area_under_curve(_random_changes(found, pair, seed), found.heads_of(pair)[0])
    told_apart = [pair.id for pair in found.pairs if all(found.heads_of(pair))]
    return Measurement(
        experiment="attention_ranking",
        subject=subject.digest,
        unit="AUROC",
        design="pairs-of-groups",
        parameters=found.parameters(),
        values=attention_areas(subject),
        clusters=clusters_of(found.pairs),
        arms={**arms, **control_arms(subject, attention_areas, mechanism_controls(subject))},
        detectable=tuple(pair for pair in found.detectable() if pair in told_apart),
        reach={"rows": found.sites.reach_rows(subject.once(Runs))},
        detail={
            "carriers": found.named(),
            "mean |Δattention|": _mean_changes(found),
            "lost by each head": found.shares(found.lost),
        },
        seconds=time.perf_counter() - start,
    )


def attention_areas(subject: Subject) -> Values:
    """Pair id → area under the ROC curve of |Δattention| as a classifier of carriers."""
    found = subject.once(find_carriers)
    return {
        pair.id: area_under_curve(_changes(found, pair), found.heads_of(pair)[0])
        for pair in watched(found.pairs, "pairs")
    }


def area_under_curve(scores: Mapping[Head, float], positives: Sequence[Head]) -> float:
    """Chance that a positive head scores above another one, ties counting half; .5 where there is nothing to tell."""
    inside = [scores[head] for head in positives]
    outside = [score for head, score in scores.items() if head not in positives]
    if not (inside and outside):
        return 0.5
    return statistics.fmean((a > b) + (a == b) / 2 for a in inside for b in outside)


def _changes(found: Carriers, pair: Pair) -> dict[Head, float]:
    """|Δattention| from the last position to the site, under the pair's redirect."""
    one, (_, site) = found.mediations[pair.id], found.sites.of(pair)
    return _sizes(one, one.attention_change(site))


def _random_changes(found: Carriers, pair: Pair, seed: int) -> dict[Head, float]:
    """The same when the site's row changes at random, by as much as the donor's differs."""
    one, (layer, site) = found.mediations[pair.id], found.sites.of(pair)
    row, donor = one.clean.resid_post(layer)[site], one.edit[0]
    assert isinstance(donor, ReplaceRow)
    noise = ReplaceRow(layer, site, row + random_row(donor.value - row, seed))
    read = Read((), patterns=tuple((head, one.last) for head in one.heads))
    edited = one.clean.edit([[noise]], read).patterns
    moved = [edited[head, one.last][0, site] - one.pattern(0, head)[site] for head in one.heads]
    changes: list[float] = torch.stack(moved).tolist() if moved else []
    return _sizes(one, dict(zip(one.heads, changes, strict=True)))


def _sizes(one: Mediation, changes: Mapping[Head, float]) -> dict[Head, float]:
    """Their sizes, 0 for those that are none."""
    least = still(one.clean.subject)
    return {head: abs(change) if abs(change) >= least else 0.0 for head, change in changes.items()}


def _mean_changes(found: Carriers) -> dict[str, float]:
    changes: dict[str, list[float]] = {}
    for pair in found.pairs:
        for head, change in _changes(found, pair).items():
            changes.setdefault(str(head), []).append(change)
    return {head: statistics.fmean(each) for head, each in changes.items()}
