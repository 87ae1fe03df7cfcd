"""What do the heads that carry a redirect do? Their outputs, patterns and values, undone or done by themselves.

The carriers are chosen on one half of the rhyme groups (see :mod:`prolepsis.experiments.carriers`) and tested together
on the other: what is lost with their clean outputs under the edit, what their edited outputs make of the clean run, and
what is lost when their patterns alone, or their values alone, are undone.
"""

import time
from collections.abc import Callable, Mapping

import torch

from prolepsis.controls import control_arms, mechanism_controls
from prolepsis.directions import random_row
from prolepsis.experiments.carriers import DRAWS, Carriers, find_carriers
from prolepsis.experiments.mediation import Outputs, log_odds, moved_by_own_outputs
from prolepsis.experiments.rhyme_pairs import Pair, Runs, clusters_of
from prolepsis.measurement import Measurement
from prolepsis.subject import Subject
from prolepsis.watching import watched

Values = Mapping[str, float]
Arms = Mapping[str, Mapping[str, float]]
"""Arm → pair id → share of the redirect."""
Asked = dict[tuple[str, int], Outputs]
"""(Arm, draw) → outputs to put in."""


def shares(subject: Subject) -> dict[str, Arms]:
    """What is undone or done → arm (``carriers`` and its controls) → pair id → share of the redirect.

    ``output``, ``pattern`` and ``values`` are undone under the edit; ``sufficiency`` is done in the clean run.
    """
    found = subject.once(find_carriers)
    means = _mean_outputs(found)
    asked: dict[str, list[Asked]] = {what: [] for what in ("output", "pattern", "values", "sufficiency")}
    for seed, pair in enumerate(watched(found.pairs, "pairs")):
        one = found.mediations[pair.id]
        for what, start, put in (
            ("output", one.edited_z, one.clean_z),
            ("pattern", one.edited_z, one.clean_pattern),
            ("values", one.edited_z, one.clean_values),
            ("sufficiency", one.clean_z, one.edited_z),
        ):
            asked[what].append(_arms(found, pair, start, put, seed))
        asked["output"][-1] |= _ablations(found, pair, means)
    done = {"sufficiency": asked.pop("sufficiency")}
    return _answered(found, asked, edited=True) | _answered(found, done, edited=False)


def _arms(found: Carriers, pair: Pair, start: Outputs, put: Outputs, seed: int) -> Asked:
    """The carriers' outputs from ``start`` replaced by ``put``, and the control arms of this."""
    carriers, others = found.heads_of(pair)
    sets = {("carriers", 0): carriers, ("other heads", 0): others, ("all heads", 0): (*carriers, *others)}
    sets |= {("random heads", draw): heads for draw, heads in enumerate(found.random_heads(pair))}
    moved = {head: start[head] + random_row(put[head] - start[head], seed) for head in carriers}
    asked: Asked = {arm: {head: put[head] for head in heads} for arm, heads in sets.items()}
    return asked | {("random edit", 0): moved}


def _ablations(found: Carriers, pair: Pair, means: Mapping[str, Outputs]) -> Asked:
    """The carriers' outputs replaced by zero, which no run gives, and by their mean over the template's prompts."""
    carriers, _ = found.heads_of(pair)
    mean = {head: means[pair.recipient.template.id][head] for head in carriers}
    return {("zero", 0): {head: torch.zeros_like(z) for head, z in mean.items()}, ("mean", 0): mean}


def _mean_outputs(found: Carriers) -> dict[str, Outputs]:
    """Template id → head → its mean clean z at the last position, over the template's prompts."""
    runs: dict[str, list[Outputs]] = {}
    for pair in found.pairs:
        runs.setdefault(pair.recipient.template.id, []).append(found.mediations[pair.id].clean_z)
    return {
        template: {head: torch.stack([z[head] for z in each if head in z]).mean(0) for z in each for head in z}
        for template, each in runs.items()
    }


def _answered(found: Carriers, asked: Mapping[str, list[Asked]], *, edited: bool) -> dict[str, Arms]:
    """As :func:`shares`: of the redirect lost under the edit, or made in the clean run; the mean over draws."""
    each = [(what, pair, sets) for what in asked for pair, sets in zip(found.pairs, asked[what], strict=True)]
    answers = log_odds([(found.mediations[pair.id], list(sets.values())) for _, pair, sets in each], edited=edited)
    arms: dict[str, dict[str, dict[str, float]]] = {what: {} for what in asked}
    for (what, pair, sets), (base, *odds) in zip(each, answers, strict=True):
        for (arm, _), value in zip(sets, odds, strict=True):
            share = found.share(pair, base - value if edited else value - base)
            of_arm = arms[what].setdefault(arm, {})
            of_arm[pair.id] = of_arm.get(pair.id, 0.0) + share / (DRAWS if arm == "random heads" else 1)
    return dict(arms)


