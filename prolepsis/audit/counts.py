"""Counts as the paper prints them, and the measurement a rule of the audit makes of what it found."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis.errors import UserError
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement


class Counted(NamedTuple):
    """``k`` of ``n``, and where the paper prints it; the trials are of ``clusters`` things, of one each if not said."""

    k: int
    n: int
    where: str
    clusters: int | None = None

    def __str__(self) -> str:
        return f"{self.k} of {self.n}"


def counts_of(claim: Claim, *, at_least: int = 1) -> list[Counted]:
    """The published entries with a count, in their order; raises UserError where there are fewer than ``at_least``."""
    found = [
        Counted(entry["k"], entry["n"], entry["where"], entry["clusters"])
        for entry in claim.published
        if entry["k"] is not None and entry["n"] is not None
    ]
    if len(found) < at_least:
        raise UserError(
            f"claim {claim.id}: rule {claim.experiment} needs k and n in {at_least} published entries, {len(found)} "
            "have them"
        )
    return found


def audited(claim: Claim, disagreements: Sequence[str], detail: Mapping[str, Any]) -> Measurement:
    """The measurement of a rule: what disagrees, and beside it what a reader wants to see."""
    return Measurement(
        experiment=claim.experiment,
        subject="paper",
        unit=claim.scale,
        design="single",
        parameters={"published": [dict(entry) for entry in claim.published]},
        values={},
        clusters={},
        detail={"disagreements": list(disagreements), **detail},
    )
