"""Whether lists of names that are said to be one name the same things, and how much of two lists chance would share."""

import math
from itertools import combinations

from prolepsis.audit.counts import audited
from prolepsis.audit.figures import value_of
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Published
from prolepsis.measurement import Measurement
from prolepsis.statistics import overlap_probability

ALPHA = 0.05


def one_list(claim: Claim) -> Measurement:
    """All lists name the same things, in whatever order."""
    entries = [entry for entry in claim.published if entry["items"]]
    if len(entries) < 2:
        raise UserError(f"claim {claim.id}: rule one_list needs items in two published entries or more")
    pairs = combinations(entries, 2)
    wrong = [told for one, other in pairs for told in (_missing(one, other), _missing(other, one)) if told]
    return audited(claim, wrong, {"lists": {entry["where"]: entry["items"] for entry in entries}})


def overlap_within_chance(claim: Claim) -> Measurement:
    """Two lists share no more names than lists drawn blindly would.

    The row's values are, in this order: both lengths, the names shared, and all there are.
    """
    first, second, shared, total = _whole(claim, 4)
    p = overlap_probability(shared, first, second, total).at_least
    wrong = [f"blind draws of {first} and {second} among {total} share {shared} or more with p = {p:.2g}"]
    return audited(claim, wrong if p <= ALPHA else [], {"p": p})


def most_frequent_beyond_chance(claim: Claim) -> Measurement:
    """The kind named most often is named oftener than blind draws would name some kind.

    The row's values are, in this order: the names drawn, how often the kind is among them, the kinds there are, and
    the members of each kind.
    """
    drawn, often, kinds, members = _whole(claim, 4)
    p = most_frequent_p(often, drawn, kinds, members)
    wrong = [f"of {drawn} names drawn blindly from {kinds} kinds of {members}, some kind has {often} with p = {p:.2g}"]
    return audited(claim, wrong if p > ALPHA else [], {"p": p})


def most_frequent_p(often: int, drawn: int, kinds: int, members: int) -> float:
    """Probability that some kind has ``often`` or more of ``drawn`` members drawn without replacement, in exact counts.

    The draws with fewer of every kind are the coefficient of x^drawn in (Σ C(members, j) x^j, j < often)^kinds.
    """
    ways = [1]
    for _ in range(kinds):
        longer = [0] * (drawn + 1)
        for taken, way in enumerate(ways):
            for j in range(min(often, members + 1, drawn - taken + 1)):
                longer[taken + j] += way * math.comb(members, j)
        ways = longer
    every = math.comb(kinds * members, drawn)
    return (every - ways[drawn]) / every


def _missing(one: Published, other: Published) -> str:
    missing = ", ".join(name for name in one["items"] if name not in other["items"])
    return f"{missing} ({one['where']}) is not listed in {other['where']}" if missing else ""


def _whole(claim: Claim, wanted: int) -> list[int]:
    values = [value_of(claim, entry) for entry in claim.published]
    if len(values) != wanted or any(value != int(value) for value in values):
        raise UserError(f"claim {claim.id}: rule {claim.experiment} needs whole numbers in {wanted} published entries")
    return [int(value) for value in values]
