"""Does steering a plan need a transcoder? Every method acts at the same site and may spend the same off-target KL.

A method adds vectors at the pair's site in growing doses. Its gain is the target's, in nats of log-odds, up to what the
target has in the donor's own run; its cost is the KL of the edited distribution from the clean one in which the two
rhyme groups together are one outcome. The transcoder's variants: ``active features``, the change of the site's feature
activations from the prompt's to the donor's; ``word features``, suppress the natural group's and inject the target's.
Residual methods: the ``residual difference`` of donor and prompt, at any layer (up to dose 1 the ``interchange`` of the
two rows), the ``mean difference`` of the other words of the two rhyme groups, and the target's ``unembedding``
direction.

The transcoder is used where gain less cost is largest, and what that costs on a pair is what every other method may
spend on it. Variant, dose and site are chosen on half of the rhyme groups and used on the other half, both ways.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from prolepsis.controls import control_arms
from prolepsis.directions import matched_random, random_row, unembedding_direction
from prolepsis.edits import Add
from prolepsis.experiments.divergences import lumped_kl
from prolepsis.experiments.dose_paths import Path, Paths, Use, best_use, budgets, gains, mean_curve, reference_use
from prolepsis.experiments.feature_activity import Activity, weights_of
from prolepsis.experiments.group_means import mean_differences
from prolepsis.experiments.position_sweep import strength_unit, word_features
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, one_per_template, task_of
from prolepsis.experiments.sites import Sites, find_sites, parameters
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.running.readings import Readings
from prolepsis.shams import moved_log_odds
from prolepsis.subject import Subject
from prolepsis.subjects.task import Task
from prolepsis.watching import watched
from prolepsis.writes import Writes, write_at

Tensor = torch.Tensor
Values = dict[str, float]

DOSES = (0.5, 1.0, 2.0)
"""Of a method's natural unit: the features' change of activation, or for word features their typical activation; the
difference of rows or means, or for the unembedding direction its norm."""
METHODS = {
    "transcoder": "transcoder",
    "interchange": "residual difference",
    **{
        name: name for name in ("residual difference", "mean difference", "unembedding", "matched random", "random row")
    },
}
"""Arm → the method whose paths it uses; the interchange of two rows is their difference, added up to dose 1."""


@dataclass(frozen=True)
class Steering:
    """All paths of a subject's pairs by method, and how each arm is used on a half: chosen on the other half."""

    pairs: tuple[Pair, ...]
    paths: Mapping[str, Paths]
    uses: Mapping[int, Mapping[str, Use]]

    def gains(self, arm: str) -> Values:
        """Pair id → gain of an arm within what the transcoder spends on that pair, in nats."""
        found: Values = {}
        for half, uses in self.uses.items():
            pairs = [pair.id for pair in self.pairs if pair.half == half]
            allowed = budgets(self.paths["transcoder"], uses["transcoder"], pairs)
            found |= gains(self.paths[METHODS[arm]], uses[arm], allowed)
        return found


def steer(subject: Subject) -> Steering:
    """Steer every pair by every method, variant and dose, and choose on either half what the other is tested with."""
    sites, runs = subject.once(find_sites), subject.once(Runs)
    pairs = sites.pairs
    paths: dict[str, dict[str, dict[str, Path]]] = {}
    for pair, writes in zip(watched(pairs, "pairs"), _writes(subject, sites, pairs), strict=True):
        for (method, variant), path in zip(writes, _measure(runs, sites, pair, writes.values()), strict=True):
            paths.setdefault(method, {}).setdefault(variant, {})[pair.id] = path
    return Steering(pairs, paths, {half: _choose(pairs, paths, half) for half in (0, 1)})


def _choose(pairs: Sequence[Pair], paths: Mapping[str, Paths], half: int) -> dict[str, Use]:
    """How each arm is to be used on ``half``."""
    seen = [pair.id for pair in pairs if pair.half != half]
    reference = reference_use(paths["transcoder"], seen)
    allowed = budgets(paths["transcoder"], reference, seen)
    most = {"interchange": 1 + DOSES.index(1.0)}
    # A null has everything but the cause: it is matched to the features that are written, not to the others.
    asked = dict(paths) | {"matched random": {reference.variant: paths["matched random"][reference.variant]}}
    uses = {arm: best_use(asked[name], allowed, most.get(arm, len(DOSES))) for arm, name in METHODS.items()}
    return uses | {"transcoder": reference}


def _measure(runs: Runs, sites: Sites, pair: Pair, writes: Collection[Writes]) -> list[Path]:
    """The path of each of ``writes``, all in one batch."""
    site, token = sites.of(pair)[1], runs.answer(pair.donor)
    edits = [write_at(site, vectors, dose) for vectors in writes for dose in DOSES]
    out = runs.clean(pair.recipient).edit([[], *edits])
    of_donor = Readings(logits=runs.subject.unembed(runs.clean(pair.donor).resid[-1:, -1:]))
    natural = float(of_donor.log_odds(token))
    odds = out.log_odds(token).tolist()
    gained = [min(value, max(natural, odds[0])) - odds[0] for value in odds]
    p, families = out.probabilities().double(), runs.family(pair.recipient) + runs.family(pair.donor)
    costs = lumped_kl(p[0], p, families).tolist()
    firsts = range(1, len(odds), len(DOSES))
    return [Path((0.0, *gained[i : i + len(DOSES)]), (0.0, *costs[i : i + len(DOSES)])) for i in firsts]


