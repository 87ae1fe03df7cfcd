"""The published correction test: commit at the last token, contradict it there in later layers (appendix G).

The commitment is the published sweep's edit at its last position. The correction's feature is written at the same place
from a later layer on, with strengths up to twice that of the commitment. The same corrections are run with the
suppression alone: one that does nothing there cannot show that a commitment resists.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import torch

from prolepsis.edits import Row
from prolepsis.errors import Untested
from prolepsis.experiments.correction import later_writes
from prolepsis.experiments.published_prompt import NULLS, Placed, noise, parameters_of, published_of, single
from prolepsis.experiments.published_sweep import sweep_prompt
from prolepsis.measurement import Measurement
from prolepsis.names import Head
from prolepsis.reachability.selection import Logits, Pattern
from prolepsis.running.hooks import Read
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.published import Correction
from prolepsis.subjects.swept_pairs import moved_by
from prolepsis.writes import Writes, write_at


@dataclass(frozen=True)
class Corrected:
    """What was read at one strength of the correction: P of either word, Δ of the head, Σ|Δ| over all heads.

    Δ is what attention from the last token to itself gains over the clean run.
    """

    committed: float
    correct: float
    head: float
    total: float


Field = Literal["committed", "correct", "head", "total"]


@dataclass(frozen=True, eq=False)
class CorrectionTest:
    """By strength of the correction what was read with the commitment, and with the suppression alone.

    ``slopes`` is Σ a·(1 − a) over heads by strength, a the attention read: how far Σ|Δ| moves for a nat in each head.
    """

    correction: Correction
    placed: Placed
    writes: Writes
    committed: tuple[Corrected, ...]
    uncommitted: tuple[Corrected, ...]
    slopes: tuple[float, ...]

    def leverage(self, field: Field, step: int) -> float:
        """How far a field of what was read with the commitment can move for one nat of logits and attention scores."""
        if field == "head":
            return 1.0
        if field == "total":
            return self.slopes[step]
        at_step = self.committed[step]
        return moved_by(at_step.committed if field == "committed" else at_step.correct, 1.0)


def correction_test(subject: Subject) -> CorrectionTest:
    """Run the published test; raises Untested where the paper ran none."""
    correction = published_of(subject).correction
    if correction is None:
        raise Untested(f"{subject.id}: the paper ran no correction test on it; ask gemma-2-2b-426k")
    if correction.head.layer >= subject.n_layers or correction.head.index >= subject.n_heads:
        raise Untested(f"{subject.id}: it has no head {correction.head}; the paper's preset is for another model")
    return corrected(subject, subject.once(sweep_prompt).placed, correction)


def corrected(subject: Subject, place: Placed, correction: Correction) -> CorrectionTest:
    """Contradict what ``place`` commits to, with the commitment and without it."""
    writes = later_writes(subject, correction.feature, correction.strength, correction.first)
    steps = [step / (correction.steps - 1) for step in range(correction.steps)]
    rows: list[Row] = [
        [*write_at(place.last, base), *write_at(place.last, writes, step)]
        for base in (place.both, place.suppress)
        for step in steps
    ]
    heads = [Head(layer, index) for layer in range(subject.n_layers) for index in range(subject.n_heads)]
    out = place.clean.edit([[], *rows], Read(patterns=tuple((head, place.last) for head in heads)))
    to_itself = {head: out.patterns[head, place.last][:, place.last] for head in heads}
    moved = {head: (weights[1:] - weights[0]).tolist() for head, weights in to_itself.items()}
    probabilities = out.probabilities()[1:]
    read = [
        Corrected(
            committed=float(probabilities[row, place.token]),
            correct=float(probabilities[row, subject.word_id(correction.word)]),
            head=moved[correction.head][row],
            total=sum(abs(change[row]) for change in moved.values()),
        )
        for row in range(len(rows))
    ]
    # The slope of the logistic function, of either run of a difference.
    slopes = torch.stack([weights * (1 - weights) for weights in to_itself.values()]).sum(0)
    return CorrectionTest(
        correction,
        place,
        writes,
        committed=tuple(read[: len(steps)]),
        uncommitted=tuple(read[len(steps) :]),
        slopes=tuple((slopes[0] + slopes[1 : len(steps) + 1]).tolist()),
    )


def published_commitment(subject: Subject) -> Measurement:
    """P(committed word) before any correction.

    Arms: ``matched random`` and ``unembedding``, such writes in the commitment's place.
    """
    sweep = subject.once(sweep_prompt)
    arms = {arm: sweep.probabilities[arm][-1] for arm in NULLS}
    value = subject.once(correction_test).committed[0].committed
    return _measurement(
        subject, "published_commitment", "probability", value, arms, tolerance=moved_by(value, noise(subject))
    )


def published_committed_word(subject: Subject) -> Measurement:
    """How far P(committed word) is from what is printed, at the printed strength where it is farthest.

    In units of the last printed digit of each. Arm, here and below: ``without the commitment`` (the same with the
    suppression alone).
    """
    return _off_print(subject, "published_committed_word", "committed")


def published_correct_word(subject: Subject) -> Measurement:
    """The same of P(correct word)."""
    return _off_print(subject, "published_correct_word", "correct")


def published_locked_head(subject: Subject) -> Measurement:
    """The same of Δattention of the named head; the wiring says whether the correction could move it."""
    found = subject.once(correction_test)
    head, last = found.correction.head, found.placed.last
    row = reach_row(
        found.placed.clean, write_at(last, found.writes), Pattern(head, last, last),
        given=write_at(last, found.placed.both), name=f"correction → {head}",
    )  # fmt: skip
    return _off_print(subject, "published_locked_head", "head", rows=[row])


def published_correction_shift(subject: Subject) -> Measurement:
    """The same of Σ|Δattention| over all heads."""
    return _off_print(subject, "published_correction_shift", "total")


def _off_print(subject: Subject, name: str, field: Field, rows: list[dict[str, object]] | None = None) -> Measurement:
    found = subject.once(correction_test)
    printed = {one.step: getattr(one, field) for one in found.correction.printed}
    if not printed:
        raise Untested(f"{subject.id}: the paper does not print what came of its correction; ask gemma-2-2b-426k")

    def farthest(outcomes: Sequence[Corrected]) -> float:
        return max(_digits_off(getattr(outcomes[step], field), number) for step, number in printed.items())

    rounding = max(found.leverage(field, step) / _last_digit(number) for step, number in printed.items())
    return _measurement(
        subject,
        name,
        "last digits",
        farthest(found.committed),
        {"without the commitment": farthest(found.uncommitted)},
        tolerance=noise(subject) * rounding,
        rows=rows,
    )


def _digits_off(value: float, printed: Decimal) -> float:
    """How far a value is from a printed one, in units of the latter's last digit."""
    return abs(value - float(printed)) / _last_digit(printed)


