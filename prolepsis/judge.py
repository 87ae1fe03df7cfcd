"""From a measurement to a verdict: a pure function, the first rule that matches decides (imports no torch).

0. not measured → untested
1. the instrument failed → HarnessFault, never a verdict
2. the paper alone: what it says responds to what, by rule 3, which leaves it open or not; figures against each other →
   inconsistent or supported
3. wiring: only the claimed outcome, or none, can come out → vacuous; it cannot come out → contradicted
4. validity: too few clusters or items, too many exclusions, a broken guard, a dead positive control → inconclusive
5. criterion, by one-sided bounds against theta0
6. exclusivity: a rival that does as well → contradicted
7. nulls: one that gives as much → vacuous; beyond every null by delta → supported; else inconclusive

Two checks of rule 4 need to know what would be decided. *Exclusions* make it inconclusive when the excluded items, at
their worst, would change it. *Power*: no exclusion without sensitivity. A minimal detectable effect above delta
undoes a non-finding (contradicted by a low value or by a rival, vacuous): an exclusion by an instrument that could not
have seen delta owes more to luck than to measuring, which is why searches for new particles constrain their limits by
power. It does not undo a finding: a bound that clears its threshold did so against that same scatter, at the promised
error rate; 12 ± 3 nats is not nothing because 2 nats would have been missed. Nor does it undo a non-finding whose
threshold lies further from the estimate than the minimal detectable effect: that distance had to be detected, and it
could be.

Where several nulls or rivals each could end the matter, each is tried at alpha/m. A control that the claim names and
the measurement lacks never counts as passed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from prolepsis import statistics
from prolepsis.errors import HarnessFault, Untested
from prolepsis.judging.clustered import FORWARD_NOISE, Estimate
from prolepsis.judging.evidence import Evidence, Rows, overall_reach
from prolepsis.judging.multiplicity import decision_p
from prolepsis.judging.rules import Decision, Word, decide, finite, gap
from prolepsis.judging.validity import WORKS_AT, by_validity, damage, robust
from prolepsis.ledger import Claim, Control
from prolepsis.measurement import Measurement

Agreement = Literal["yes", "no", "cannot tell"]
ClaimKey = tuple[str, str]


@dataclass(frozen=True)
class Verdict:
    """What was decided and from what; everything but ``verdict`` in plain JSON types.

    ``margin`` is the distance of the deciding bound from its threshold in standard errors; None where there is none to
    measure it in (a deterministic value, no variance but in counts, a rule that compares no bound). ``measured`` and
    ``controls`` have the fields of the report; bounds in them are the one-sided ones that decided, None where infinite.
    ``p_values`` are those above 0 of its family's decisions, by "id variant", which set the level of its bounds.
    """

    verdict: Word
    reason: str
    margin: float | None
    agrees: Agreement
    population: str
    measured: Mapping[str, Any] | None
    controls: Sequence[Mapping[str, Any]]
    reach: Mapping[str, Any] | None
    p_values: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.verdict}: {self.reason}"


def untested(claim: Claim, reason: str) -> Verdict:
    """The verdict on a claim that could not be measured; ``reason`` says what to get and how large it is."""
    return Verdict("untested", reason, None, "cannot tell", claim.population, None, (), None)


def judge(claim: Claim, measurement: Measurement | Untested, alpha: float = 0.05) -> Verdict:
    """The verdict of ``measurement`` on ``claim``, every one-sided bound at level ``alpha``.

    Raises HarnessFault when the instrument failed: a sham arm moved, an unreachable readout moved, groups that were
    used to choose features, heads, sites or doses were used again to test them, or an arm of proportions holds none.
    """
    if isinstance(measurement, Untested):
        return untested(claim, str(measurement))
    _check_instrument(claim, measurement)
    reach = None
    if measurement.reach is not None:
        reach = {"answer": overall_reach(claim, measurement), "rows": list(measurement.reach.get("rows", ()))}
    if claim.kind == "arithmetic":
        found = _by_wiring(reach) or _of_the_paper(measurement, reach)
        return Verdict(found.verdict, found.reason, None, "cannot tell", claim.population, None, (), reach)
    evidence = Evidence.of(claim, measurement)
    decision = _by_wiring(reach) or by_validity(evidence, measurement)
    if decision is None:
        decision = robust(decide(evidence, alpha), evidence, measurement.excluded, alpha)
    aside = f"; {evidence.aside} items that could not tell are left aside" if evidence.aside else ""
    return Verdict(
        verdict=decision.verdict,
        reason=decision.reason + aside,
        margin=decision.margin,
        agrees=_agrees(claim, evidence.theta if evidence.values else None),
        population=claim.population,
        measured=_measured(evidence, alpha) if evidence.values else None,
        controls=[_control_row(evidence, control, alpha) for control in claim.controls],
        reach=reach,
    )


def judge_family(
    claims: Sequence[Claim],
    measurements: Mapping[ClaimKey, Measurement | Untested],
    alpha: float = 0.05,
    beside: Mapping[ClaimKey, float] | None = None,
) -> dict[ClaimKey, Verdict]:
    """Verdicts on ``claims`` by (id, variant), errors held to ``alpha`` within each family and subject (Holm).

    Give all rows of a family: a row that was not measured counts as one that shows nothing, so that leaving out what
    would be clear can make the level of the others stricter, never looser. ``beside`` holds the p-values of further
    rows of that family on that subject, as the verdicts on them kept these.
    """
    levels: dict[ClaimKey, float] = {}
    kept: dict[ClaimKey, Mapping[str, float]] = {}
    for group in _families(claims, measurements):
        p_values = dict(beside or {}) | {claim.key: _decision_p(claim, measurements.get(claim.key)) for claim in group}
        levels |= zip(p_values, statistics.holm(list(p_values.values()), alpha), strict=True)
        # Rows of p = 0 take nothing from the level of the others.
        above = {" ".join(key): p for key, p in p_values.items() if p > 0}
        kept |= {claim.key: above for claim in group if isinstance(measurements.get(claim.key), Measurement)}
    missing = Untested("was not measured")
    verdicts = {c.key: judge(c, measurements.get(c.key, missing), levels.get(c.key, alpha)) for c in claims}
    return {key: replace(verdict, p_values=kept.get(key, {})) for key, verdict in verdicts.items()}


def _decision_p(claim: Claim, measurement: Measurement | Untested | None) -> float:
    return decision_p(Evidence.of(claim, measurement)) if isinstance(measurement, Measurement) else 1.0


def _families(claims: Sequence[Claim], measurements: Mapping[ClaimKey, Measurement | Untested]) -> list[list[Claim]]:
    """Claims that share a family and a subject; those not measured belong to every subject of their family."""
    subjects = {key: m.subject for key, m in measurements.items() if isinstance(m, Measurement)}
    tested = [claim for claim in claims if claim.kind != "arithmetic"]
    groups = dict.fromkeys((claim.family, subjects[claim.key]) for claim in tested if claim.key in subjects)
    return [
        [c for c in tested if c.family == family and subjects.get(c.key, subject) == subject]
        for family, subject in groups
    ]


def _check_instrument(claim: Claim, measurement: Measurement) -> None:
    """Rule 1."""
    name = f"{claim.id} on {measurement.subject}"
    for control in claim.arms("sham"):
        for item, deviation in measurement.arms.get(control.name, {}).items():
            if abs(deviation) > (control.bound or 0.0):
                raise HarnessFault(f"{name}: {control.label} moved by {deviation:.3g} in item {item!r}")
    for row in (measurement.reach or {}).get("rows", ()):
        if row.get("moved", False) and not row["reachable"]:
            raise HarnessFault(f"{name}: {row['name']} moved although it cannot be reached: {row['why']}")
    alone = [measurement.parameters] if "discovery" in measurement.parameters else []
    for fold in [*measurement.parameters.get("folds", ()), *alone]:
        reused = sorted(set(fold["discovery"]) & set(fold["tested"]))
        if reused:
            raise HarnessFault(f"{name}: discovery data reused for testing: {', '.join(map(str, reused))}")
    if claim.kind != "arithmetic" and measurement.unit != claim.scale:
        raise HarnessFault(f"{name}: measured in {measurement.unit}, but the claim is in {claim.scale}")
    if claim.scale == "proportion":
        _check_proportions(name, claim, measurement)


def _check_proportions(name: str, claim: Claim, measurement: Measurement) -> None:
    """Rule 1 for the arms that are estimated as the value is; shams and guards are in units of their own."""
    for control in (control for control in claim.controls if control.role in ("null", "rival", "positive")):
        for item, value in measurement.arms.get(control.name, {}).items():
            if not -FORWARD_NOISE <= value <= 1 + FORWARD_NOISE:
                raise HarnessFault(f"{name}: {control.label} is {value:g} in item {item!r}, which is no proportion")


def _of_the_paper(measurement: Measurement, reach: Mapping[str, Any] | None) -> Decision:
    """Rule 2, where rule 3 leaves the claim open."""
    disagreements = measurement.detail["disagreements"]
    if disagreements:
        return Decision("inconsistent", "; ".join(map(str, disagreements)))
    if reach is None:
        return Decision("supported", "the paper's numbers agree with each other")
    fixed = _unreachable(reach["rows"])
    but = f", but fixes {len(fixed)} of {len(reach['rows'])} readouts: {_whys(fixed)}" if fixed else ""
    return Decision("supported", f"the wiring leaves it open{but}")


def _by_wiring(reach: Mapping[str, Any] | None) -> Decision | None:
    """Rule 3."""
    if reach is None or reach["answer"] == "free":
        return None
    fixed = _unreachable(reach["rows"])
    if reach["answer"] == "forced":
        why = f"forced: the wiring lets nothing but the claimed outcome, or none, come out: {_whys(fixed)}"
        return Decision("vacuous", why)
    why = _whys([row for row in fixed if row.get("claimed", True)])
    return Decision("contradicted", f"impossible: the wiring does not let the claimed outcome come out: {why}")


def _unreachable(rows: Rows) -> list[Mapping[str, Any]]:
    return [row for row in rows if not row["reachable"]]


def _whys(rows: Rows) -> str:
    """Why rows cannot be reached: the first reason, and how many others there are."""
    whys = list(dict.fromkeys(row["why"] for row in rows))
    return whys[0] if len(whys) == 1 else f"{whys[0]} (and {len(whys) - 1} more)"


def _agrees(claim: Claim, theta: Estimate | None) -> Agreement:
    """Whether the two-sided 95 % interval lies inside, outside or across the tolerance of a published value."""
    printed = [entry["value"] for entry in claim.published if not isinstance(entry["value"], str)]
    if theta is None or claim.tolerance is None or not printed:
        return "cannot tell"
    low, high = theta.bounds(0.025)
    if any(value - claim.tolerance <= low and high <= value + claim.tolerance for value in printed):
        return "yes"
    if all(high < value - claim.tolerance or low > value + claim.tolerance for value in printed):
        return "no"
    return "cannot tell"


def _measured(evidence: Evidence, alpha: float) -> dict[str, Any]:
    theta = evidence.theta
    low, high = theta.bounds(alpha)
    return {
        "value": theta.value,
        "unit": evidence.claim.scale,
        "k": theta.k,
        "n": theta.n,
        "clusters": theta.clusters,
        "ci": [finite(low), finite(high)],
        "ci_method": theta.method,
        "sided": f"one-sided {100 * (1 - alpha):.4g} %",
    }


def _control_row(evidence: Evidence, control: Control, alpha: float) -> dict[str, Any]:
    """The report's row of one control; all but name and role None when it was not measured."""
    value, difference, ci, passed = None, None, None, None
    everywhere, bound = evidence.arms.get(control.name, {}).values(), control.bound or 0.0
    counted = evidence.measured(control).values()
    if control.role == "sham" and everywhere:
        value = max(map(abs, everywhere))
        passed = value <= bound
    elif control.role == "guard" and counted:
        value = damage(counted)
        passed = value <= bound
    elif control.role == "positive" and (arm := evidence.arm(control)) is not None:
        value, ci = arm.value, arm.bounds(WORKS_AT)
        passed = ci[0] >= bound
    elif (arm := evidence.arm(control)) is not None and (contrast := evidence.contrast(control)) is not None:
        value, difference, ci = arm.value, contrast.value, contrast.bounds(alpha)
        passed = gap(evidence, contrast, alpha)[0] > evidence.claim.delta
    return {
        "name": control.name,
        "role": control.role,
        "value": value,
        "difference": difference,
        "ci": None if ci is None else [finite(ci[0]), finite(ci[1])],
        "passed": passed,
    }
