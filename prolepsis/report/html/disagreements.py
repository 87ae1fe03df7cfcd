"""Claims that cannot all be true, side by side with their verdicts on the subjects that were asked for several."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis.claim import Claim
from prolepsis.disputes import disputes
from prolepsis.report.html.anchors import claim_anchor, row_anchor

Row = Mapping[str, Any]


class Answer(NamedTuple):
    """One claim's answer to a question, and where the claim stands."""

    answer: str
    name: str
    anchor: str


class Disagreement(NamedTuple):
    """A question, its answers, and per subject each one's verdict with its place, and which answers are borne out."""

    question: str
    answers: Sequence[Answer]
    lines: Sequence[tuple[str, Sequence[tuple[str, str] | None], str]]


def disagreements(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Disagreement]:
    """The disputes of the ledger in which two answers met on some subject of the run."""
    places = {(row["id"], row["variant"], row["subject"]): row_anchor(row) for row in rows}
    shown = []
    for dispute in disputes(claims):
        met = dispute.found(rows)
        members = [one for one in dispute.members if any(one.claim.key in verdicts for verdicts in met.values())]
        lines = [
            (
                subject,
                [
                    (verdicts[one.claim.key], places[*one.claim.key, subject]) if one.claim.key in verdicts else None
                    for one in members
                ],
                " and ".join(dispute.standing(verdicts)) or "none",
            )
            for subject, verdicts in met.items()
        ]
        names = [Answer(one.answer, " ".join(one.claim.key), claim_anchor(*one.claim.key)) for one in members]
        if lines:
            shown.append(Disagreement(dispute.question, names, lines))
    return shown