def _writes(subject: Subject, sites: Sites, pairs: Sequence[Pair]) -> list[dict[tuple[str, str], Writes]]:
    """Per pair: (method, variant) → layer → the vector [d] of dose 1."""
    runs, task, activity = subject.once(Runs), task_of(subject), subject.once(Activity)
    words, unit = subject.once(word_features), subject.once(strength_unit)
    means = subject.once(mean_differences)
    activity.read((runs.clean(p).tokens, sites.of(pair)[1]) for pair in pairs for p in (pair.donor, pair.recipient))
    found = []
    for seed, pair in enumerate(watched(pairs, "pairs")):
        layer, site = sites.of(pair)
        donor, recipient = (runs.clean(prompt).resid_post_at(site) for prompt in (pair.donor, pair.recipient))  # [L, d]
        change = activity.at(runs.clean(pair.donor), site) - activity.at(runs.clean(pair.recipient), site)
        features: dict[str, Writes] = {
            "active features": activity.writes(weights_of(change)),
            "word features": activity.writes(_word_weights(task, words, pair, unit)),
        }
        difference = donor - recipient
        norm, towards = difference[layer].norm(), unembedding_direction(subject, runs.answer(pair.donor))
        writes: dict[tuple[str, str], Writes] = {
            **{("transcoder", variant): write for variant, write in features.items()},
            ("mean difference", "at the site"): {layer: means[pair.id].to(difference)},
            ("unembedding", "at the site"): {layer: norm * towards.to(difference)},
            **{
                ("matched random", variant): matched_random(write, towards.cpu(), seed)
                for variant, write in features.items()
            },
            ("random row", "at the site"): {layer: random_row(difference[layer], seed)},
        }
        for at in range(max(1, subject.n_layers - 1)):
            writes["residual difference", f"L{at}"] = {at: difference[at]}
        found.append(writes)
    return found


def _word_weights(task: Task, words: Mapping[str, Feature], pair: Pair, strength: float) -> dict[Feature, float]:
    """The natural group's word features at -strength and the target's at +strength; none where it has none."""
    if pair.donor.answer not in words:
        return {}
    natural = {words[word]: -strength for word in task.groups[pair.recipient.group] if word in words}
    return natural | {words[pair.donor.answer]: strength}


def transcoder_gains(subject: Subject) -> Values:
    """Pair id → gain of the transcoder's method within the budget, in nats."""
    return subject.once(steer).gains("transcoder")


def residual_gains(subject: Subject) -> Values:
    """Pair id → gain of the residual difference within the same budget, in nats."""
    return subject.once(steer).gains("residual difference")


def transcoder_steering(subject: Subject) -> Measurement:
    """Gain of the target by the transcoder's method at the site within the budget, with its control arms.

    Arms, each within the same budget: ``interchange``, ``residual difference``, ``mean difference``, ``unembedding``;
    ``matched random`` (a random write of the chosen features' norms and projection on the target), ``untrained twin``;
    ``interchange at any cost``, uncapped by the budget; sham ``zero dose``.
    """
    return _measurement(subject, "transcoder_steering", transcoder_gains)


def residual_steering(subject: Subject) -> Measurement:
    """Gain of the target by the residual difference of two prompts within the transcoder's budget; the same arms.

    Besides: ``random row``, a random vector of the difference's norm.
    """
    return _measurement(subject, "residual_steering", residual_gains)


def _measurement(subject: Subject, name: str, of_subject: Callable[[Subject], Values]) -> Measurement:
    start = time.perf_counter()
    values, found, sites = of_subject(subject), subject.once(steer), subject.once(find_sites)
    at_any_cost = {
        pair.id: found.paths["residual difference"][f"L{sites.of(pair)[0]}"][pair.id].gains[1 + DOSES.index(1.0)]
        for pair in found.pairs
    }
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="nats",
        design="pairs-of-groups",
        parameters={
            **parameters(sites),
            "pairs": list(values),
            "doses": list(DOSES),
        },
        values=values,
        clusters=clusters_of(found.pairs),
        arms={
            **{arm: found.gains(arm) for arm in METHODS},
            "interchange at any cost": at_any_cost,
            "zero dose": subject.once(zero_dose),
            **control_arms(subject, of_subject, {"untrained twin": subject.twin}),
        },
        reach={"rows": sites.reach_rows(subject.once(Runs))},
        detail={
            "uses": {
                f"half {half}": {arm: asdict(use) for arm, use in uses.items()} for half, uses in found.uses.items()
            },
            "by dose": {method: mean_curve(paths, list(values)) for method, paths in found.paths.items()},
        },
        seconds=time.perf_counter() - start,
    )


def zero_dose(subject: Subject) -> Values:
    """A zero vector added at the site, against a clean batch of the same shape; one pair per template."""
    sites, runs = subject.once(find_sites), subject.once(Runs)
    moved = {}
    for pair in one_per_template(sites.pairs):
        layer, site = sites.of(pair)
        rows = [[Add(layer, site, torch.zeros(subject.d_model))]]
        (moved[pair.id],) = moved_log_odds(runs.clean(pair.recipient), rows, runs.answer(pair.donor))
    return moved
