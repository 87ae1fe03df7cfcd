"""The truth table: what had to come out on subjects whose answer is known, and what did."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis import truth
from prolepsis.claim import Claim
from prolepsis.errors import UserError
from prolepsis.report.html.anchors import claim_anchor, row_anchor

Row = Mapping[str, Any]


class Known(NamedTuple):
    """One claim with one answer: why it is known, on how many subjects of the run it came out, and where not."""

    name: str
    anchor: str
    verdict: str
    because: str
    met: int
    asked: int
    others: tuple[tuple[str, str, str], ...]
    """Subject, its verdict and where that stands, for each other one."""


def known_answers(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Known]:
    """What is known of the subjects of a run; nothing where ``claims`` are not those that the truth table is about."""
    try:
        table = truth.read_truth(truth.TRUTH, {claim.key for claim in claims})
    except UserError:
        return []
    found: dict[tuple[str, str, truth.Answer], list[Row]] = {}
    for row in rows:
        answer = table.get(truth.Asked(row["id"], row["variant"], row["subject"]))
        if answer is not None and row["tier"] == "organism":
            found.setdefault((row["id"], row["variant"], answer), []).append(row)
    return [
        Known(
            name=f"{claim} {variant}",
            anchor=claim_anchor(claim, variant),
            verdict=answer.verdict,
            because=answer.because,
            met=sum(answer.met_by(row["verdict"]) for row in of_answer),
            asked=len(of_answer),
            others=tuple(
                (row["subject"], row["verdict"], row_anchor(row))
                for row in of_answer
                if not answer.met_by(row["verdict"])
            ),
        )
        for (claim, variant, answer), of_answer in found.items()
    ]
