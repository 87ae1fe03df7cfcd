"""Contrastive steering at the last token: the difference of two prompts' rows, added with either sign (section 4).

Of facts and rhymes the paper says: inject resid_post(own) − resid_post(other) into the own prompt, and read P(other).
That difference points away from the other prompt. So both signs are measured: ``away`` adds own − other, as it is
written; ``towards`` adds other − own, which turns the last row into the other prompt's. The layer is chosen on half of
the clusters, for the sign that is measured, among all layers but the last: there, ``towards`` is the other's output.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prolepsis.controls import control_arms
from prolepsis.directions import random_row
from prolepsis.edits import Add, Row
from prolepsis.engine import CleanRun
from prolepsis.experiments.fact_pairs import FactRuns
from prolepsis.experiments.facts_asked import own_facts
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of, rhyme_pairs, task_of
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = dict[str, float]

N_PAIRS = 24
SIGNS = {"away": 1.0, "towards": -1.0}
"""Sign of own − other."""


@dataclass(frozen=True)
class Contrast:
    """One pair's probabilities of the other prompt's answer and of its own, by layer, for each sign and at random.

    ``clean`` is P(own), P(other) of the unedited prompt, ``natural`` P(other) of the other one; ``own`` and ``other``
    map "away", "towards", "random" → one value per layer.
    """

    half: int
    clean: tuple[float, float]
    natural: float
    own: Mapping[str, Sequence[float]]
    other: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Contrasts:
    """The contrasts of one kind of prompt by pair id."""

    of: Mapping[str, Contrast]

    def layer(self, sign: str, half: int) -> int:
        """The layer with the largest mean P(other) on the other half."""
        columns = zip(*(c.other[sign] for c in self.of.values() if c.half != half), strict=True)
        means = [statistics.fmean(column) for column in columns]
        return means.index(max(means))

    def values(self, sign: str, arm: str | None = None) -> Values:
        """Pair id → P(other) under ``arm``, the sign itself unless given, at the layer chosen for the sign."""
        return {pair: c.other[arm or sign][self.layer(sign, c.half)] for pair, c in self.of.items()}

    def table(self) -> dict[str, dict[str, list[float]]]:
        """Sign → mean P(own) and P(other) per layer; "clean" → those of the unedited prompts."""
        found = {
            name: {
                "own": [
                    statistics.fmean(column) for column in zip(*(c.own[name] for c in self.of.values()), strict=True)
                ],
                "other": [
                    statistics.fmean(column) for column in zip(*(c.other[name] for c in self.of.values()), strict=True)
                ],
            }
            for name in (*SIGNS, "random")
        }
        own, other = zip(*(c.clean for c in self.of.values()), strict=True)
        return {**found, "clean": {"own": [statistics.fmean(own)], "other": [statistics.fmean(other)]}}


def fact_contrasts(subject: Subject) -> Contrasts:
    """Contrasts of pairs of facts that differ in their subject and answer."""
    pairs, runs = subject.once(own_facts)[: 2 * N_PAIRS : 2], subject.once(FactRuns)
    found = {}
    for seed, pair in enumerate(watched(pairs, "pairs")):
        own, other = runs.clean(pair.recipient), runs.clean(pair.donor)
        tokens = runs.option_ids(pair.recipient)[0], runs.option_ids(pair.donor)[0]
        found[pair.id] = _contrast(own, other, tokens, pair.half, seed)
    return Contrasts(found)


def rhyme_contrasts(subject: Subject) -> Contrasts:
    """Contrasts of couplets that differ in their rhyme word."""
    runs, found = subject.once(Runs), {}
    for seed, pair in enumerate(watched(_couplets(subject), "pairs")):
        own, other = runs.clean(pair.recipient), runs.clean(pair.donor)
        found[pair.id] = _contrast(own, other, (runs.answer(pair.recipient), runs.answer(pair.donor)), pair.half, seed)
    return Contrasts(found)


def _couplets(subject: Subject) -> tuple[Pair, ...]:
    return rhyme_pairs(task_of(subject))[:N_PAIRS]


def _contrast(own: CleanRun, other: CleanRun, answers: tuple[int, int], half: int, seed: int) -> Contrast:
    last, n_layers = len(own.tokens) - 1, own.subject.n_layers
    layers = range(max(1, n_layers - 1))
    rows: list[Row] = [[]]
    for layer in layers:
        difference = own.resid_post(layer)[-1] - other.resid_post(layer)[-1]
        rows += [[Add(layer, last, sign * difference)] for sign in SIGNS.values()]
        rows.append([Add(layer, last, random_row(difference, seed))])
    p = own.edit(rows).probabilities().double()[:, list(answers)]  # [1 + 3 layers, 2]
    by_arm = {name: p[1 + i :: 3].tolist() for i, name in enumerate((*SIGNS, "random"))}
    return Contrast(
        half=half,
        clean=(float(p[0, 0]), float(p[0, 1])),
        natural=float(other.read(Read()).probabilities()[0, answers[1]]),
        own={name: [values[0] for values in of] for name, of in by_arm.items()},
        other={name: [values[1] for values in of] for name, of in by_arm.items()},
    )


def facts_away(subject: Subject) -> Values:
    """Fact pair id → P(other) with own − other added."""
    return subject.once(fact_contrasts).values("away")


def facts_towards(subject: Subject) -> Values:
    """Fact pair id → P(other) with other − own added."""
    return subject.once(fact_contrasts).values("towards")


def fact_steering_as_written(subject: Subject) -> Measurement:
    """P(other fact's answer) with own − other added at the last token; arms ``random row`` and ``untrained twin``."""
    return _of_facts(subject, "fact_steering_as_written", "away")


def fact_steering(subject: Subject) -> Measurement:
    """The same with other − own added."""
    return _of_facts(subject, "fact_steering", "towards")


def _of_facts(subject: Subject, name: str, sign: str) -> Measurement:
    start = time.perf_counter()
    of_subject = {"away": facts_away, "towards": facts_towards}[sign]
    found, runs, pairs = subject.once(fact_contrasts), subject.once(FactRuns), subject.once(own_facts)
    pair = pairs[0]
    own, other = runs.clean(pair.recipient), runs.clean(pair.donor)
    groups = {p.id: p.cluster for p in pairs if p.id in found.of}
    halves = [sorted({groups[i] for i, c in found.of.items() if c.half == half}) for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="probability",
        design="one-way",
        parameters=_parameters(found, sign, halves),
        values=of_subject(subject),
        clusters={i: (group,) for i, group in groups.items()},
        arms={
            "random row": found.values(sign, "random"),
            **control_arms(subject, of_subject, {"untrained twin": subject.twin}),
        },
        reach={"rows": _reach_rows(own, other, found, sign)},
        detail={"facts": found.table(), "layers": _layers(found, sign)},
        seconds=time.perf_counter() - start,
    )


def rhyme_steering_as_written(subject: Subject) -> Measurement:
    """P(the other couplet's word) with own − other added at the last token.

    Arms: ``facts``, the same protocol on facts, the i-th pair of them beside the i-th pair of couplets; ``random row``;
    positive ``other prompt``, what the word has in its own prompt: where that is little, nothing could be redirected.
    """
    return _of_rhymes(subject, "rhyme_steering_as_written", "away")


def rhyme_steering(subject: Subject) -> Measurement:
    """The same with other − own added; arms with that sign."""
    return _of_rhymes(subject, "rhyme_steering", "towards")


def _of_rhymes(subject: Subject, name: str, sign: str) -> Measurement:
    start = time.perf_counter()
    found, facts, runs = subject.once(rhyme_contrasts), subject.once(fact_contrasts), subject.once(Runs)
    pairs = _couplets(subject)
    halves = [sorted({pair.recipient.group for pair in pairs if pair.half == half}) for half in (0, 1)]
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="probability",
        design="pairs-of-groups",
        parameters=_parameters(found, sign, halves),
        values=found.values(sign),
        clusters=clusters_of(pairs),
        arms={
            "facts": dict(zip(found.of, facts.values(sign).values(), strict=False)),
            "random row": found.values(sign, "random"),
            "other prompt": {pair: contrast.natural for pair, contrast in found.of.items()},
        },
        reach={"rows": _reach_rows(runs.clean(pairs[0].recipient), runs.clean(pairs[0].donor), found, sign)},
        detail={"couplets": found.table(), "facts": facts.table(), "layers": _layers(found, sign)},
        seconds=time.perf_counter() - start,
    )


def _parameters(found: Contrasts, sign: str, halves: Sequence[list[str]]) -> dict[str, object]:
    return {
        "pairs": list(found.of),
        "sign": sign,
        "folds": [{"discovery": halves[1 - half], "tested": halves[half]} for half in (0, 1)],
    }


def _layers(found: Contrasts, sign: str) -> dict[str, str]:
    return {f"half {half}": f"L{found.layer(sign, half)}" for half in (0, 1)}


def _reach_rows(own: CleanRun, other: CleanRun, found: Contrasts, sign: str) -> list[dict[str, object]]:
    """Whether the wiring lets the edit at the last token reach the last logits, at each layer that was chosen."""
    last = len(own.tokens) - 1
    rows = []
    for layer in sorted({found.layer(sign, half) for half in (0, 1)}):
        difference = other.resid_post(layer)[-1] - own.resid_post(layer)[-1]
        rows.append(reach_row(own, [Add(layer, last, difference)], Logits(last)))
    return rows
