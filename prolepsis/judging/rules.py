"""The rules that weigh evidence by its bounds: criterion, exclusivity, nulls (rules 5 to 7 of the judge; no torch)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prolepsis.judging.clustered import Estimate
from prolepsis.judging.evidence import Evidence
from prolepsis.ledger import Control

Word = Literal["supported", "contradicted", "vacuous", "inconclusive", "inconsistent", "untested"]
FLOAT_NOISE = 1e-15  # of float64 sums; smaller numbers are printed as 0


@dataclass(frozen=True)
class Decision:
    """A verdict in the making; ``estimate`` missed or cleared ``threshold`` by ``bound``."""

    verdict: Word
    reason: str
    estimate: Estimate | None = None
    bound: float = math.nan
    threshold: float = math.nan
    finding: bool = False

    @property
    def margin(self) -> float | None:
        if self.estimate is None or self.estimate.se <= 0:
            return None
        return finite(abs(self.bound - self.threshold) / self.estimate.se)


def decide(evidence: Evidence, alpha: float) -> Decision:
    """Rules 5 to 7."""
    return _by_criterion(evidence, alpha) or _by_rivals(evidence, alpha) or _by_nulls(evidence, alpha)


def _by_criterion(evidence: Evidence, alpha: float) -> Decision | None:
    """Rule 5; None when the criterion holds."""
    claim, theta = evidence.claim, evidence.theta
    if claim.kind == "universal":
        return _universal(evidence)
    if claim.kind == "equality":
        return _equality(evidence, alpha)
    if claim.kind == "absence":
        return _absence(evidence, alpha)
    low, high = theta.bounds(alpha)
    beyond, step = claim.kind == "ordering", _step((low, claim.theta0), (high, claim.theta0))
    asked = f"where {'more than ' if beyond else ''}{number(claim.theta0, step=step)} is claimed"
    between = f"between {number(low, step=step)} and {number(high, step=step)}"
    found = f"{number(theta.value, claim.scale, step)}, {between}, {asked}"
    # A point on theta0 is not more than theta0, whatever else was to be seen.
    if high < claim.theta0 or (beyond and low == high == claim.theta0):
        return Decision("contradicted", f"the effect falls short ({found})", theta, high, claim.theta0)
    if low < claim.theta0 or (beyond and low == claim.theta0):
        return Decision("inconclusive", f"the interval holds both readings ({found})", theta, low, claim.theta0)
    return None


def _absence(evidence: Evidence, alpha: float) -> Decision | None:
    claim, theta = evidence.claim, evidence.theta
    low, high = theta.bounds(alpha)
    step = _step((low, claim.theta0), (high, claim.theta0))
    asked = f"where less than {number(claim.theta0, step=step)} is claimed"
    value = number(theta.value, claim.scale, step)
    if low > claim.theta0:
        reason = f"the effect is there ({value}, at least {number(low, step=step)}, {asked})"
        return Decision("contradicted", reason, theta, low, claim.theta0, finding=True)
    if high >= claim.theta0:
        reason = f"an effect of up to {number(high, claim.scale, step)} is not excluded ({value} measured, {asked})"
        return Decision("inconclusive", reason, theta, high, claim.theta0)
    return None


def _universal(evidence: Evidence) -> Decision | None:
    """One item below theta0 by more than delta is a counterexample; one below it by less leaves the claim open."""
    claim = evidence.claim
    item, value = _least(evidence)
    step = _step((value, claim.theta0))
    given, asked = number(value, claim.scale, step), number(claim.theta0, step=step)
    if value < claim.theta0 - claim.delta:
        return Decision("contradicted", f"counterexample: {item} gives {given}, where every item is to give {asked}")
    if value < claim.theta0:
        return Decision("inconclusive", f"{item} gives {given}, within noise of {asked}")
    return None


def _least(evidence: Evidence) -> tuple[str, float]:
    """The item that gives the least, of several the first by name."""
    return min(evidence.values.items(), key=lambda pair: (pair[1], pair[0]))


def _equality(evidence: Evidence, alpha: float) -> Decision | None:
    """Two one-sided tests against theta0 ± within (Schuirmann 1987)."""
    claim, theta = evidence.claim, evidence.theta
    low, high = theta.bounds(alpha)
    floor, ceiling = claim.limits
    step = min(claim.within, _step((low, floor), (high, floor), (low, ceiling), (high, ceiling)))
    found = (
        f"{number(theta.value, claim.scale, step)}, between {number(low, step=step)} and {number(high, step=step)}, "
        f"where {number(claim.theta0, step=step)} ± {number(claim.within, step=step)} is claimed"
    )
    if high < floor or low > ceiling:
        bound, threshold = (high, floor) if high < floor else (low, ceiling)
        return Decision("contradicted", f"the values differ ({found})", theta, bound, threshold, finding=True)
    if low <= floor or high >= ceiling:
        bound, threshold = (low, floor) if low <= floor else (high, ceiling)
        return Decision("inconclusive", f"equality is not shown ({found})", theta, bound, threshold)
    return None


def _by_rivals(evidence: Evidence, alpha: float) -> Decision | None:
    """Rule 6; None when every rival falls short by delta, or the claim is not exclusive."""
    if evidence.claim.kind != "exclusivity":
        return None
    return _against(evidence, evidence.claim.arms("rival"), alpha, ("contradicted", "does as well"))


def _by_nulls(evidence: Evidence, alpha: float) -> Decision:
    """Rule 7."""
    claim, nulls = evidence.claim, evidence.claim.arms("null")
    if not nulls:
        return Decision("inconclusive", "no null was measured")
    gives = "gives as little" if claim.kind == "absence" else "gives as much"
    missed = _against(evidence, nulls, alpha, ("vacuous", gives))
    return missed or _supported(evidence, alpha)


def _against(evidence: Evidence, controls: Sequence[Control], alpha: float, fail: tuple[Word, str]) -> Decision | None:
    """Tries the controls; ``fail`` is the verdict when one is within delta, and how a sentence says so.

    None when the measured value is beyond all of them by delta.
    """
    delta = evidence.claim.delta
    found = [(control, estimate) for control in controls if (estimate := evidence.contrast(control)) is not None]
    if found:
        each = alpha / len(controls)
        control, estimate = min(found, key=lambda pair: gap(evidence, pair[1], each)[1])
        _, high = gap(evidence, estimate, each)
        if high < delta:
            said = _difference(evidence, estimate, "at most", high)
            return Decision(fail[0], f"{control.label} {fail[1]} ({said})", estimate, high, delta)
    absent = [control.label for control in controls if not evidence.measured(control)]
    if absent:
        return Decision("inconclusive", f"{' and '.join(absent)} ({controls[0].role}) not measured")
    control, estimate = min(found, key=lambda pair: gap(evidence, pair[1], alpha)[0])
    low, _ = gap(evidence, estimate, alpha)
    if low > delta:
        return None
    said = _difference(evidence, estimate, "at least", low)
    return Decision("inconclusive", f"not separated from {control.label} ({said})", estimate, low, delta)


def gap(evidence: Evidence, contrast: Estimate, alpha: float) -> tuple[float, float]:
    """One-sided bounds of how far the measured value is beyond an arm; for an equality, how far on either side."""
    low, high = contrast.bounds(alpha)
    if evidence.claim.kind != "equality":
        return low, high
    return max(low, -high), max(high, -low)


def _difference(evidence: Evidence, contrast: Estimate, side: str, bound: float) -> str:
    """A difference that fell short, in words."""
    claim, step = evidence.claim, _step((bound, evidence.claim.delta))
    value = number(_distance(evidence, contrast), claim.scale, step)
    return f"difference {value}, {side} {number(bound, step=step)}, where {number(claim.delta, step=step)} is asked"


def _distance(evidence: Evidence, contrast: Estimate) -> float:
    """How far the measured value is beyond an arm; an equality's distance has no sign."""
    return abs(contrast.value) if evidence.claim.kind == "equality" else contrast.value


