"""Rule 4 of judging: whether a measurement is good enough to decide anything (imports no torch)."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from prolepsis.judging.evidence import Evidence
from prolepsis.judging.rules import Decision, decide, number
from prolepsis.ledger import Control
from prolepsis.measurement import Measurement

MIN_CLUSTERS = 6
MIN_ITEMS = 12
MAX_EXCLUDED = 0.20
"""Share of the items that may be excluded, and of those that count that an arm may lack."""
WORKS_AT = 0.05
"""Level at which a positive control has to work: whether an assay is alive does not depend on the rows beside it."""


def by_validity(evidence: Evidence, measurement: Measurement) -> Decision | None:
    """Rule 4, as far as it does not depend on what would be decided; names everything that falls short."""
    claim, found = evidence.claim, []
    excluded = len(measurement.excluded)
    items = excluded + len(measurement.values)
    if not (evidence.design == "single" and claim.population == "this prompt" and evidence.values):
        found += _too_few(evidence)
    if excluded > MAX_EXCLUDED * items:
        found.append(f"{excluded} of {items} items were excluded, more than {MAX_EXCLUDED:.0%}")
    for control in claim.controls:
        found += _broken(evidence, control)
    return Decision("inconclusive", "; ".join(found)) if found else None


def _broken(evidence: Evidence, control: Control) -> list[str]:
    """What is wrong with a control that has to hold before anything else counts."""
    bound = control.bound or 0.0
    if control.role in ("null", "rival"):
        return []
    if not evidence.measured(control):
        where = "measured on no item that counts" if evidence.arms.get(control.name) else "not measured"
        return [f"{control.label} ({control.role}) was {where}"]
    if control.role == "sham":
        return []
    found = _uncovered(evidence, control)
    if control.role == "guard" and (done := damage(evidence.measured(control).values())) > bound:
        found.append(f"off-target damage: {control.label} is {number(done)}, allowed {number(bound)}")
    if control.role == "positive" and (arm := evidence.arm(control)) and arm.bounds(WORKS_AT)[0] < bound:
        gives = f"{number(arm.value)}, at least {number(arm.bounds(WORKS_AT)[0])}"
        found.append(f"dead assay: {control.label} gives {gives}, where {number(bound)} shows it works")
    return found


def _uncovered(evidence: Evidence, control: Control) -> list[str]:
    """Says so where an arm lacks too many of the items that count, which an experiment could have picked."""
    measured, items = len(evidence.measured(control)), len(evidence.values)
    if items - measured <= MAX_EXCLUDED * items:
        return []
    least = f"{1 - MAX_EXCLUDED:.0%} are needed"
    return [f"{control.label} was measured on {measured} of the {items} items that count, {least}"]


def _too_few(evidence: Evidence) -> list[str]:
    found = []
    if evidence.size < MIN_CLUSTERS:
        found.append(f"{evidence.size} clusters, {MIN_CLUSTERS} are needed to speak of {evidence.claim.population!r}")
    if len(evidence.values) < MIN_ITEMS:
        found.append(f"{len(evidence.values)} detectable items, {MIN_ITEMS} are needed")
    for control in (control for control in evidence.claim.controls if control.role != "sham"):
        clusters = evidence.count(evidence.measured(control))
        if 0 < clusters < min(MIN_CLUSTERS, evidence.size):
            found.append(f"{control.label} was measured in {clusters} clusters, {MIN_CLUSTERS} are needed")
    return found


def robust(decision: Decision, evidence: Evidence, excluded: Mapping[str, str], alpha: float) -> Decision:
    """Rule 4, as far as it depends on what would be decided."""
    decision, evidence = _by_whole_arms(decision, evidence, alpha)
    for favourable in (True, False) if excluded and decision.verdict != "inconclusive" else ():
        other = decide(evidence.with_excluded(excluded, favourable=favourable), alpha)
        if other.verdict != decision.verdict:
            return Decision(
                "inconclusive",
                f"the {len(excluded)} excluded items decide: {decision.verdict} without them, {other.verdict} with "
                f"them at their {'best' if favourable else 'worst'}",
            )
    estimate, delta = decision.estimate, evidence.claim.delta
    if estimate is None or decision.finding or estimate.mde <= delta:
        return decision
    if decision.verdict != "inconclusive" and abs(estimate.value - decision.threshold) >= estimate.mde:
        return decision
    return replace(
        decision,
        verdict="inconclusive",
        reason=f"underpowered: the smallest detectable effect is {number(estimate.mde, evidence.claim.scale)}, where "
        f"{number(delta)} has to be seen ({decision.reason})",
    )


def _by_whole_arms(decision: Decision, evidence: Evidence, alpha: float) -> tuple[Decision, Evidence]:
    """What is decided without the nulls and rivals that lack too many items, for or against the claim, and from what.

    Inconclusive, which names them, where that is not what they would have decided as well.
    """
    compared = [c for c in evidence.claim.controls if c.role in ("null", "rival") and evidence.measured(c)]
    partial = {control.name: found for control in compared if (found := _uncovered(evidence, control))}
    if not partial or decision.verdict == "inconclusive":
        return decision, evidence
    whole = replace(evidence, arms={name: arm for name, arm in evidence.arms.items() if name not in partial})
    without = decide(whole, alpha)
    if without.verdict == decision.verdict:
        return without, whole
    return Decision("inconclusive", "; ".join(sentence for found in partial.values() for sentence in found)), whole


def damage(values: Collection[float]) -> float:
    """The mean of a guard's values, at least one, where those below 0 count as none: they make up for no damage."""
    return math.fsum(max(value, 0.0) for value in values) / len(values)
