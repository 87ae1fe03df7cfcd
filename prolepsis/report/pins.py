"""Pinned verdicts: reading ``expected.toml``, and what a verdict means against its pin."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prolepsis.errors import UserError
from prolepsis.toml_tables import read_tables

Row = Mapping[str, Any]
FIELDS = ("claim", "variant", "subject", "tier", "verdict", "reason")
VERDICTS = ("supported", "contradicted", "vacuous", "inconclusive", "inconsistent")
HEADER = re.compile(r"\s*\[\[\s*expected\s*\]\]")
SMALLEST_MARGIN = 2.0


class Key(NamedTuple):
    """What a pin is about."""

    claim: str
    variant: str
    subject: str
    tier: str


@dataclass(frozen=True)
class Pin:
    """The verdict a claim is expected to get on a subject, and why."""

    verdict: str
    reason: str


Pins = Mapping[Key, Pin]


@dataclass(frozen=True)
class Standing:
    """How a recorded verdict counts as a test: pytest's outcome, and one line why."""

    outcome: Literal["passed", "xfailed", "failed", "skipped"]
    why: str


def key_of(row: Row) -> Key:
    """The key under which a report row is pinned."""
    return Key(row["id"], row["variant"], row["subject"], row["tier"])


def read_pins(path: Path, claims: Collection[tuple[str, str]]) -> dict[Key, Pin]:
    """The pins of a file, none when it does not exist; ``claims`` are the (id, variant) pairs of the ledger.

    Raises UserError of the form ``file:line: what is wrong``, and for what is no file.
    """
    if not path.exists():
        return {}
    try:
        tables = read_tables(path, "expected", str(path))
    except OSError as error:
        raise UserError(f"{path}: no file of pins can be read there ({error.strerror}); name another") from None
    pins: dict[Key, Pin] = {}
    for line_number, entry in tables:
        key, pin, problem = *_pin(entry), _problem(entry, claims)
        if problem is None and key in pins:
            problem = f"{' '.join(key)} is pinned twice"
        if problem is not None:
            raise UserError(f"{path}:{line_number}: {problem}")
        pins[key] = pin
    return pins


def _pin(entry: Mapping[str, Any]) -> tuple[Key, Pin]:
    fields = {name: str(entry.get(name, "")) for name in FIELDS}
    return Key(fields["claim"], fields["variant"], fields["subject"], fields["tier"]), Pin(
        fields["verdict"], fields["reason"]
    )


def _problem(entry: Mapping[str, Any], claims: Collection[tuple[str, str]]) -> str | None:
    """What is wrong with an entry, None when nothing is."""
    for name in FIELDS:
        if not isinstance(entry.get(name), str) or not entry[name]:
            return f"{name} is missing or not a text"
    if unknown := sorted(set(entry) - set(FIELDS)):
        return f"unknown key {unknown[0]!r}; known: {', '.join(FIELDS)}"
    if entry["verdict"] == "untested":
        return "untested cannot be pinned; take the entry out"
    if entry["verdict"] not in VERDICTS:
        return f"verdict {entry['verdict']!r} is not one of {', '.join(VERDICTS)}"
    if (entry["claim"], entry["variant"]) not in claims:
        return f"no claim {entry['claim']} ({entry['variant']}) in the ledger"
    return None


def standing(row: Row, pin: Pin | None, update: bool) -> Standing:
    """What the verdict of ``row`` means for its test; with ``update`` a verdict that gets pinned counts as met.

    One too near its threshold to be pinned counts as neither met nor missed, unless a pin says another.
    """
    verdict, reason = row["verdict"], row["reason"]
    if verdict == "untested":
        return Standing("failed" if row["tier"] == "organism" else "skipped", f"untested: {reason}")
    if pin is not None and pin.verdict != verdict and not (update and can_pin(row)):
        return Standing("failed", f"pinned {pin.verdict}, now {verdict}: {reason}")
    if verdict == "supported":
        return Standing("passed", reason)
    if not can_pin(row):
        return Standing("xfailed", f"{verdict}, too near its threshold to be pinned: {reason}")
    if pin is not None or update:
        return Standing("xfailed", f"{verdict}: {reason}")
    return Standing("failed", f"{verdict}, not pinned: {reason}")


def can_pin(row: Row) -> bool:
    """Whether a verdict is far enough from any other to be pinned (2 standard errors, or no verdict either way)."""
    if row["verdict"] == "untested":
        return False
    return row["verdict"] == "inconclusive" or row["margin"] is None or row["margin"] >= SMALLEST_MARGIN
