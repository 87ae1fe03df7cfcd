"""The paper's position sweep: suppress + inject at every position in turn, P(inject word) at the last (section 5).

For features S at strength s and position p, s · Σ_f W_dec is added to resid_post of every layer from each feature's
source layer on: suppress the natural group's features with −s, inject one feature of another group with +s. A pair
*localises* when P(inject word) is largest with the edit at the last position.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from prolepsis.controls import control_arms
from prolepsis.directions import matched_random, unembedding_direction
from prolepsis.edits import Row
from prolepsis.errors import Untested
from prolepsis.experiments.rhyme_pairs import Pair, Runs, rhyme_pairs, task_of
from prolepsis.experiments.vocabulary_scan import vocabulary_scan
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.reachability.selection import Logits
from prolepsis.running.prompt_batch import by_length, resid_mid_of
from prolepsis.running.readings import Readings
from prolepsis.shams import reach_row
from prolepsis.subject import Subject, transcoder_of
from prolepsis.subjects.swept_pairs import mean_by_position
from prolepsis.subjects.task import Task
from prolepsis.watching import watched
from prolepsis.writes import Writes, write_at

Tensor = torch.Tensor

DOSE = 16.0
"""Strength in units of a word feature's typical activation (the paper's strength 10 is in raw units)."""
DETECTABLE = 1.0
"""A pair is detectable when some position lifts the word's log-odds this far, in nats, above the in-sweep floor."""
STRONG = 0.1
"""The paper's bin of strong redirects: P(inject word) at least this somewhere."""


@dataclass(frozen=True)
class Redirect:
    """What is injected for one pair, and the vector [d] this writes per layer, suppression included."""

    word: str
    feature: Feature
    writes: Writes


@dataclass(frozen=True)
class Sweep:
    """One pair's sweep: log-odds of the inject word, in nats, by position, under the edit and its control writes.

    ``writes`` is what the edit adds, a vector [d] per layer. ``measured``, ``random`` and ``unembedding`` have one
    value per position; ``direct`` is what the write at the last position gives through the unembedding alone,
    ``clean`` the value without an edit. The in-sweep floor is the median over positions.
    """

    word: str
    feature: Feature
    writes: Writes
    clean: float
    direct: float
    measured: tuple[float, ...]
    random: tuple[float, ...]
    unembedding: tuple[float, ...]

    def detectable(self) -> bool:
        """Whether some position stands out from the in-sweep floor."""
        return max(self.measured) - statistics.median(self.measured) > DETECTABLE

    def best(self) -> float:
        """Largest P(inject word) at any position."""
        return probability(max(self.measured))


def localises(sweep: tuple[float, ...]) -> float:
    """1 if the last position is the only maximum of a sweep, else 0."""
    return float(sweep[-1] > max(sweep[:-1]))


def gain(sweep: tuple[float, ...]) -> float:
    """How far the last position stands above the in-sweep floor, in nats of log-odds."""
    return sweep[-1] - statistics.median(sweep)


def probability(log_odds: float) -> float:
    """P of log-odds in nats."""
    return float(torch.sigmoid(torch.tensor(log_odds, dtype=torch.float64)))


def word_features(subject: Subject) -> dict[str, Feature]:
    """The word-level features of the task's words: as the task names them, else by the vocabulary scan."""
    task = task_of(subject)
    if task.features is not None:
        return dict(task.features)
    return vocabulary_scan(subject, {word: subject.word_id(word) for word in task.answers})


@torch.no_grad()
def typical_activation(subject: Subject) -> float | None:
    """Median over the word features of their mean activation where they are active in the prompts they are injected in.

    None when none of them is ever active.
    """
    found, runs = subject.once(word_features), subject.once(Runs)
    features, pairs = found.values(), injectable(task_of(subject), found)
    layers = tuple(sorted({feature.layer for feature in features}))
    prompts = by_length((runs.clean(pair.recipient).tokens for pair in pairs), len)
    parts, means = [resid_mid_of(subject, alike, layers) for alike in prompts], []
    for layer in layers:
        active = subject.features(layer, torch.cat([part[layer].flatten(0, 1) for part in parts]))  # [N, F]
        for feature in features:
            values = active[:, feature.index]
            if feature.layer == layer and bool((values > 0).any()):
                means.append(float(values[values > 0].mean()))
    return statistics.median(means) if means else None


