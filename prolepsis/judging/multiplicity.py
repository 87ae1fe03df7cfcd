"""How surely a row is decided, for the level its family leaves it (imports no torch).

A family errs no more than promised only where the p-values that Holm's method ranks are those of whole decisions: a row
is decided by its criterion, its rivals and its nulls together, and any of them can be the one on the edge.
"""

from collections.abc import Sequence

from prolepsis.judging.clustered import Estimate
from prolepsis.judging.evidence import Evidence
from prolepsis.ledger import Control


def decision_p(evidence: Evidence) -> float:
    """The smallest level at which rules 5 to 7 decide; 0 where nothing is left to chance, 1 where no level will do.

    Support needs the criterion and every control to be cleared, so its p-value is the largest of theirs (Berger 1982);
    to fail against one of m controls takes m times the smallest, beside all that has to hold before.
    """
    if not evidence.values:
        return 1.0
    if evidence.design == "single":
        return 0.0
    met, missed = _criterion(evidence)
    failed = [missed]
    for role in ("rival", "null") if evidence.claim.kind == "exclusivity" else ("null",):
        cleared, equalled = _against(evidence, evidence.claim.arms(role))
        failed.append(max(met, equalled))
        met = max(met, cleared)
    return min(met, *failed)


def _criterion(evidence: Evidence) -> tuple[float, float]:
    """p-values for the criterion, and against it (rule 5)."""
    claim = evidence.claim
    if claim.kind == "universal":
        least = min(evidence.values.values())
        return float(least < claim.theta0), float(least >= claim.theta0 - claim.delta)
    if claim.kind == "equality":
        low, high = claim.limits
        above_low, below_low = evidence.theta.p_values(low)
        above_high, below_high = evidence.theta.p_values(high)
        return max(above_low, below_high), min(below_low, above_high)
    above, below = evidence.theta.p_values(claim.theta0)
    return (below, above) if claim.kind == "absence" else (above, below)


def _against(evidence: Evidence, controls: Sequence[Control]) -> tuple[float, float]:
    """p-values for a value beyond all of the controls by delta, and for one of them giving as much (rules 6 and 7)."""
    contrasts = [evidence.contrast(control) for control in controls]
    found = [_gap_p(evidence, contrast) for contrast in contrasts if contrast is not None]
    equalled = min((len(controls) * within for _, within in found), default=1.0)
    whole = len(found) == len(controls) > 0
    return max(beyond for beyond, _ in found) if whole else 1.0, min(1.0, equalled)


def _gap_p(evidence: Evidence, contrast: Estimate) -> tuple[float, float]:
    """p-values for a difference of more than delta from an arm, and of less; for an equality, on either side."""
    delta = evidence.claim.delta
    above, below = contrast.p_values(delta)
    if evidence.claim.kind != "equality":
        return above, below
    beyond_other_side, within_other_side = reversed(contrast.p_values(-delta))
    return min(above, beyond_other_side), max(below, within_other_side)
