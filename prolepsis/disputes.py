"""Rows of the ledger that cannot all be true: who answers a question how, and which answers stand on a subject.

A dispute is a question that rows of the ledger answer differently (their field ``disputes``). Of one subject at most
one answer is true, so where rows with different answers are all supported, at least one of their tests does not ask
what it is taken to answer (imports no torch).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from prolepsis.ledger import Claim

Row = Mapping[str, Any]
Key = tuple[str, str]
Verdicts = Mapping[Key, str]
"""(Claim id, variant) → verdict on one subject."""


class Member(NamedTuple):
    """A row of the ledger and the answer it gives."""

    answer: str
    claim: Claim


@dataclass(frozen=True)
class Dispute:
    """A question, and the rows that answer it, those with one answer together."""

    question: str
    members: tuple[Member, ...]

    def found(self, rows: Iterable[Row]) -> dict[str, Verdicts]:
        """Subject → what came out, in the ``rows`` of a report, for subjects on which two answers or more met."""
        answers = {member.claim.key: member.answer for member in self.members}
        met: dict[str, dict[Key, str]] = {}
        for row in rows:
            if (key := (row["id"], row["variant"])) in answers:
                met.setdefault(row["subject"], {})[key] = row["verdict"]
        return {subject: each for subject, each in met.items() if len({answers[key] for key in each}) > 1}

    def standing(self, verdicts: Verdicts) -> tuple[str, ...]:
        """The answers that a supported row gives on one subject; more than one cannot all be true."""
        return tuple(dict.fromkeys(answer for answer, claim in self.members if verdicts.get(claim.key) == "supported"))


def disputes(claims: Iterable[Claim]) -> tuple[Dispute, ...]:
    """The disputes of a ledger, in the order in which its rows open them, and so are the answers to each."""
    found: dict[str, dict[str, list[Member]]] = {}
    for claim in claims:
        for question, answer in claim.disputes:
            found.setdefault(question, {}).setdefault(answer, []).append(Member(answer, claim))
    return tuple(
        Dispute(question, tuple(member for members in answers.values() for member in members))
        for question, answers in found.items()
    )


def rivals(claim: Claim, claims: Sequence[Claim]) -> dict[str, tuple[Member, ...]]:
    """Question → the rows that answer it otherwise than ``claim`` does."""
    answers = dict(claim.disputes)
    return {
        dispute.question: tuple(member for member in dispute.members if member.answer != answers[dispute.question])
        for dispute in disputes(claims)
        if dispute.question in answers
    }
