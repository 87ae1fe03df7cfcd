"""Where is a fact held? Joint interchange of the subject's rows, layer by layer, against that of the last token's row.

The rows of all tokens in which recipient and donor differ are replaced by the donor's, every other row free to move,
and the recipient is asked which option it now prefers. While the subject's rows bring the donor's answer, the fact is
held there; where the last token's row brings it instead, it has been handed over.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.edits import ReplaceRow, Row
from prolepsis.experiments.divergences import off_target_kl
from prolepsis.experiments.fact_pairs import FactPair, FactRuns
from prolepsis.experiments.facts_asked import accuracy, facts_of, pairs_asked, without_doubtful
from prolepsis.experiments.patched_blocks import blocks
from prolepsis.measurement import Measurement
from prolepsis.reachability.selection import Logits
from prolepsis.running.hooks import Read
from prolepsis.running.readings import Readings
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.task import FactPrompt
from prolepsis.watching import watched

Values = dict[str, float]


@dataclass(frozen=True)
class Curves:
    """What one donor's rows do to a recipient, by layer: change in preference for the pair's answer, in nats.

    ``subject`` for the rows of all subject tokens together, ``last`` for the last token's row; ``flipped`` says whether
    the subject's rows make the pair's answer the most likely token.
    """

    subject: Mapping[int, float]
    last: Mapping[int, float]
    flipped: Mapping[int, bool]

    def crossing(self) -> int:
        """First layer after which the last token's row brings at least as much as the subject's; none: their number."""
        return next((layer for layer in self.last if self.last[layer] >= self.subject[layer]), len(self.last))

    def handed_over(self, early: int, late: int) -> float:
        """The smaller of two leads in nats: of the subject after layer ``early``, of the last token after ``late``."""
        return min(self.subject[early] - self.last[early], self.last[late] - self.subject[late])


@dataclass(frozen=True)
class Interchange:
    """The curves of a pair's donor and of its control donors where there are any, and two controls of the assay."""

    donor: Curves
    same_answer: Curves | None
    mismatched: Curves | None
    overlap: float
    off_target: float


def stages(subject: Subject) -> tuple[int, int]:
    """The last layers of the first quarter and of the last quarter but one; the same in models of one or two layers."""
    quarters = blocks(subject.n_layers)
    return quarters[0][-1], quarters[max(0, len(quarters) - 2)][-1]


def interchanges(subject: Subject) -> dict[str, Interchange]:
    """Pair id → what its rows carry; the donor's in every layer, its controls' after the first and third quarter."""
    runs = subject.once(FactRuns)
    return {pair.id: _interchange(runs, pair) for pair in watched(facts_of(subject), "pairs of facts")}


def subject_rows(runs: FactRuns, pair: FactPair, donor: FactPrompt, layer: int) -> Row:
    """The edits that put the donor's subject in the recipient's place after ``layer``."""
    rows = runs.clean(donor).resid_post(layer)
    return [ReplaceRow(layer, to, rows[of]) for to, of in runs.align(pair, donor).subject]


def _interchange(runs: FactRuns, pair: FactPair) -> Interchange:
    recipient, of_donor, early = runs.clean(pair.recipient), runs.clean(pair.donor), stages(runs.subject)[0]
    every, few = list(range(runs.subject.n_layers)), list(dict.fromkeys(stages(runs.subject)))
    asked = [(pair.donor, every), (pair.same_answer, few), (pair.mismatched, few)]
    rows = [[] if donor is None else _curve_rows(runs, pair, donor, layers) for donor, layers in asked]
    moved = runs.align(pair, pair.donor).everywhere
    everything: Row = [ReplaceRow(early, to, of_donor.resid_post(early)[of]) for to, of in moved]
    out = recipient.edit([*(row for some in rows for row in some), everything, []])
    options = runs.option_ids(pair.donor)
    leads, flipped = preference(out, options), (out.last_logits.argmax(-1) == options[0]).tolist()
    effects, at, curves = (leads - leads[-1]).tolist(), 0, list[Curves | None]()
    for (_, layers), some in zip(asked, rows, strict=True):
        middle, end = at + len(layers), at + len(some)
        columns = effects[at:middle], effects[middle:end], flipped[at:middle]
        curves.append(Curves(*(dict(zip(layers, column, strict=True)) for column in columns)) if some else None)
        at = end
    of_pair, same_answer, mismatched = curves
    assert of_pair is not None
    p, donors_own = out.probabilities().double(), of_donor.read(Read()).probabilities()[0].double()
    overlap = float(torch.minimum(p[-2], donors_own).sum())
    off_target = min(off_target_kl(clean, p[early], options) for clean in (p[-1], donors_own))
    return Interchange(of_pair, same_answer, mismatched, overlap, off_target)


