"""What would change a verdict: which bound against which threshold, from the numbers it was decided by."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.claim import Claim
from prolepsis.report.markdown import number

Row = Mapping[str, Any]
Arm = Mapping[str, Any]


def what_would_change(row: Row, claim: Claim) -> str:
    """A sentence on what would have to come out for another verdict on this row."""
    reach, measured = row["reach"], row["measured"]
    if row["verdict"] == "untested":
        return "Getting what is missing, and measuring."
    if reach is not None and reach["answer"] != "free":
        return "No measured value: only another wiring, or a readout that the edit can reach."
    if claim.kind == "arithmetic":
        return "Other printed figures: nothing but the paper is judged here."
    if measured is None:
        return "Items in which an effect could have been seen."
    found = {
        "supported": _against_support,
        "contradicted": _against_contradiction,
        "vacuous": _against_vacuity,
        "inconclusive": _against_doubt,
    }[row["verdict"]]
    parts = list(found(row, claim))
    if not parts:
        return "Items that could not be used, or the scatter between clusters, decide: more of them, or less of it."
    sentence = ", or ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _against_support(row: Row, claim: Claim) -> Iterator[str]:
    low, high = _whole(row["measured"]["ci"])
    if claim.kind == "universal":
        yield f"one item below {number(claim.theta0 - claim.delta)}"
    elif claim.kind == "absence":
        yield f"an upper bound of {number(claim.theta0)} or more (now {number(high)})"
    elif claim.kind == "equality":
        yield f"a bound outside {_range(claim)} (now {number(low)} to {number(high)})"
    else:
        yield f"a lower bound below {number(claim.theta0)} (now {number(low)})"
    if compared := _compared(row, claim):
        arm, (beyond, _) = min(compared, key=lambda pair: pair[1][0])
        yield f"a difference from {_label(claim, arm)} of {number(claim.delta)} or less (now at least {number(beyond)})"


def _against_contradiction(row: Row, claim: Claim) -> Iterator[str]:
    low, high = _whole(row["measured"]["ci"])
    if claim.kind == "universal":
        yield f"no item below {number(claim.theta0 - claim.delta)}"
    elif claim.kind == "absence":
        yield f"a lower bound of {number(claim.theta0)} or less (now {number(low)})"
    elif claim.kind == "equality":
        yield f"bounds that meet {_range(claim)} (now {number(low)} to {number(high)})"
    elif claim.kind == "ordering":
        yield f"an upper bound above {number(claim.theta0)} (now {number(high)})"
    elif high < claim.theta0:
        yield f"an upper bound of {number(claim.theta0)} or more (now {number(high)})"
    elif compared := _compared(row, claim, ("rival",)):
        arm, (_, beyond) = min(compared, key=lambda pair: pair[1][1])
        yield (
            f"{_label(claim, arm)} falling short by {number(claim.delta)} or more "
            f"(now the difference is at most {number(beyond)})"
        )


def _against_vacuity(row: Row, claim: Claim) -> Iterator[str]:
    if compared := _compared(row, claim, ("null",)):
        arm, (_, beyond) = min(compared, key=lambda pair: pair[1][1])
        yield (
            f"a difference from {_label(claim, arm)} that may reach {number(claim.delta)} "
            f"(now it is at most {number(beyond)})"
        )


def _against_doubt(row: Row, claim: Claim) -> Iterator[str]:
    """What stands in the way of any verdict comes before the criterion, as it does in judging.

    Bounds that decide something and yet did not leave it to the scatter, or to items that were excluded.
    """
    if needs := [*_too_few(row, claim), *_broken(row, claim)]:
        yield " and ".join(needs)
        return
    low, high = _whole(row["measured"]["ci"])
    floor, ceiling = claim.limits
    now = f"(now {number(low)} to {number(high)})"
    compared = _compared(row, claim)
    if claim.kind == "universal":
        yield f"every item at {number(floor)} or above"
    elif (claim.kind != "absence" and high < floor) or (claim.kind in ("absence", "equality") and low > ceiling):
        return
    elif claim.kind == "equality" and (low <= floor or high >= ceiling):
        yield f"bounds inside {_range(claim)} {now}"
    elif (claim.kind == "absence" and high >= ceiling) or (claim.kind != "absence" and low < floor):
        yield f"an interval on one side of {number(floor)} {now}"
    elif compared and min(beyond for _, (_, beyond) in compared) >= claim.delta:
        arm, (beyond, _) = min(compared, key=lambda pair: pair[1][0])
        asked = f"of more than {number(claim.delta)} (now at least {number(beyond)})"
        yield f"a difference from {_label(claim, arm)} {asked}"


def _too_few(row: Row, claim: Claim) -> Iterator[str]:
    # Judging needs scipy, which takes longer to import than writing a page.
    from prolepsis.judging.validity import MIN_CLUSTERS, MIN_ITEMS

    measured = row["measured"]
    if claim.population == "this prompt":
        return
    if measured["clusters"] < MIN_CLUSTERS:
        yield f"at least {MIN_CLUSTERS} clusters (now {measured['clusters']})"
    if measured["n"] < MIN_ITEMS:
        yield f"at least {MIN_ITEMS} detectable items (now {measured['n']})"


def _broken(row: Row, claim: Claim) -> Iterator[str]:
    bounds = {control.name: control.bound or 0.0 for control in claim.controls}
    for arm in row["controls"]:
        label, bound = _label(claim, arm), number(bounds.get(arm["name"], 0.0))
        if arm["value"] is None:
            yield f"{label} measured"
        elif arm["role"] == "positive" and not arm["passed"]:
            yield f"{label} of at least {bound} (now {number(arm['value'])}, at least {number(arm['ci'][0])})"
        elif arm["role"] == "guard" and not arm["passed"]:
            yield f"{label} of at most {bound} (now {number(arm['value'])})"


def _compared(row: Row, claim: Claim, roles: Sequence[str] | None = None) -> list[tuple[Arm, tuple[float, float]]]:
    """The arms that the value has to exceed, and bounds of by how much it does; infinite where there is none."""
    asked = roles or (("null", "rival") if claim.kind == "exclusivity" else ("null",))
    found = []
    for arm in row["controls"]:
        if arm["role"] in asked and arm["ci"] is not None:
            low, high = _whole(arm["ci"])
            # How far an equality is from an arm counts on either side.
            found.append((arm, (max(low, -high), max(high, -low)) if claim.kind == "equality" else (low, high)))
    return found


def _whole(interval: Sequence[float | None]) -> tuple[float, float]:
    """An interval whose missing ends are infinite."""
    low, high = interval
    return (-math.inf if low is None else low, math.inf if high is None else high)


def _label(claim: Claim, arm: Arm) -> str:
    return next((control.label for control in claim.controls if control.name == arm["name"]), str(arm["name"]))


def _range(claim: Claim) -> str:
    floor, ceiling = claim.limits
    return f"{number(floor)} to {number(ceiling)}"