def _supported(evidence: Evidence, alpha: float) -> Decision:
    """Everything is cleared; the nearest threshold, in standard errors, gives the margin and is named."""
    claim, theta = evidence.claim, evidence.theta
    (low, high), (floor, ceiling) = theta.bounds(alpha), claim.limits
    cleared = []
    if claim.kind in ("absence", "equality"):
        cleared.append((theta, high, ceiling))
    if claim.kind not in ("absence", "universal"):
        cleared.append((theta, low, floor))
    roles = ("null", "rival") if claim.kind == "exclusivity" else ("null",)
    labels = {}
    for control in claim.controls:
        contrast = evidence.contrast(control) if control.role in roles else None
        if contrast is not None:
            cleared.append((contrast, gap(evidence, contrast, alpha)[0], claim.delta))
            labels[control.label] = cleared[-1]
    nearest = min(labels, key=lambda label: labels[label][1])
    contrast, beyond, _ = labels[nearest]
    decisions = [Decision("supported", "", *clear, finding=True) for clear in cleared]
    decision = min(decisions, key=lambda d: math.inf if d.margin is None else d.margin)
    step = _step((beyond, claim.delta))
    distance = f"difference {number(_distance(evidence, contrast), step=step)}, at least {number(beyond, step=step)}"
    every = "every null and rival" if "rival" in roles else "every null"
    reason = f"{_met(evidence, low, high)}, beyond {every} (nearest: {nearest}, {distance}){_rivals(evidence, alpha)}"
    return replace(decision, reason=reason)