def _curve_rows(runs: FactRuns, pair: FactPair, donor: FactPrompt, layers: list[int]) -> list[Row]:
    """The edits of a donor's :class:`Curves`: its subject's rows by layer, then its last token's."""
    last, rows = len(runs.clean(pair.recipient).tokens) - 1, runs.clean(donor)
    subject = [subject_rows(runs, pair, donor, layer) for layer in layers]
    return [*subject, *([ReplaceRow(layer, last, rows.resid_post(layer)[-1])] for layer in layers)]


def preference(out: Readings, options: list[int]) -> torch.Tensor:
    """Log-odds of the first option against the best of the others, in nats [B]."""
    logits = out.last_logits[:, options].double()
    return logits[:, 0] - logits[:, 1:].max(-1).values


# ---------------------------------------------------------------- statistics


def held_effects(subject: Subject) -> Values:
    """Pair id → change in preference for the donor's answer by its subject rows after the first quarter, in nats."""
    early, _ = stages(subject)
    return {pair: found.donor.subject[early] for pair, found in subject.once(interchanges).items()}


def flips(subject: Subject) -> Values:
    """Pair id → 1 if those rows make the donor's answer the most likely token."""
    early, _ = stages(subject)
    return {pair: float(found.donor.flipped[early]) for pair, found in subject.once(interchanges).items()}


def hand_overs(subject: Subject) -> Values:
    """Pair id → by how many nats subject first and last token later is ahead of the other."""
    return {pair: found.donor.handed_over(*stages(subject)) for pair, found in subject.once(interchanges).items()}


def fact_held(subject: Subject) -> Measurement:
    """Change in preference for the donor's answer when the subject's rows are the donor's after the first quarter.

    Arms: ``same-answer donor`` and ``mismatched donor`` (another subject with the recipient's answer, or with a third
    one), ``untrained twin``, ``same behaviour``; ``all positions`` (overlap with the donor's own next-token
    distribution when every aligned row is replaced); sham ``own rows``; guard ``off-target KL`` (outside the options,
    from the nearer of the two prompts' clean distributions). Pairs whose answer stands in the prompt are left aside.
    """
    start, (early, _) = time.perf_counter(), stages(subject)
    found = subject.once(interchanges)
    arms = {
        "same-answer donor": {pair: of.same_answer.subject[early] for pair, of in found.items() if of.same_answer},
        "mismatched donor": {pair: of.mismatched.subject[early] for pair, of in found.items() if of.mismatched},
        **control_arms(subject, held_effects, mechanism_controls(subject)),
        **_assay(subject),
    }
    return _measurement(subject, "fact_held", "nats", held_effects(subject), arms, layer=early, start=start)


def fact_flips(subject: Subject) -> Measurement:
    """Share of pairs in which the subject's rows after the first quarter make the donor's answer the prediction.

    Arms: ``chance among options``, and those of :func:`fact_held`.
    """
    start, (early, _) = time.perf_counter(), stages(subject)
    found = subject.once(interchanges)
    arms = {
        "same-answer donor": {p: float(of.same_answer.flipped[early]) for p, of in found.items() if of.same_answer},
        "mismatched donor": {p: float(of.mismatched.flipped[early]) for p, of in found.items() if of.mismatched},
        "chance among options": {pair.id: 1 / len(pair.donor.relation.options) for pair in facts_of(subject)},
        **control_arms(subject, flips, mechanism_controls(subject)),
        **_assay(subject),
    }
    return _measurement(subject, "fact_flips", "proportion", flips(subject), arms, layer=early, start=start)


def fact_hand_off(subject: Subject) -> Measurement:
    """By how many nats the subject's rows lead after the first quarter, and the last token's after the third.

    The smaller of the two leads. Arms: those of :func:`fact_held`.
    """
    start, (early, late) = time.perf_counter(), stages(subject)
    found = subject.once(interchanges)
    arms = {
        "same-answer donor": {p: of.same_answer.handed_over(early, late) for p, of in found.items() if of.same_answer},
        "mismatched donor": {p: of.mismatched.handed_over(early, late) for p, of in found.items() if of.mismatched},
        **control_arms(subject, hand_overs, mechanism_controls(subject)),
        **_assay(subject),
    }
    return _measurement(subject, "fact_hand_off", "nats", hand_overs(subject), arms, layer=early, start=start)