def _last_digit(printed: Decimal) -> float:
    return 10.0 ** int(printed.as_tuple().exponent)


def _measurement(
    subject: Subject,
    name: str,
    unit: str,
    value: float,
    arms: Mapping[str, float],
    *,
    tolerance: float,
    rows: list[dict[str, object]] | None = None,
) -> Measurement:
    start, found = time.perf_counter(), subject.once(correction_test)
    correction, place = found.correction, found.placed
    return single(
        subject,
        name,
        unit,
        value,
        parameters=parameters_of(place, published_of(subject).sweep)
        | {
            "correction": str(correction.feature),
            "layers": sorted(found.writes),
            "strengths": [correction.strength * step / (correction.steps - 1) for step in range(correction.steps)],
        },
        arms=arms,
        rows=rows or subject.once(_reach_rows),
        detail={
            "with the commitment": [vars(each) for each in found.committed],
            "without the commitment": [vars(each) for each in found.uncommitted],
        },
        tolerance=tolerance,
        seconds=time.perf_counter() - start,
    )


def _reach_rows(subject: Subject) -> list[dict[str, object]]:
    """Whether the correction reaches the last logits, and the attention of each layer, given the commitment."""
    found = subject.once(correction_test)
    clean, last = found.placed.clean, found.placed.last
    varied, given = write_at(last, found.writes), write_at(last, found.placed.both)
    rows = [reach_row(clean, varied, Logits(last), given=given, name="correction → logits")]
    for layer in range(subject.n_layers):
        readout = Pattern(Head(layer, 0), last, last)
        rows.append(reach_row(clean, varied, readout, given=given, name=f"correction → {readout}", claimed=False))
    return rows