def _met(evidence: Evidence, low: float, high: float) -> str:
    """The value that meets the criterion, and the number by which it does."""
    claim, value = evidence.claim, evidence.theta.value
    if claim.kind == "universal":
        item, least = _least(evidence)
        step = _step((least, claim.theta0))
        return f"{number(value, claim.scale)} on average, {item} the least with {number(least, step=step)}"
    step = _step((low, claim.limits[0]), (high, claim.limits[1]))
    if claim.kind == "equality":
        step = min(claim.within, step)
        bounds = f"between {number(low, step=step)} and {number(high, step=step)}"
    else:
        bounds = (
            f"at most {number(high, step=step)}" if claim.kind == "absence" else f"at least {number(low, step=step)}"
        )
    return f"{number(value, claim.scale, step)}, {bounds}"


def _rivals(evidence: Evidence, alpha: float) -> str:
    """Other routes that give as much: no objection where none is excluded, but a reader has to know."""
    if evidence.claim.kind == "exclusivity":
        return ""
    rivals = [control for control in evidence.claim.controls if control.role == "rival"]
    contrasts = {control.label: evidence.contrast(control) for control in rivals}
    as_good = [
        label
        for label, contrast in contrasts.items()
        if contrast is not None and gap(evidence, contrast, alpha)[1] < evidence.claim.delta
    ]
    return f"; a rival gives as much: {', and '.join(as_good)}" if as_good else ""


def finite(value: float) -> float | None:
    """The value, None where JSON has no number for it."""
    return value if math.isfinite(value) else None


def _step(*pairs: tuple[float, float]) -> float:
    """The smallest difference a sentence has to show, of bounds and what they are held against; infinite for none."""
    return min((abs(bound - threshold) for bound, threshold in pairs if bound != threshold), default=math.inf)


def number(value: float, unit: str = "", step: float = math.inf) -> str:
    """Two decimals, or two digits where those would hide the size, or as many as show a difference of ``step``.

    No more than seven: a float32 has no more. A proportion needs no unit.
    """
    if math.isinf(value):
        text = "∞" if value > 0 else "−∞"
    elif abs(value) < FLOAT_NOISE:
        text = "0.00"
    else:
        plain = 0.01 <= abs(value) < 1000
        whole = math.floor(math.log10(abs(value))) + 1  # digits before the point, less the zeros after it
        least = 2 if plain else 2 - whole
        places = least if math.isinf(step) else max(least, min(-math.floor(math.log10(step)), 7 - whole))
        text = f"{value:.{places}f}" if plain else f"{value:.{whole + places}g}"
    return text if unit in ("", "proportion", "probability") else f"{text} {unit}"
