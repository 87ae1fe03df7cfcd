"""Rows that cannot all be true: who answers a question how, and what a report says of them."""

from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.disputes import disputes, rivals
from prolepsis.ledger import Side
from prolepsis.report.side_by_side import side_by_side
from tests.test_judge import make_claim

ANSWERS = st.lists(st.sampled_from(["yes", "no", "weakly"]), min_size=2, max_size=8)
VERDICTS = st.sampled_from(["supported", "contradicted", "vacuous", "inconclusive", "untested"])


def rows_that_answer(answers, question="is there a plan?"):
    """A claim for each answer to a question."""
    sides = [(Side(question, answer),) for answer in answers]
    return [make_claim(id=f"X{n:02}", disputes=side) for n, side in enumerate(sides)]


def report_row(claim, subject, verdict):
    """A row of a report, as far as disputes look at it."""
    return {"id": claim.id, "variant": claim.variant, "subject": subject, "verdict": verdict}


@given(answers=ANSWERS)
def test_every_row_stands_with_those_that_answer_alike(answers):
    """A dispute has each row once, rows with one answer together, and a row's rivals are all with another answer."""
    claims = rows_that_answer(answers)
    (dispute,) = disputes([*claims, make_claim(id="X99")])
    assert sorted(member.claim.id for member in dispute.members) == [claim.id for claim in claims]
    together = [member.answer for member in dispute.members]
    assert [answer for n, answer in enumerate(together) if answer not in together[:n]] == [
        answer for n, answer in enumerate(together) if n == 0 or together[n - 1] != answer
    ]
    for claim, answer in zip(claims, answers, strict=True):
        against = {member.claim.id for member in rivals(claim, claims)["is there a plan?"]}
        assert against == {other.id for other, said in zip(claims, answers, strict=True) if said != answer}


@given(answers=ANSWERS, verdicts=st.lists(VERDICTS, min_size=8, max_size=8), asked=st.sets(st.integers(0, 7)))
def test_a_subject_counts_where_two_answers_meet(answers, verdicts, asked):
    """A subject is shown with all its verdicts just when it was asked for two different answers."""
    claims = rows_that_answer(answers)
    met = [n for n in range(len(claims)) if n in asked]
    rows = [report_row(claims[n], "planner", verdicts[n]) for n in met]
    dispute = disputes(claims)[0]
    found = dispute.found(rows)
    if len({answers[n] for n in met}) < 2:
        assert found == {}
        return
    assert found["planner"] == {claims[n].key: verdicts[n] for n in met}
    assert set(dispute.standing(found["planner"])) == {answers[n] for n in met if verdicts[n] == "supported"}


def test_answers_that_are_both_borne_out_are_pointed_out():
    """Where rows with different answers are supported, the page says so; where one is, it names that answer."""
    yes, no = rows_that_answer(["yes", "no"])
    rows = [
        report_row(yes, "planner", "supported"),
        report_row(no, "planner", "supported"),
        report_row(yes, "improviser", "contradicted"),
        report_row(no, "improviser", "supported"),
        report_row(yes, "window-1", "supported"),
    ]
    page = "\n".join(side_by_side(rows, [yes, no]))
    assert "| planner | supported | supported | yes and no |" in page
    assert "| improviser | contradicted | supported | no |" in page
    assert "Different answers are borne out on planner: at least one of these tests" in page
    assert "window-1" not in page


def test_rows_that_were_not_asked_are_named_all_the_same():
    """A row that nothing can test stands beside its rivals with the reason; a dispute without a row is left out."""
    yes, no = rows_that_answer(["yes", "no"])
    closed = make_claim(id="Y01", disputes=no.disputes, source="another paper", untested="no weights", model="closed")
    page = "\n".join(side_by_side([report_row(yes, "planner", "supported")], [yes, closed]))
    assert "| no | Y01 asked: " in page
    assert "| another paper | closed; cannot be tested: no weights |" in page
    assert "No subject of this run was asked for two of these answers." in page
    assert list(side_by_side([report_row(make_claim(id="X99"), "planner", "supported")], [yes, closed])) == []


def test_every_dispute_of_the_ledger_can_be_shown():
    """With every row of the ledger supported on one subject, the page has each question and warns of each."""
    claims = ledger.rows()
    page = "\n".join(side_by_side([report_row(claim, "planner", "supported") for claim in claims], claims))
    questions = {question for claim in claims for question, _ in claim.disputes}
    assert all(f"### {question}" in page for question in questions)
    assert page.count("Different answers are borne out on planner") == len(questions)


def test_the_paper_has_rivals():
    """In the ledger other papers dispute that transcoders are needed and that planning localises."""
    claims = ledger.rows()
    for name, rival in (("A01", "Y01"), ("B06", "Y09")):
        (claim,) = (claim for claim in claims if claim.key == (name, "published"))
        assert rival in {member.claim.id for members in rivals(claim, claims).values() for member in members}
