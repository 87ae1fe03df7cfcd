"""Whether printed figures follow from the figures and lists they are made of, and keep the order said of them.

Rounding is given its due everywhere: a disagreement is one that no rounding of the printed digits explains.
"""

import math
from decimal import Decimal
from itertools import combinations, pairwise
from typing import NamedTuple

from prolepsis.audit.counts import audited
from prolepsis.errors import UserError
from prolepsis.expressions import Quantity, names, number
from prolepsis.ledger import Claim, Published, lists_of
from prolepsis.measurement import Measurement
from prolepsis.statistics import grim

PER_CENT = -2
"""A proportion is printed to whole per cent at least; TOML keeps no trailing zeros, so 0.70 is read that way."""


class Made(NamedTuple):
    """What an entry is made of, in words; what that gives; and whether it is what is printed."""

    of: str
    gives: str
    agrees: bool


def recomputed(claim: Claim) -> Measurement:
    """Each figure is what the figures or lists it is made of give, to its last printed digit.

    An entry with ``of`` has to be that expression's value (or, with items, its list), one with items alone their
    number, one with k and n that ratio, and one with n alone the ratio of some whole number to n (Brown & Heathers
    2017). A list whose value is a text is there for others to use. Raises UserError where an entry has none of these.
    """
    wrong, detail = [], {}
    for entry in claim.published:
        if entry["items"] and entry["of"] is None and isinstance(entry["value"], str):
            continue
        made = _made_list(claim, entry) if entry["items"] and entry["of"] is not None else _made_number(claim, entry)
        detail[f"{entry['where']}: {made.of}"] = made.gives
        if not made.agrees:
            wrong.append(f"{_printed(entry)} ({entry['where']}): {made.of} gives {made.gives}")
    return audited(claim, wrong, {"recomputed": detail})


def one_value(claim: Claim) -> Measurement:
    """All entries print one value, as far as their last digits tell; one with ``of`` prints what that gives."""
    found = [_quantity(claim, entry) for entry in claim.published]
    if len(found) < 2:
        raise UserError(f"claim {claim.id}: rule one_value needs two published entries or more")
    wrong = [
        f"{one.value:g} ({first['where']}) is not {other.value:g} ({second['where']})"
        for (one, first), (other, second) in combinations(zip(found, claim.published, strict=True), 2)
        if not _meet(one, other)
    ]
    return audited(claim, wrong, {"values": {entry["where"]: entry["value"] for entry in claim.published}})


def bounded(claim: Claim) -> Measurement:
    """Each figure, or what its ``of`` gives, lies within the bounds beside it."""
    wrong, detail = [], {}
    for entry in claim.published:
        low, high = entry["low"], entry["high"]
        if entry["items"] and low is None and high is None:
            continue
        if low is None and high is None:
            raise UserError(f"claim {claim.id}: {_printed(entry)} ({entry['where']}) has no low or high to lie within")
        found = _quantity(claim, entry)
        named = f"{entry['of']} = {found.value:.4g}" if entry["of"] else f"{found.value:.4g}"
        detail[f"{entry['where']}: {named}"] = (low, high)
        if low is not None and _is_below(found, low):
            wrong.append(f"{named} is below {low:g} ({entry['where']})")
        if high is not None and _is_above(found, high):
            wrong.append(f"{named} is above {high:g} ({entry['where']})")
    return audited(claim, wrong, {"within": detail})


def rising(claim: Claim) -> Measurement:
    """No figure is below the one before it, and the last is above the first, beyond what rounding hides."""
    return _monotonic(claim, "below", "above", 1)


def falling(claim: Claim) -> Measurement:
    """No figure is above the one before it, and the last is below the first, beyond what rounding hides."""
    return _monotonic(claim, "above", "below", -1)


def half_digit(value: float, scale: str) -> float:
    """Half of the last digit a value is printed with: what rounding can hide; nothing of a whole number that counts."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    digit = exponent if isinstance(exponent, int) else 0
    if scale == "count" and digit >= 0:
        return 0.0
    return 0.5 * 10.0 ** (min(digit, PER_CENT) if scale == "proportion" else digit)


def value_of(claim: Claim, entry: Published) -> float:
    """The printed number; raises UserError where it is a text."""
    value = entry["value"]
    if isinstance(value, str):
        raise UserError(f"claim {claim.id}: {value!r} ({entry['where']}) is a text; {claim.experiment} needs numbers")
    return value


def _monotonic(claim: Claim, against: str, along: str, sign: int) -> Measurement:
    entries = [entry for entry in claim.published if not entry["items"]]
    found = [(_quantity(claim, entry), entry["where"]) for entry in entries]
    if len(found) < 2:
        raise UserError(f"claim {claim.id}: rule {claim.experiment} needs two published figures or more")
    wrong = [
        f"{other.value:.4g} ({where}) is {against} {one.value:.4g} ({before})"
        for (one, before), (other, where) in pairwise(found)
        if not _meet(one, other) and sign * (other.value - one.value) < 0
    ]
    (first, start), (last, end) = found[0], found[-1]
    if _meet(first, last) or sign * (last.value - first.value) < 0:
        wrong.append(f"{last.value:.4g} ({end}) is not {along} {first.value:.4g} ({start})")
    return audited(claim, wrong, {"values": {where: one.value for one, where in found}})


def _made_number(claim: Claim, entry: Published) -> Made:
    value = value_of(claim, entry)
    printed = _printed_quantity(value, claim.scale)
    of, k, n = entry["of"], entry["k"], entry["n"]
    if of is not None:
        found = _evaluated(claim, of)
        return Made(of, f"{found.value:.4g}", _meet(printed, found))
    if entry["items"]:
        count = len(entry["items"])
        return Made("the list", f"{count}", value == count)
    if n is None:
        raise UserError(f"claim {claim.id}: {value:g} ({entry['where']}) has no of, k, n or items to recompute it from")
    if k is not None:
        return Made(f"{k} of {n}", f"{k / n:.4g}", _meet(printed, Quantity(k / n, k / n, k / n)))
    nearest = round(value * n)
    decimals = round(-math.log10(2 * half_digit(value, claim.scale))) + PER_CENT
    return Made(f"the nearest count, {nearest} of {n},", f"{nearest / n:.4g}", grim(100 * value, n, decimals))


def _made_list(claim: Claim, entry: Published) -> Made:
    of = entry["of"] or ""
    found = names(of, lists_of(claim.published))
    return Made(of, ", ".join(found) or "nothing", set(found) == set(entry["items"]))


def _quantity(claim: Claim, entry: Published) -> Quantity:
    """What an entry's ``of`` gives, or else its printed number with its rounding."""
    of = entry["of"]
    return _evaluated(claim, of) if of is not None else _printed_quantity(value_of(claim, entry), claim.scale)


def _evaluated(claim: Claim, of: str) -> Quantity:
    return number(of, lists_of(claim.published))


def _printed_quantity(value: float, scale: str) -> Quantity:
    slack = half_digit(value, scale)
    return Quantity(value, value - slack, value + slack)


def _printed(entry: Published) -> str:
    value = entry["value"]
    return value if isinstance(value, str) else f"{value:g}"


def _meet(one: Quantity, other: Quantity) -> bool:
    """Whether the ranges of two numbers share a point, to the precision of floating point."""
    return not _is_above(one, other.high) and not _is_below(one, other.low)


def _is_above(found: Quantity, bound: float) -> bool:
    return found.low > bound and not math.isclose(found.low, bound, rel_tol=1e-9)


def _is_below(found: Quantity, bound: float) -> bool:
    return found.high < bound and not math.isclose(found.high, bound, rel_tol=1e-9)
