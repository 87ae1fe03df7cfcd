"""Claims of other papers: whether what they are asked by could come out either way."""

import dataclasses

import pytest

from prolepsis import ledger
from prolepsis.errors import Untested
from prolepsis.experiments import families, measuring
from prolepsis.judge import judge
from prolepsis.report.subjects import open_subject
from prolepsis.subject import Subject
from prolepsis.subjects.source import SubjectSource

ROWS = {claim.id: claim for claim in ledger.rows() if claim.source}


@pytest.fixture(scope="module", params=["planted-llama-revocable", "planted-llama-no-plan"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A subject that plans at its line break, and one that does not."""
    return open_subject(SubjectSource(id=request.param, tier="organism"), "cpu", "float32")


@pytest.mark.parametrize(
    ("row", "planning", "not_planning"),
    [
        ("Y01", "supported", "contradicted"),
        ("Y03", "supported", "contradicted"),
        ("Y04", "supported", "contradicted"),
        ("Y05", "supported", "inconclusive"),
        ("Y06", "contradicted", "supported"),
        ("Y07", "contradicted", "supported"),
        ("Y08", "contradicted", "supported"),
        ("Y09", "contradicted", "supported"),
    ],
)
def test_a_claim_follows_whether_there_is_a_plan(subject: Subject, row: str, planning: str, not_planning: str) -> None:
    """Whatever model a row is about, its experiment tells a subject that plans from one that does not."""
    verdict = judge(ROWS[row], families.experiment(ROWS[row].experiment)(subject))
    assert verdict.verdict == (not_planning if "no-plan" in subject.id else planning), verdict.reason


def test_every_row_is_asked_for_or_says_why_not() -> None:
    """Each row of another paper has an experiment that can measure it, or a reason why nothing can."""
    assert {row for row, claim in ROWS.items() if claim.untested} == {"Y02", "Y10", "Y11"}
    assert all(bool(claim.experiment) != bool(claim.untested) for claim in ROWS.values())


def test_a_model_without_a_transcoder_is_asked_what_needs_none(subject: Subject) -> None:
    """Without a transcoder a claim that needs one is untested, and says what to get; others are measured."""
    bare = dataclasses.replace(subject, transcoder=None)
    (needy,) = (claim for claim in ledger.rows() if claim.id == "X60")
    measured = measuring.measure([needy, ROWS["Y01"], ROWS["Y03"]], bare)
    missing = measured[needy.key]
    assert isinstance(missing, Untested)
    assert "it has no transcoder; give one" in str(missing)
    assert not any(isinstance(measured[ROWS[row].key], Untested) for row in ("Y01", "Y03"))
