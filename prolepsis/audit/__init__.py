"""What can be checked with the paper alone: its printed numbers against each other, and against the wiring (no torch).

A rule is a pure function from a ledger row of kind arithmetic to a :class:`prolepsis.measurement.Measurement` whose
``detail["disagreements"]`` lists, one sentence each, where the row's published numbers do not bear out its statement;
the rule for what the paper says responds to what gives reach rows instead.
"""

from collections.abc import Callable, Sequence
from importlib import import_module

from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement

Rule = Callable[[Claim], Measurement]

MODULES = {
    "standard_interval": "intervals",
    "one_sided_clopper_pearson": "intervals",
    "one_interval_method": "intervals",
    "recomputed": "figures",
    "one_value": "figures",
    "bounded": "figures",
    "rising": "figures",
    "falling": "figures",
    "one_list": "lists",
    "overlap_within_chance": "lists",
    "most_frequent_beyond_chance": "lists",
    "counts_of_one_rate": "rates",
    "median_in_its_bin": "rates",
    "equal_rates": "comparisons",
    "rates_unlike_the_first": "comparisons",
    "wiring": "wiring",
}
"""Rule, as the ledger's ``experiment`` names it → its module."""


def rule(name: str) -> Rule:
    """The rule the ledger calls ``name``; raises KeyError for one that is not here."""
    found: Rule = getattr(import_module(f"prolepsis.audit.{MODULES[name]}"), name)
    return found


def measure(claims: Sequence[Claim]) -> dict[tuple[str, str], Measurement]:
    """Check ``claims`` against the paper's own numbers; (claim id, variant) → what was found."""
    return {claim.key: rule(claim.experiment)(claim) for claim in claims}
