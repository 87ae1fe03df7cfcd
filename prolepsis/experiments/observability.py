"""The paper's six methods that look for a plan without suppression (appendix A), as they were run.

All six choose transcoder features for a target word; five add them and one ablates, at the last prompt token. A hit is
a greedy next token that is the target: the prompts stop right before the word that ends the line. Targets are taken in
turn from another rhyme group and from the prompt's own. A method's strength is in units of a word feature's typical
activation, for the ablation in units of each feature's own. Beside them, on the same metric: the paper's suppress +
inject, and the target's unembedding direction in units of the distance between the prompt's last row and that of a
prompt that calls for the target.
"""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch.nn.functional import normalize

from prolepsis.controls import once, reach_row, unembedding_direction
from prolepsis.edits import Add, ReplaceRow, Row
from prolepsis.experiments.feature_activity import Activity, weights_of
from prolepsis.experiments.position_sweep import strength_unit, word_features
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.experiments.steering import lumped_kl
from prolepsis.experiments.vocabulary_scan import transcoder_of
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.selection import Logits
from prolepsis.subject import Subject
from prolepsis.task import Prompt

Tensor = torch.Tensor
Writes = Mapping[int, Tensor]
Values = dict[str, float]

N_PAIRS = 24
N_FEATURES = 5
"""Features a method adds."""
STRENGTHS = (1.0, 4.0, 16.0)
"""Of the paper's 0.5, 1, 2, 4, 8, 16: the range, in steps that a hit does not fall between."""
ABLATION_STRENGTH = 4.0
"""The one strength the ablation was recorded at."""
METHODS = (
    "largest activation",
    "decoder dot",
    "decoder cosine",
    "active cosine",
    "clamped active cosine",
    "contrastive probe",
    "ablation",
)
"""M1, M2a, M2b, M3 (written at each feature's own layer), M4 (at all downstream layers), M5, M6.

The word is probed alone, for M1 too: not every subject knows the paper's "The word is".
"""


@dataclass(frozen=True)
class Item:
    """A prompt that is steered towards the answer of ``target``, a prompt of the same template."""

    pair: Pair
    target: Prompt

    @property
    def id(self) -> str:
        return f"{self.pair.recipient.id}->{self.target.answer}"

    @property
    def clusters(self) -> tuple[str, str]:
        """The prompt, and the word whose features are chosen."""
        return self.pair.recipient.id, self.target.answer


@dataclass(frozen=True)
class Outcome:
    """What one method did to one item, by strength.

    Hits; gains of the target's and losses of the natural answer's log-odds, and off-target KL, in nats.
    """

    hits: tuple[bool, ...]
    gains: tuple[float, ...]
    losses: tuple[float, ...]
    costs: tuple[float, ...]