def leading_shares(subject: Subject) -> Arms:
    """As :func:`shares`, of the outputs of the five leading heads, undone under the edit."""
    found = subject.once(find_carriers).leading()
    asked = []
    for seed, pair in enumerate(watched(found.pairs, "pairs")):
        one = found.mediations[pair.id]
        asked.append(_arms(found, pair, one.edited_z, one.clean_z, seed))
    return _answered(found, {"output": asked}, edited=True)["output"]


def leading_output_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect that is lost with the clean outputs of the five leading heads."""
    return subject.once(leading_shares)["carriers"]


def output_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect that is lost with the carriers' clean outputs."""
    return subject.once(shares)["output"]["carriers"]


def sufficiency_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect that the carriers' edited outputs make in the clean run."""
    return subject.once(shares)["sufficiency"]["carriers"]


def pattern_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect that is lost with the carriers' clean patterns and edited values."""
    return subject.once(shares)["pattern"]["carriers"]


def values_shares(subject: Subject) -> Values:
    """Pair id → share of the redirect that is lost with the carriers' edited patterns and clean values."""
    return subject.once(shares)["values"]["carriers"]


def head_outputs(subject: Subject) -> Measurement:
    """Share of the redirect lost with the carriers' clean outputs at the reading position, with its control arms.

    Arms: ``other heads`` (all other heads the edit reaches), ``random heads`` (sets of equal size), ``random edit`` (a
    change of the carriers' outputs of equal norm), ``untrained twin``, ``same behaviour``; ``all heads``, which carry
    everything. ``detail`` has what each head loses and makes alone, and what is lost with outputs of zero, or of the
    mean over prompts.
    """
    found, arms = subject.once(find_carriers), subject.once(shares)["output"]
    detail = {
        "lost by each head": found.shares(found.lost),
        "made by each head": found.shares(found.made),
        "zero ablation": arms["zero"],
        "mean ablation": arms["mean"],
        "redirect, nats": found.redirects,
    }
    return _measurement(subject, "head_outputs", output_shares, detail)


def leading_head_outputs(subject: Subject) -> Measurement:
    """Share of the redirect lost with the clean outputs of the five leading heads of the other half; same arms."""
    start, found, arms = time.perf_counter(), subject.once(find_carriers).leading(), subject.once(leading_shares)
    kept = {arm: values for arm, values in arms.items() if arm != "carriers"}
    return _made(subject, "leading_head_outputs", found, leading_output_shares, arms=kept, detail={}, start=start)


def head_sufficiency(subject: Subject) -> Measurement:
    """Share of the redirect that the carriers' edited outputs make in the clean run; same arms.

    Sham ``own outputs``: the clean outputs of all heads put into the clean run.
    """
    return _measurement(subject, "head_sufficiency", sufficiency_shares, {}, {"own outputs": _own_outputs(subject)})


def _own_outputs(subject: Subject) -> Values:
    found = subject.once(find_carriers)
    moved = moved_by_own_outputs([found.mediations[pair.id] for pair in found.pairs])
    return {pair.id: found.share(pair, nats) for pair, nats in zip(found.pairs, moved, strict=True)}


def head_patterns(subject: Subject) -> Measurement:
    """Share of the redirect lost when only where the carriers look is undone; same arms."""
    return _measurement(subject, "head_patterns", pattern_shares, {})


def head_values(subject: Subject) -> Measurement:
    """Share of the redirect lost when only what the carriers find there is undone; same arms."""
    return _measurement(subject, "head_values", values_shares, {})


_WHAT = {
    "head_outputs": "output",
    "head_sufficiency": "sufficiency",
    "head_patterns": "pattern",
    "head_values": "values",
}


def _measurement(
    subject: Subject,
    name: str,
    measure: Callable[[Subject], Values],
    detail: Mapping[str, object],
    shams: Arms | None = None,
) -> Measurement:
    start = time.perf_counter()
    found, measured = subject.once(find_carriers), subject.once(shares)
    of_all = measured["sufficiency" if name == "head_sufficiency" else "output"]["all heads"]
    # Patterns or values of all heads need not carry anything; whole outputs must.
    arms = {arm: values for arm, values in measured[_WHAT[name]].items() if arm not in ("carriers", "zero", "mean")}
    return _made(
        subject, name, found, measure, arms={**arms, **(shams or {}), "all heads": of_all}, detail=detail, start=start
    )


def _made(
    subject: Subject,
    name: str,
    found: Carriers,
    measure: Callable[[Subject], Values],
    *,
    arms: Arms,
    detail: Mapping[str, object],
    start: float,
) -> Measurement:
    return Measurement(
        experiment=name,
        subject=subject.digest,
        unit="share",
        design="pairs-of-groups",
        parameters=found.parameters(),
        values=measure(subject),
        clusters=clusters_of(found.pairs),
        arms={**arms, **control_arms(subject, measure, mechanism_controls(subject))},
        detectable=found.detectable(),
        reach={"rows": found.sites.reach_rows(subject.once(Runs))},
        detail={"carriers": found.named(), **detail},
        seconds=time.perf_counter() - start,
    )