def fact_settled(subject: Subject) -> Measurement:
    """What the subject's rows still change after the third quarter, in nats.

    Arms: ``first quarter`` (the same rows while the fact may still be read), sham ``own rows``.
    """
    start, (early, late) = time.perf_counter(), stages(subject)
    found = subject.once(interchanges)
    arms = {"first quarter": {pair: of.donor.subject[early] for pair, of in found.items()}, **_assay(subject)}
    values = {pair: of.donor.subject[late] for pair, of in found.items()}
    return _measurement(subject, "fact_settled", "nats", values, arms, layer=late, start=start)


def _assay(subject: Subject) -> dict[str, Values]:
    found = subject.once(interchanges)
    return {
        "all positions": {pair: of.overlap for pair, of in found.items()},
        "off-target KL": {pair: of.off_target for pair, of in found.items()},
        "own rows": subject.once(_own_rows),
    }


def _own_rows(subject: Subject) -> Values:
    """Sham, on one pair per wording: what the recipient's own rows change, in nats."""
    runs, (early, _), moved = subject.once(FactRuns), stages(subject), {}
    for pair in {(pair.recipient.relation.id, pair.recipient.template): pair for pair in facts_of(subject)}.values():
        recipient, options = runs.clean(pair.recipient), runs.option_ids(pair.donor)
        own: Row = [
            ReplaceRow(early, at, recipient.resid_post(early)[at]) for at, _ in runs.align(pair, pair.donor).subject
        ]
        change = preference(recipient.edit([own]), options) - preference(recipient.unedited([own]), options)
        moved[pair.id] = float(change)
    return moved


def _measurement(
    subject: Subject,
    name: str,
    unit: str,
    values: Values,
    arms: Mapping[str, Mapping[str, float]],
    *,
    layer: int,
    start: float,
) -> Measurement:
    pairs, (early, late) = facts_of(subject), stages(subject)
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit=unit,
        design="one-way",
        parameters={"pairs": [pair.id for pair in pairs], "first quarter": f"L{early}", "third quarter": f"L{late}"},
        values=values,
        clusters={pair.id: (pair.cluster,) for pair in pairs},
        arms=arms,
        detectable=tuple(pair.id for pair in pairs if not pair.answer_in_prompt),
        reach={"rows": _reach_rows(subject, layer)},
        detail=subject.once(_detail),
        seconds=time.perf_counter() - start,
    )


def _detail(subject: Subject) -> dict[str, object]:
    """Mean curves and crossing layers, for pairs whose answers stand in their prompts and for the others."""
    pairs, found = facts_of(subject), subject.once(interchanges)
    copied = [found[pair.id].donor for pair in pairs if pair.answer_in_prompt]
    return {
        "accuracy": subject.once(accuracy),
        "all pairs": _means([of.donor for of in found.values()]),
        "answer in the fact": _means(copied),
        **without_doubtful(subject, lambda ids: _means([found[pair].donor for pair in ids])),
        "pairs": pairs_asked(subject),
        "crossing layer": {pair: of.donor.crossing() for pair, of in found.items()},
    }


def _means(curves: list[Curves]) -> dict[str, dict[int, float]]:
    """Mean over pairs by layer; empty without pairs."""
    layers = list(curves[0].last) if curves else []
    return {
        "subject's rows, nats": {layer: statistics.fmean(of.subject[layer] for of in curves) for layer in layers},
        "last token's row, nats": {layer: statistics.fmean(of.last[layer] for of in curves) for layer in layers},
        "exact flips": {layer: statistics.fmean(of.flipped[layer] for of in curves) for layer in layers},
    }


def _reach_rows(subject: Subject, layer: int) -> list[dict[str, object]]:
    """Whether the wiring lets the subject's rows after ``layer`` reach the last position's logits, per wording."""
    runs, rows = subject.once(FactRuns), dict[str, dict[str, object]]()
    for pair in facts_of(subject):
        recipient = runs.clean(pair.recipient)
        last = len(recipient.tokens) - 1
        places = runs.align(pair, pair.donor).subject
        at = ", ".join(str(to) for to, _ in places)
        name = f"{pair.recipient.relation.id}-{pair.recipient.template}: L{layer}@{at} → logits@{last}"
        if name not in rows:
            edits = subject_rows(runs, pair, pair.donor, layer)
            rows[name] = reach_row(recipient, edits, Logits(last), name=name)
    return list(rows.values())