def items_of(subject: Subject) -> tuple[Item, ...]:
    """Two items with a target of another group, two with one of the prompt's own, and so on."""
    pairs = rhyme_pairs(task_of(subject))[:N_PAIRS]
    return tuple(Item(pair, pair.donor if i // 2 % 2 == 0 else pair.mate) for i, pair in enumerate(pairs))


@dataclass(frozen=True)
class Scores:
    """How the features of a subject rate against target words, by answer; every tensor [L, F].

    ``probes`` are activations at the bare word; ``dots`` and ``cosines`` compare what a feature writes at the last
    layer with the word's embedding.
    """

    probes: Mapping[str, Tensor]
    dots: Mapping[str, Tensor]
    cosines: Mapping[str, Tensor]

    @cached_property
    def mean_probe(self) -> Tensor:
        return torch.stack(list(self.probes.values())).mean(0)


@torch.no_grad()
def score_features(subject: Subject) -> Scores:
    """Rate all features against the items' targets."""
    activity, transcoder = once(subject, Activity), transcoder_of(subject)
    words = list(dict.fromkeys(item.target.answer for item in items_of(subject)))
    tokens = [tuple(subject.encode(word)) for word in words]
    spots = [(probe, len(probe) - 1) for probe in tokens]
    activity.read(spots)
    probes = dict(zip(words, map(activity.of, spots), strict=True))
    embedding = subject.unembedding[[subject.word_id(word) for word in words]].float().cpu()  # [words, d]
    dots, cosines = [], []
    for layer in range(subject.n_layers):
        rows = transcoder.last_decoder(layer)  # [F, d]
        dots.append(embedding @ rows.T)
        cosines.append(normalize(embedding, dim=-1) @ normalize(rows, dim=-1).T)
    dot, cosine = torch.stack(dots, 1), torch.stack(cosines, 1)  # [words, L, F]
    return Scores(probes, dict(zip(words, dot, strict=True)), dict(zip(words, cosine, strict=True)))


def best_features(scores: Tensor) -> list[Feature]:
    """The :data:`N_FEATURES` features with the largest scores [L, F] above zero."""
    values, places = scores.flatten().topk(min(N_FEATURES, scores.numel()))
    width = scores.shape[1]
    found = zip(values.tolist(), places.tolist(), strict=True)
    return [Feature(place // width, place % width) for value, place in found if value > 0]


def steer_last(subject: Subject) -> dict[str, dict[str, Outcome]]:
    """Method or arm → item id → outcome."""
    prompts = [once(subject, Runs).clean(item.pair.recipient).tokens for item in items_of(subject)]
    once(subject, Activity).read((tokens, len(tokens) - 1) for tokens in prompts)
    found: dict[str, dict[str, Outcome]] = {}
    for seed, item in enumerate(items_of(subject)):
        for name, outcome in _steer(subject, item, seed).items():
            found.setdefault(name, {})[item.id] = outcome
    return found


def _steer(subject: Subject, item: Item, seed: int) -> dict[str, Outcome]:
    """One item under every method and arm at every strength, in one batch."""
    runs = once(subject, Runs)
    clean, donor = runs.clean(item.pair.recipient), runs.clean(item.target)
    last, top, token = len(clean.tokens) - 1, subject.n_layers - 1, runs.answer(item.target)
    edits: list[Row] = [[], [ReplaceRow(top, last, donor.resid_post(top)[last])]]
    rows_of = {"last row": [1]}
    for name, vectors in _writes(subject, item, seed).items():
        # A method that finds no feature leaves the prompt as it is: row 0.
        strengths = STRENGTHS if vectors else ()
        rows_of[name] = list(range(len(edits), len(edits) + len(strengths))) or [0] * len(STRENGTHS)
        edits += [[Add(at, last, strength * vector) for at, vector in vectors.items()] for strength in strengths]
    out = clean.edit(edits)
    odds, natural = (out.log_odds(of).tolist() for of in (token, runs.answer(item.pair.recipient)))
    p, tops = out.probabilities().double(), out.last_logits.argmax(-1).tolist()
    families = {*runs.family(item.pair.recipient), *runs.family(item.target)}
    costs = lumped_kl(p[0], p, sorted(families)).tolist()
    return {
        name: Outcome(
            hits=tuple(tops[i] == token for i in rows),
            gains=tuple(odds[i] - odds[0] for i in rows),
            losses=tuple(natural[0] - natural[i] for i in rows),
            costs=tuple(costs[i] for i in rows),
        )
        for name, rows in rows_of.items()
    }


def _writes(subject: Subject, item: Item, seed: int) -> dict[str, Writes]:
    """Method or arm → layer → the vector [d] of strength 1."""
    runs, activity, scores = once(subject, Runs), once(subject, Activity), once(subject, score_features)
    unit, words, answer = once(subject, strength_unit), once(subject, word_features), item.target.answer
    clean, donor = runs.clean(item.pair.recipient), runs.clean(item.target)
    last, middle = len(clean.tokens) - 1, max(0, subject.n_layers - 2)
    active = activity.at(clean, last)  # [L, F]

    def added(features: list[Feature]) -> Writes:
        return activity.writes(dict.fromkeys(features, unit))

    cosine = best_features(scores.cosines[answer] * (active > 0))
    own_layer = [{f.layer: activity.writes({f: unit})[f.layer]} for f in cosine]
    ablated = {feature: -value for feature, value in weights_of(active).items()}
    swap = {words[w]: -unit for w in task_of(subject).groups[item.pair.recipient.group] if w in words}
    norm = (donor.resid_post(middle)[last] - clean.resid_post(middle)[last]).norm()
    return {
        "largest activation": added(best_features(scores.probes[answer])),
        "decoder dot": added(best_features(scores.dots[answer])),
        "decoder cosine": added(best_features(scores.cosines[answer])),
        "active cosine": _summed(own_layer),
        "clamped active cosine": added(cosine),
        "contrastive probe": added(best_features(scores.probes[answer] - scores.mean_probe)),
        "ablation": activity.writes(ablated),
        "other features": activity.writes(_others(ablated, active, seed)),
        "suppress + inject": activity.writes(swap | {words[answer]: unit}) if answer in words else {},
        "unembedding": {middle: norm * unembedding_direction(subject, subject.word_id(answer)).to(norm)},
    }


def _summed(parts: Sequence[Writes]) -> Writes:
    layers = sorted({layer for part in parts for layer in part})
    return {layer: torch.stack([part[layer] for part in parts if layer in part]).sum(0) for layer in layers}


def _others(weights: Mapping[Feature, float], active: Tensor, seed: int) -> dict[Feature, float]:
    """The same weights on as many features of the same layers that are not active, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[Feature, float] = {}
    for layer in {feature.layer for feature in weights}:
        values = [value for feature, value in weights.items() if feature.layer == layer]
        free = (active[layer] == 0).nonzero()[:, 0]
        drawn = free[torch.randperm(len(free), generator=generator)].tolist()
        found |= {Feature(layer, index): value for index, value in zip(drawn, values, strict=False)}
    return found


def six_methods(subject: Subject) -> Measurement:
    """Share of items that any of the six methods hits at any strength, with its arms on the same metric.

    Arms: ``suppress + inject``, ``unembedding``; ``last row``, the whole last row replaced by that of the prompt that
    calls for the target, at the last layer: hits where the metric can hit at all.
    """
    start, found = time.perf_counter(), once(subject, steer_last)

    def hits(*names: str) -> Values:
        return {item: float(any(any(found[name][item].hits) for name in names)) for item in found["ablation"]}

    arms = {arm: hits(arm) for arm in ("suppress + inject", "unembedding", "last row")}
    measured = _measured(subject, "six_methods", "proportion", {"methods": hits(*METHODS), **arms})
    return replace(measured, seconds=time.perf_counter() - start)


def ablation(subject: Subject) -> Measurement:
    """Loss of the natural answer's log-odds when the last token's active features are ablated at strength 4.

    Arm: ``other features``, as many that are not active, with the same weights.
    """
    start, found = time.perf_counter(), once(subject, steer_last)
    strength = STRENGTHS.index(ABLATION_STRENGTH)
    losses = {
        name: {item: outcome.losses[strength] for item, outcome in found[name].items()}
        for name in ("ablation", "other features")
    }
    return replace(_measured(subject, "ablation", "nats", losses), seconds=time.perf_counter() - start)


def _measured(subject: Subject, name: str, unit: str, arms: Mapping[str, Values]) -> Measurement:
    """The measurement whose values are the first of ``arms``."""
    found, items, runs = once(subject, steer_last), items_of(subject), once(subject, Runs)
    (_, values), *others = arms.items()
    clean = runs.clean(items[0].pair.recipient)
    last = len(clean.tokens) - 1
    edit = [Add(subject.n_layers - 1, last, unembedding_direction(subject, runs.answer(items[0].target)))]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="two-way",
        parameters={
            "items": list(values),
            "strengths": list(STRENGTHS),
            "features": N_FEATURES,
            "decoding": "greedy, the token after the prompt",
        },
        values=values,
        clusters={item.id: item.clusters for item in items},
        arms=dict(others),
        reach={"rows": [reach_row(clean, edit, Logits(last))]},
        detail={"methods": {method: _table(of.values()) for method, of in found.items()}},
    )


def _table(outcomes: Iterable[Outcome]) -> dict[str, list[float]]:
    """Mean of each metric by strength."""
    found = list(outcomes)
    return {
        name: [statistics.fmean(column) for column in zip(*(getattr(o, name) for o in found), strict=True)]
        for name in ("hits", "gains", "losses", "costs")
    }