def strength_unit(subject: Subject) -> float:
    """Typical activation of the word features, as the task says or over the pairs that one can be injected for.

    Raises Untested when no word feature was found, as for a twin whose transcoder is another's, or none is ever active.
    """
    task = task_of(subject)
    if not injectable(task, subject.once(word_features)):
        raise Untested(f"{subject.id}: no word feature was found in its transcoder; name some in its task file")
    unit = task.feature_activation or subject.once(typical_activation)
    if unit is None:
        raise Untested(f"{subject.id}: none of its word features is active in its prompts; check the transcoder")
    return unit


def injectable(task: Task, features: Mapping[str, Feature]) -> tuple[Pair, ...]:
    """The pairs whose other group has a word feature."""
    return tuple(p for p in rhyme_pairs(task) if any(w in features for w in task.groups[p.donor.group]))


def sweeps(subject: Subject) -> dict[str, Sweep]:
    """Pair id → sweep, for the pairs whose other group has a word feature to inject."""
    transcoder, task, runs = transcoder_of(subject), task_of(subject), subject.once(Runs)
    features, unit, found = subject.once(word_features), subject.once(strength_unit), {}
    pairs = injectable(task, features)
    for seed, pair in enumerate(watched(pairs, "pairs")):
        natural = [features[word] for word in task.groups[pair.recipient.group] if word in features]
        word = injected(pair, task, features)
        suppress = transcoder.writes(natural, -DOSE * unit)
        inject = transcoder.writes([features[word]], DOSE * unit)
        zero = torch.zeros(subject.d_model)
        writes = {at: suppress.get(at, zero) + inject.get(at, zero) for at in sorted({*suppress, *inject})}
        found[pair.id] = _sweep(runs, pair, Redirect(word, features[word], writes), seed)
    return found


def injected(pair: Pair, task: Task, features: Mapping[str, Feature]) -> str:
    """The word to inject: the donor's answer, else the word of its group with the smallest source layer.

    So the two pairs that share a target group inject two features where there are two: features are what is sampled.
    The paper injects the word with the smallest source layer, always; one feature per group left too few clusters here
    to tell the edit from its nulls.
    """
    if pair.donor.answer in features:
        return pair.donor.answer
    return min((word for word in task.groups[pair.donor.group] if word in features), key=lambda w: features[w].layer)


def _sweep(runs: Runs, pair: Pair, redirect: Redirect, seed: int) -> Sweep:
    subject, clean, writes = runs.subject, runs.clean(pair.recipient), redirect.writes
    token = subject.word_id(redirect.word)
    towards = unembedding_direction(subject, token).cpu()
    arms: list[Writes] = [
        writes,
        matched_random(writes, towards, seed),
        {layer: vector.norm() * towards for layer, vector in writes.items()},
    ]
    positions = range(len(clean.tokens))
    rows: list[Row] = [write_at(p, arm) for arm in arms for p in positions]
    odds = clean.edit([*rows, []]).log_odds(token).tolist()
    last = clean.resid_post(subject.n_layers - 1)[-1]
    total = torch.stack(list(writes.values())).sum(0).to(last)
    with torch.no_grad():
        direct = Readings(logits=subject.unembed(last + total)[None, None]).log_odds(token)
    n = len(positions)
    return Sweep(
        word=redirect.word,
        feature=redirect.feature,
        writes=writes,
        clean=odds[-1],
        direct=float(direct),
        measured=tuple(odds[:n]),
        random=tuple(odds[n : 2 * n]),
        unembedding=tuple(odds[2 * n : 3 * n]),
    )


def localisation(subject: Subject) -> dict[str, float]:
    """Pair id → 1 if the pair localises."""
    return {pair: localises(sweep.measured) for pair, sweep in subject.once(sweeps).items()}


def gains(subject: Subject) -> dict[str, float]:
    """Pair id → gain at the last position, in nats."""
    return {pair: gain(sweep.measured) for pair, sweep in subject.once(sweeps).items()}


