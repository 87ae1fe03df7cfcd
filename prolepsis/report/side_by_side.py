"""Rows that cannot all be true, side by side in the report: who answers how, and what came out on common subjects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.disputes import Dispute, disputes
from prolepsis.ledger import Claim
from prolepsis.report.markdown_table import markdown_table

Row = Mapping[str, Any]


def side_by_side(rows: Sequence[Row], claims: Sequence[Claim]) -> Iterator[str]:
    """A section for each dispute of the ledger that some of ``rows`` take part in."""
    met = {(row["id"], row["variant"]) for row in rows}
    shown = [each for each in disputes(claims) if any(member.claim.key in met for member in each.members)]
    if not shown:
        return
    yield "## What cannot all be true"
    yield ""
    for dispute in shown:
        yield f"### {dispute.question}"
        yield ""
        yield from _members(dispute)
        yield from _verdicts(dispute, rows)


def _members(dispute: Dispute) -> Iterator[str]:
    rows = []
    for answer, claim in dispute.members:
        whose = claim.source or ("ours" if claim.id.startswith("X") else f"the paper, {claim.section}")
        of = claim.model or "every subject that is asked"
        untested = f"; cannot be tested: {claim.untested}" if claim.untested else ""
        rows.append([answer, f"{_name(claim)}: {claim.statement}", whose, of + untested])
    yield from markdown_table(["answer", "claim", "whose", "of"], rows)


def _verdicts(dispute: Dispute, rows: Sequence[Row]) -> Iterator[str]:
    found = dispute.found(rows)
    if not found:
        yield "No subject of this run was asked for two of these answers."
        yield ""
        return
    columns = [each for each in dispute.members if any(each.claim.key in verdicts for verdicts in found.values())]
    head = ["subject", *(f"{answer}: {_name(claim)}" for answer, claim in columns), "borne out"]
    cells = [
        [
            subject,
            *(verdicts.get(claim.key, "") for _, claim in columns),
            " and ".join(dispute.standing(verdicts)) or "none",
        ]
        for subject, verdicts in found.items()
    ]
    yield from markdown_table(head, cells)
    if both := [subject for subject, verdicts in found.items() if len(dispute.standing(verdicts)) > 1]:
        yield (
            f"Different answers are borne out on {', '.join(both)}: at least one of these tests does not ask what it "
            "is taken to answer."
        )
        yield ""


def _name(claim: Claim) -> str:
    return f"{claim.id} {claim.variant}"
