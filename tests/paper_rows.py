"""Arithmetic rows of a ledger with given published entries, and what a rule of the audit finds wrong in them."""

from pathlib import Path

from prolepsis import audit, ledger
from prolepsis.ledger import Claim

ROW = """
[[claim]]
id = "B99"
variant = "published"
section = "5"
statement = "The figures agree."
kind = "arithmetic"
population = "the paper"
scale = "{scale}"
family = "arithmetic"
published = [{entries}]
experiment = "{rule}"
tiers = ["arithmetic"]
"""


def claim(folder: Path, rule: str, entries: str, scale: str = "proportion") -> Claim:
    """An arithmetic claim with these published entries."""
    path = folder / f"{abs(hash((rule, entries, scale)))}.toml"
    path.write_text(ROW.format(rule=rule, entries=entries, scale=scale))
    (row,) = ledger.load(path)
    return row


def disagreements(folder: Path, rule: str, entries: str, scale: str = "proportion") -> list[str]:
    """What a rule finds wrong in these entries."""
    found = audit.rule(rule)(claim(folder, rule, entries, scale)).detail["disagreements"]
    assert isinstance(found, list)
    return found
