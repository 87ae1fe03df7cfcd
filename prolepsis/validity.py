"""Rule 4 of judging: whether a measurement is good enough to decide anything (imports no torch)."""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace

from prolepsis.evidence import Evidence
from prolepsis.ledger import Control
from prolepsis.measurement import Measurement
from prolepsis.rules import Decision, decide, number

MIN_CLUSTERS = 6
MIN_ITEMS = 12
MAX_EXCLUDED = 0.20
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
    everywhere, bound = evidence.arms.get(control.name, {}).values(), control.bound or 0.0
    arm = evidence.arm(control) if control.role == "positive" else None
    if control.role in ("null", "rival"):
        return []
    if not everywhere or (control.role == "positive" and arm is None):
        return [f"{control.label} ({control.role}) was not measured"]
    if control.role == "guard" and mean(everywhere) > bound:
        return [f"off-target damage: {control.label} is {number(mean(everywhere))}, allowed {number(bound)}"]
    if arm is not None and arm.bounds(WORKS_AT)[0] < bound:
        found = f"{number(arm.value)}, at least {number(arm.bounds(WORKS_AT)[0])}"
        return [f"dead assay: {control.label} gives {found}, where {number(bound)} shows it works"]
    return []


def _too_few(evidence: Evidence) -> list[str]:
    found = []
    if evidence.size < MIN_CLUSTERS:
        found.append(f"{evidence.size} clusters, {MIN_CLUSTERS} are needed to speak of {evidence.claim.population!r}")
    if len(evidence.values) < MIN_ITEMS:
        found.append(f"{len(evidence.values)} detectable items, {MIN_ITEMS} are needed")
    for control in (*evidence.claim.arms("null"), *evidence.claim.arms("rival"), *evidence.claim.arms("positive")):
        clusters = evidence.count(evidence.measured(control))
        if 0 < clusters < min(MIN_CLUSTERS, evidence.size):
            found.append(f"{control.label} was measured in {clusters} clusters, {MIN_CLUSTERS} are needed")
    return found


def robust(decision: Decision, evidence: Evidence, excluded: Mapping[str, str], alpha: float) -> Decision:
    """Rule 4, as far as it depends on what would be decided."""
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


def mean(values: Collection[float]) -> float:
    """The mean of some values, at least one."""
    return math.fsum(values) / len(values)
