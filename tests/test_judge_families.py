"""Families of claims share their errors."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import Untested
from prolepsis.judge import judge, judge_family
from tests.judging import make_claim, make_measurement, plain, spread


def family(*values, **changes):
    """Claims X01, X02, … of one family, and a measurement of each with the given mean."""
    claims = [make_claim(id=f"X{i:02}", **changes) for i in range(1, len(values) + 1)]
    return claims, {
        claim.key: make_measurement(spread(value, 14, 1.0), {"null": spread(-9, 14, 0.1, 5)})
        for claim, value in zip(claims, values, strict=True)
    }


def level_of(verdict):
    """The level at which a verdict was reached, in words."""
    return verdict.measured["sided"]


def test_levels_are_holms_within_a_family_and_subject():
    """Clear claims use alpha/m, alpha/(m − 1), …; from the first unclear one on all share a level."""
    claims, measurements = family(9.0, 5.0, 1.05, 1.02)
    found = judge_family(claims, measurements)
    assert [level_of(found[claim.key]) for claim in claims] == [
        "one-sided 98.75 %",
        "one-sided 98.33 %",
        "one-sided 97.5 %",
        "one-sided 97.5 %",
    ]


@plain
@given(st.lists(st.floats(-1, 3), min_size=1, max_size=4), st.randoms())
def test_a_family_is_judged_in_any_order_and_never_more_boldly_than_alone(values, random):
    """The order of claims does not matter, and what a family supports or contradicts a claim alone does too."""
    claims, measurements = family(*values)
    found = judge_family(claims, measurements)
    shuffled = list(claims)
    random.shuffle(shuffled)
    assert judge_family(shuffled, measurements) == found
    for claim in claims:
        alone = judge(claim, measurements[claim.key]).verdict
        assert found[claim.key].verdict in (alone, "inconclusive")


def test_a_claim_that_was_not_measured_counts_in_its_family():
    """Leaving a claim unmeasured makes it untested and does not loosen the level of the others."""
    claims, measurements = family(9.0, 1.05)
    whole = judge_family(claims, measurements)
    part = judge_family(claims, {claims[0].key: measurements[claims[0].key], claims[1].key: Untested("get it")})
    assert whole[claims[0].key] == part[claims[0].key]
    assert part[claims[1].key].reason == "get it"
    assert judge_family(claims, {})[claims[0].key].verdict == "untested"


def test_other_families_subjects_and_arithmetic_do_not_count():
    """Only claims of the same family on the same subject share their errors."""
    claims, measurements = family(9.0, 9.0, 9.0, 9.0)
    claims = [claims[0], replace(claims[1], family="Q3"), claims[2], replace(claims[3], kind="arithmetic")]
    measurements[claims[2].key] = replace(measurements[claims[2].key], subject="improviser")
    measurements[claims[3].key] = make_measurement({}, detail={"disagreements": []})
    found = judge_family(claims, measurements)
    assert [level_of(found[claim.key]) for claim in claims[:3]] == ["one-sided 95 %"] * 3
    assert found[claims[3].key].verdict == "supported"


def test_deterministic_claims_take_nothing_from_the_others():
    """A universal claim leaves nothing to chance, so the claim beside it keeps the level it has alone."""
    claims, measurements = family(9.0, 2.0)
    claims = [replace(claims[0], kind="universal"), claims[1]]
    assert level_of(judge_family(claims, measurements)[claims[1].key]) == "one-sided 95 %"
