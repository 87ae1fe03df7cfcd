"""Which controls the paper reports of those its claims need."""

import re
from pathlib import Path

import pytest

from prolepsis import ledger
from prolepsis.audit.controls import PURPOSES, missing_controls, purpose
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Control
from tests.test_ledger import ROW, SUM

PUBLISHED = ROW.replace('"asked"', '"published"').replace(
    'label = "the untrained twin"', 'label = "the untrained twin", reported = "section 5: none"'
)


def claim_of(folder: Path, text: str) -> Claim:
    """The claim of a ledger with this text."""
    path = folder / f"{abs(hash(text))}.toml"
    path.write_text(text, encoding="utf-8")
    (claim,) = ledger.load(path)
    return claim


def test_what_is_missing_is_what_is_needed_and_not_reported(tmp_path: Path) -> None:
    """Every control of a published row is missing but those the row says are reported, in the row's order."""
    claim = claim_of(tmp_path, PUBLISHED)
    assert claim.controls[0].reported == "section 5: none"
    assert missing_controls(claim) == claim.controls[1:]


def test_nothing_is_missing_of_what_the_paper_did_not_measure(tmp_path: Path) -> None:
    """A question of ours and a sum of printed figures lack no control of the paper's."""
    assert missing_controls(claim_of(tmp_path, ROW)) == ()
    assert missing_controls(claim_of(tmp_path, SUM)) == ()


def test_a_control_of_a_question_of_ours_cannot_be_reported(tmp_path: Path) -> None:
    """Saying so on an asked row is refused with its line."""
    with pytest.raises(UserError, match=r":2: claim X01: control 'untrained': reported is for published claims"):
        claim_of(tmp_path, PUBLISHED.replace('"published"', '"asked"'))


def test_each_control_has_a_purpose() -> None:
    """Every role has its phrase, and a null of an absence is read the other way round."""
    for claim in ledger.rows():
        for control in claim.controls:
            turned = control.role == "null" and claim.kind == "absence"
            absent = "what is absent has to appear there"
            assert purpose(claim, control) == (absent if turned else PURPOSES[control.role])
    assert set(PURPOSES) == set(Control.__annotations__["role"].__args__)


def test_where_a_control_is_reported_is_a_place_in_the_paper() -> None:
    """What the ledger says of a reported control starts with a section, an appendix, a table or a figure."""
    reported = [control.reported for claim in ledger.rows() for control in claim.controls if control.reported]
    assert reported
    for place in reported:
        assert re.match(r"(§\d|App\. [A-G]|Table \d|Figure \d)", place), place