def localisation_rate(subject: Subject) -> Measurement:
    """Share of detectable pairs that localise, with its control arms.

    Arms: ``matched random`` (same norm in every layer, same projection on the word's unembedding), ``unembedding`` (the
    word's own direction, same norm), ``direct path`` (what the unembedding alone makes of the write at the last
    position), ``untrained twin`` (with its own transcoder, features and dose).
    """
    return _measurement(subject, "localisation_rate", "proportion", lambda sweep: sweep.detectable())


def strong_localisation(subject: Subject) -> Measurement:
    """The same for strong redirects only: pairs with P(inject word) of at least 0.1 somewhere."""
    return _measurement(subject, "strong_localisation", "proportion", lambda sweep: sweep.best() >= STRONG)


def redirect_gain(subject: Subject) -> Measurement:
    """How far the edit at the last position lifts the word above the in-sweep floor, in nats of log-odds; same arms."""
    return _measurement(subject, "redirect_gain", "nats", lambda _: True)


def _measurement(subject: Subject, name: str, unit: str, counts: Callable[[Sweep], bool]) -> Measurement:
    start = time.perf_counter()
    found = subject.once(sweeps)
    pairs = {pair.id: pair for pair in rhyme_pairs(task_of(subject)) if pair.id in found}
    statistic, of_subject = (localises, localisation) if unit == "proportion" else (gain, gains)
    arms: dict[str, Mapping[str, float]] = {
        "matched random": {pair: statistic(sweep.random) for pair, sweep in found.items()},
        "unembedding": {pair: statistic(sweep.unembedding) for pair, sweep in found.items()},
        # At any other position the direct path gives the clean value.
        "direct path": {pair: statistic((s.clean, s.clean, s.direct)) for pair, s in found.items()},
    }
    arms |= control_arms(subject, of_subject, {"untrained twin": subject.twin})
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="two-way",
        parameters={
            "pairs": list(found),
            "dose": f"{DOSE:g} × typical activation",
            "features": {pair: str(sweep.feature) for pair, sweep in found.items()},
        },
        values=of_subject(subject),
        clusters={pair: (pairs[pair].recipient.id, str(sweep.feature)) for pair, sweep in found.items()},
        arms=arms,
        detectable=tuple(pair for pair, sweep in found.items() if counts(sweep)),
        reach={"rows": subject.once(_reach_rows)},
        detail={
            "sweeps": {pair: {"word": s.word, "clean": s.clean, "log-odds": s.measured} for pair, s in found.items()},
            "best redirect": max(sweep.best() for sweep in found.values()),
            "by position": by_position(list(found.values())),
        },
        seconds=time.perf_counter() - start,
    )


def by_position(found: Sequence[Sweep]) -> dict[str, object]:
    """Mean P(inject word) under the edit and its control writes."""
    sweeps: dict[str, list[Sequence[float]]] = {
        "suppress + inject": [sweep.measured for sweep in found],
        "matched random": [sweep.random for sweep in found],
        "unembedding": [sweep.unembedding for sweep in found],
        "no edit": [[sweep.clean] * len(sweep.measured) for sweep in found],
    }
    probabilities = {arm: [[probability(x) for x in odds] for odds in sweep] for arm, sweep in sweeps.items()}
    return mean_by_position(len(found), probabilities)


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Per pair, whether its write reaches the last logits from the last position, and from the one before it."""
    found, runs = subject.once(sweeps), subject.once(Runs)
    answers: dict[tuple[str, int, int], dict[str, object]] = {}
    rows = []
    for pair in rhyme_pairs(task_of(subject)):
        if pair.id not in found:
            continue
        clean, writes = runs.clean(pair.recipient), found[pair.id].writes
        first, last = min(writes), len(clean.tokens) - 1
        for position in (last, last - 1):
            key = (pair.recipient.template.id, first, position)
            if key not in answers:
                name = f"L{first}..{subject.n_layers - 1}@{position} → logits@{last}"
                edit = write_at(position, writes)
                answers[key] = reach_row(clean, edit, Logits(last), name=name, claimed=position == last)
            rows.append({**answers[key], "item": pair.id})
    return rows
