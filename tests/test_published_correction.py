"""The published correction on tiny random models: what hooks give, what is printed, and what the wiring decides."""

from pathlib import Path

import pytest

from prolepsis import ledger
from prolepsis.errors import Untested
from prolepsis.experiments import families
from prolepsis.experiments.published_correction import correction_test
from prolepsis.judge import judge
from prolepsis.names import Head
from prolepsis.subject import Subject
from tests.published_subjects import (
    FAMILIES,
    INJECT,
    PLAIN,
    PROMPT,
    SUPPRESS,
    attention,
    measured,
    plain_run,
    probability_of,
    published_subject,
    rows_of,
)


@pytest.fixture(scope="module", params=FAMILIES)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A tiny random model with the made-up protocol; what has been measured on it stays with it.

    With this seed some pairs localise and some do not, in either family.
    """
    return published_subject(request.param, tmp_path_factory.mktemp("clt"), seed=3)


def test_the_correction_is_what_hooks_give_strength_by_strength(subject: Subject) -> None:
    """Both words, the head and the total are those of plain runs, the correction written from its first layer on."""
    found, text = subject.once(correction_test), f"{PROMPT} "
    for features, outcomes in ((SUPPRESS | INJECT, found.committed), (SUPPRESS, found.uncommitted)):
        for step, outcome in zip((0.0, 1.0, 2.0, 3.0), outcomes, strict=True):
            writes = rows_of(subject, features)
            for layer, vector in rows_of(subject, {"L0:4": step}, first=2).items():
                writes[layer] = writes.get(layer, 0) + vector
            out = plain_run(subject, text, writes, 13)
            moved = attention(subject, text, writes, 13)
            assert outcome.committed == pytest.approx(probability_of(subject, out, "around"), rel=1e-5)
            assert outcome.correct == pytest.approx(probability_of(subject, out, "who"), rel=1e-5)
            assert outcome.head == pytest.approx(moved[Head(2, 1)], abs=1e-6)
            assert outcome.total == pytest.approx(sum(map(abs, moved.values())), abs=1e-5)
    assert measured(subject, "published_commitment") == found.committed[0].committed


@pytest.mark.parametrize(
    ("name", "field", "printed"),
    [
        ("published_committed_word", "committed", {1: (0.04, 1e-2), 3: (0.03, 1e-3)}),
        ("published_correct_word", "correct", {1: (4e-2, 1e-3), 3: (5e-2, 1e-2)}),
        ("published_locked_head", "head", {1: (0.001, 1e-3), 3: (0.0, 1e-2)}),
        ("published_correction_shift", "total", {1: (0.3, 1e-2), 3: (0.4, 1e-1)}),
    ],
)
def test_what_is_printed_of_a_correction_is_asked_strength_by_strength(
    subject: Subject, name: str, field: str, printed: dict[int, tuple[float, float]]
) -> None:
    """The largest distance from a printed number counts, in units of that number's own last digit."""
    found, measurement = subject.once(correction_test), families.experiment(name)(subject)
    for outcomes, stored in (
        (found.committed, measurement.values),
        (found.uncommitted, measurement.arms["without the commitment"]),
    ):
        off = [abs(getattr(outcomes[step], field) - number) / digit for step, (number, digit) in printed.items()]
        assert list(stored.values()) == pytest.approx([max(off)])


@pytest.mark.parametrize("claim_id", ["F04g", "F05g", "F07g"])
@pytest.mark.parametrize(("off", "verdict", "agrees"), [(0, "supported", "yes"), (2, "contradicted", "no")])
def test_a_correction_that_comes_out_as_printed_is_supported(
    tmp_path: Path, claim_id: str, off: int, verdict: str, agrees: str
) -> None:
    """All digits as printed, and otherwise without the commitment: supported; two digits off at one strength: not."""
    outcomes = published_subject("llama", tmp_path, seed=3).once(correction_test).committed
    printed = [
        {"strength": float(step)}
        | {field: f"{getattr(one, field):.2e}" for field in ("committed", "correct", "head", "total")}
        for step, one in enumerate(outcomes)
    ]
    (claim,) = [claim for claim in ledger.rows(tier="gpu") if claim.id == claim_id]
    for field in ("committed", "correct", "total"):
        mantissa, exponent = str(printed[1][field]).split("e")
        printed[1][field] = f"{float(mantissa) + 0.01 * off:.2f}e{exponent}"
    subject = published_subject("llama", tmp_path, seed=3, correction={**PLAIN["correction"], "printed": printed})
    found = judge(claim, families.experiment(claim.experiment)(subject))
    assert (found.verdict, found.agrees) == (verdict, agrees), found.reason


def test_a_correction_whose_outcome_is_not_printed_is_untested(tmp_path: Path) -> None:
    """Without printed numbers there is nothing to reproduce, and the commitment alone is still measured."""
    plain = {key: value for key, value in PLAIN["correction"].items() if key != "printed"}
    subject = published_subject("llama", tmp_path, correction=plain)
    with pytest.raises(Untested, match="the paper does not print what came of its correction; ask gemma-2-2b-426k"):
        families.experiment("published_correction_shift")(subject)
    assert 0 < measured(subject, "published_commitment") < 1


def test_a_correction_above_the_head_cannot_move_it(subject: Subject) -> None:
    """Written from the head's own layer on, the correction cannot reach its attention, which stays at one value."""
    found = families.experiment("published_locked_head")(subject)
    assert found.reach is not None
    (row,) = found.reach["rows"]
    assert not row["reachable"]
    assert not row["moved"]
    assert len({each["head"] for each in found.detail["with the commitment"]}) == 1
    (claim,) = [claim for claim in ledger.rows(tier="gpu") if claim.experiment == "published_locked_head"]
    assert judge(claim, found).verdict == "vacuous"
