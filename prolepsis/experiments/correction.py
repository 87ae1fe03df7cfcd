"""The paper's correction test: commit at the last token, then contradict it in later layers only (appendix G).

At the last token the features of the natural group are suppressed and a word's feature is injected, both with the
strength of the position sweep; that is the commitment. A feature of a third group, the correction, is written at the
same place with up to twice that strength, but only above the layer the committing feature comes from. Without the
commitment means: the suppression alone, with the same correction. A correction that does nothing there cannot show
that a commitment resists.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prolepsis.edits import Row
from prolepsis.errors import Untested
from prolepsis.experiments.position_sweep import DOSE, STRONG, Sweep, strength_unit, sweeps, word_features
from prolepsis.experiments.rhyme_pairs import Pair, Runs, check_halves, clusters_of, first_turn, task_of
from prolepsis.measurement import Measurement
from prolepsis.names import Feature, Head
from prolepsis.reachability.selection import Logits, Pattern
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject, transcoder_of
from prolepsis.watching import watched
from prolepsis.writes import Writes, summed, write_at

Tensor = torch.Tensor

STEPS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Strengths of the correction in units of the commitment's: those the paper prints."""
LOOKED_AT, NAMED_BY = 12, 6
"""In how many pairs the named head's attention is read under the correction, and how many of a half name it."""


@dataclass(frozen=True)
class Protocol:
    """What is written for one pair, by layer: the suppression, the commitment with it, the correction at step 1.

    ``first`` is the lowest layer that is corrected.
    """

    pair: Pair
    suppress: Writes
    commit: Writes
    correct: Writes
    committed_word: str
    correct_word: str
    first: int

    def row(self, last: int, *, commit: bool, step: float) -> Row:
        """The edits of one run, all at the ``last`` token."""
        return [*write_at(last, self.commit if commit else self.suppress), *write_at(last, self.correct, step)]


@dataclass(frozen=True)
class Outcome:
    """By step of the correction, with the commitment and without: log-odds of the committed word, P(correct word)."""

    committed: tuple[float, ...]
    committed_without: tuple[float, ...]
    correct: tuple[float, ...]
    correct_without: tuple[float, ...]

    @property
    def took_hold(self) -> bool:
        """Whether the commitment is one of the paper's strong redirects before anything corrects it."""
        return float(torch.tensor(self.committed[0]).sigmoid()) >= STRONG


def later_writes(subject: Subject, feature: Feature, strength: float, first: int) -> dict[int, Tensor]:
    """What a feature writes from layer ``first`` on: its decoder rows for those layers, times ``strength``.

    A feature that writes its own layer alone, as in a per-layer transcoder, has no such rows; its own row is then
    written at ``first``.
    """
    transcoder = transcoder_of(subject)
    rows = {at: v for at, v in transcoder.writes([feature], strength).items() if at >= first}
    if any(bool(vector.any()) for vector in rows.values()):
        return rows
    return {max(first, feature.layer): strength * transcoder.rows(feature)[0]}


def protocols(subject: Subject) -> tuple[Protocol, ...]:
    """The published edits of every pair that has features to commit to and to correct with.

    Raises Untested when no pair has both.
    """
    task, found, unit = task_of(subject), subject.once(sweeps), subject.once(strength_unit)
    transcoder, features = transcoder_of(subject), subject.once(word_features)
    pairs = tuple(pair for pair in first_turn(task) if pair.id in found)
    made = []
    for pair in watched(pairs, "pairs"):
        third = _third(pair, pairs, found)
        if third is None:
            continue
        natural = [features[word] for word in task.groups[pair.recipient.group] if word in features]
        suppress = transcoder.writes(natural, -DOSE * unit)
        inject = transcoder.writes([found[pair.id].feature], DOSE * unit)
        first = min(found[pair.id].feature.layer + 1, subject.n_layers - 1)
        correct = later_writes(subject, third.feature, DOSE * unit, first)
        made.append(Protocol(pair, suppress, summed(suppress, inject), correct, found[pair.id].word, third.word, first))
    if not made:
        raise Untested(
            f"{subject.id}: its word features are of too few rhyme groups for one to contradict another; "
            "name more in task.json"
        )
    return tuple(made)


def _third(pair: Pair, pairs: tuple[Pair, ...], found: Mapping[str, Sweep]) -> Sweep | None:
    """The word to correct with: that of the next pair, in the same half, whose other group is a third one, if any."""
    start = pairs.index(pair)
    for other in (*pairs[start:], *pairs[:start]):
        if other.half == pair.half and other.donor.group not in (pair.recipient.group, pair.donor.group):
            return found[other.id]
    return None


def outcomes(subject: Subject) -> dict[str, Outcome]:
    """Pair id → what the published edits give at the last position."""
    runs, results = subject.once(Runs), {}
    for made in subject.once(protocols):
        clean = runs.clean(made.pair.recipient)
        last = len(clean.tokens) - 1
        out = clean.edit([made.row(last, commit=c, step=step) for c in (True, False) for step in STEPS])
        odds = out.log_odds(subject.word_id(made.committed_word)).tolist()
        correct = out.probabilities()[:, subject.word_id(made.correct_word)].tolist()
        n = len(STEPS)
        results[made.pair.id] = Outcome(tuple(odds[:n]), tuple(odds[n:]), tuple(correct[:n]), tuple(correct[n:]))
    return results


def fall(log_odds: tuple[float, ...]) -> float:
    """By how many nats the word's log-odds have fallen at the largest step."""
    return log_odds[0] - log_odds[-1]


def committed_word_falls(subject: Subject) -> Measurement:
    """Fall of the committed word's log-odds under twice its strength of correction, in nats, with its control arms.

    Arms: ``without the commitment`` (the fall of the same word there); positive ``correction alone`` (P(correct word)
    there). Only pairs whose commitment took hold can tell.
    """
    start = time.perf_counter()
    found = subject.once(outcomes)
    values = {pair: fall(outcome.committed) for pair, outcome in found.items()}
    without = {pair: fall(outcome.committed_without) for pair, outcome in found.items()}
    return _measurement(subject, "committed_word_falls", "nats", values, without, start=start)


def correction_takes_over(subject: Subject) -> Measurement:
    """P(correct word) under twice the commitment's strength of correction; same arms."""
    start = time.perf_counter()
    found = subject.once(outcomes)
    values = {pair: outcome.correct[-1] for pair, outcome in found.items()}
    without = {pair: outcome.correct_without[-1] for pair, outcome in found.items()}
    return _measurement(subject, "correction_takes_over", "probability", values, without, start=start)


def _measurement(
    subject: Subject,
    name: str,
    unit: str,
    values: Mapping[str, float],
    without: Mapping[str, float],
    *,
    start: float,
) -> Measurement:
    found, made = subject.once(outcomes), subject.once(protocols)
    first, clean = made[0], subject.once(Runs).clean(made[0].pair.recipient)
    last = len(clean.tokens) - 1
    correction = write_at(last, first.correct)
    given = first.row(last, commit=True, step=0.0)
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="pairs-of-groups",
        parameters=_parameters(made),
        values=values,
        clusters=clusters_of(tuple(protocol.pair for protocol in made)),
        arms={
            "without the commitment": without,
            "correction alone": {pair: outcome.correct_without[-1] for pair, outcome in found.items()},
        },
        detectable=tuple(pair for pair, outcome in found.items() if outcome.took_hold),
        reach={"rows": [reach_row(clean, correction, Logits(last), given=given)]},
        detail={"outcomes": {pair: vars(outcome) for pair, outcome in found.items()}},
        seconds=time.perf_counter() - start,
    )


def _parameters(made: tuple[Protocol, ...]) -> dict[str, object]:
    return {
        "pairs": [protocol.pair.id for protocol in made],
        "words": {protocol.pair.id: [protocol.committed_word, protocol.correct_word] for protocol in made},
        "layers": {protocol.pair.id: sorted(protocol.correct) for protocol in made},
        "steps": list(STEPS),
        "dose": f"{DOSE:g} × typical activation",
    }


def named_head(subject: Subject, half: int) -> Head:
    """The head whose attention to the last token the commitment moves most, from the last token, on the other half.

    Like the paper's it is named before the correction, among the heads that the commitment can reach and the
    correction cannot: those up to the lowest layer that is corrected. Raises Untested when a half has no pair.
    """
    runs, every = subject.once(Runs), subject.once(protocols)
    check_halves(subject, [made.pair for made in every])
    seen, lowest = [made for made in every if made.pair.half != half], min(made.first for made in every)
    heads = [Head(layer, index) for layer in range(lowest + 1) for index in range(subject.n_heads)]
    moved = torch.zeros(len(heads), dtype=torch.float64)
    for made in seen[:NAMED_BY]:
        clean = runs.clean(made.pair.recipient)
        last = len(clean.tokens) - 1
        read = Read(logits=(), patterns=tuple((head, last) for head in heads))
        patterns = clean.edit([made.row(last, commit=True, step=0.0), []], read).patterns
        to_last = torch.stack([patterns[head, last][:, last] for head in heads]).double().cpu()  # [heads, 2]
        moved += (to_last[:, 0] - to_last[:, 1]).abs()
    return heads[int(moved.argmax())]


def locked_attention(subject: Subject) -> Measurement:
    """How far the correction, at twice the commitment's strength, moves the named head's attention to the last token.

    The wiring says whether it could have moved at all; where it could not, the readout is measured all the same and
    must be equal bit for bit.
    """
    start = time.perf_counter()
    runs, made = subject.once(Runs), subject.once(protocols)
    heads = {half: named_head(subject, half) for half in (0, 1)}
    values: dict[str, float] = {}
    rows: dict[str, dict[str, object]] = {}
    for protocol in made[:LOOKED_AT]:
        clean, head = runs.clean(protocol.pair.recipient), heads[protocol.pair.half]
        last = len(clean.tokens) - 1
        correction = write_at(last, protocol.correct, STEPS[-1])
        given, read = protocol.row(last, commit=True, step=0.0), Read(logits=(), patterns=((head, last),))
        name = f"half {protocol.pair.half}: L{min(protocol.correct)}@{last} → {head} {last}→{last}"
        row = reach_row(clean, correction, Pattern(head, last, last), given=given, name=name)
        rows.setdefault(name, row)
        if row.get("moved") is False:  # The two runs below have been made for the row, and are equal bit for bit.
            values[protocol.pair.id] = 0.0
            continue
        shown = [clean.edit([edits], read).patterns[head, last][0, last] for edits in ([*given, *correction], given)]
        values[protocol.pair.id] = abs(float(shown[0] - shown[1]))
    groups = [sorted({p.pair.recipient.group for p in made if p.pair.half == half}) for half in (0, 1)]
    folds = [{"discovery": groups[1 - half], "tested": groups[half]} for half in (0, 1)]
    return Measurement(
        experiment="locked_attention",
        subject=subject.digest,
        unit="attention",
        design="pairs-of-groups",
        parameters=_parameters(made)
        | {"heads": {str(half): str(head) for half, head in heads.items()}, "folds": folds},
        values=values,
        clusters=clusters_of(tuple(protocol.pair for protocol in made[:LOOKED_AT])),
        reach={"rows": list(rows.values())},
        seconds=time.perf_counter() - start,
    )
