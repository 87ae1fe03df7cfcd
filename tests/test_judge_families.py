"""Families of claims share their errors."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import Untested
from prolepsis.judge import judge, judge_family
from prolepsis.ledger import Control
from tests.judging import NULL, RIVAL, make_claim, make_measurement, plain, spread


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
    assert level_of(whole[claims[0].key]) == level_of(part[claims[0].key]) == "one-sided 97.5 %"
    assert part[claims[1].key].reason == "get it"
    assert judge_family(claims, {})[claims[0].key].verdict == "untested"


def test_leaving_out_a_clear_claim_makes_the_level_of_another_stricter():
    """A clear claim leaves the whole level to the one beside it; unmeasured it does not."""
    claims, measurements = family(9.0, 1.48)
    part = {claims[1].key: measurements[claims[1].key]}
    assert level_of(judge_family(claims, measurements)[claims[1].key]) == "one-sided 95 %"
    assert level_of(judge_family(claims, part)[claims[1].key]) == "one-sided 97.5 %"


def test_rows_judged_without_the_others_keep_their_levels_by_the_p_values_of_these():
    """Any part of a family, beside the p-values its verdicts kept of the rest, is judged as within the whole."""
    claims, measurements = family(9.0, 1.48, 1.3, 1.0, -4.0)
    claims[4] = replace(claims[4], kind="universal")
    whole = judge_family(claims, measurements)
    assert len({level_of(verdict) for verdict in whole.values()}) > 2
    for first in range(5):
        part = claims[first : first + 2]
        for claim in part:
            kept = {tuple(key.split()): p for key, p in whole[claim.key].p_values.items()}
            assert claims[4].key not in kept  # a counterexample leaves nothing to chance
            found = judge_family(part, measurements, beside=kept)
            assert found == {one.key: whole[one.key] for one in part}


@pytest.mark.parametrize(
    ("kind", "null", "rival", "clear"),
    [
        ("effect", 0.0, 8.0, True),
        ("effect", 8.0, 0.0, False),  # exactly delta below the value
        ("effect", 9.0, 0.0, True),
        ("absence", 10.0, 8.0, False),
        ("equality", 8.0, 0.0, False),
        ("equality", 10.0, 0.0, False),
        ("equality", 9.0, 0.0, True),
        ("universal", 8.0, 0.0, False),
        ("universal", 0.0, 0.0, True),
        ("exclusivity", 0.0, 8.0, False),
        ("exclusivity", 0.0, 9.0, True),
        ("exclusivity", 8.0, 0.0, False),
        ("exclusivity", 0.0, 0.0, True),
    ],
)
def test_a_claim_on_the_edge_of_a_control_keeps_its_share_of_the_level(kind, null, rival, clear):
    """However clear its criterion, a claim that a null or rival leaves open is tested beside another at alpha/2."""
    claims, measurements = family(9.0, 1.48)
    theta0 = {"absence": 12.0, "equality": 9.0}.get(kind, 1.0)
    claims[0] = replace(claims[0], kind=kind, theta0=theta0, controls=(RIVAL, NULL))
    values = spread(9.0, 14, 0.1)
    measurements[claims[0].key] = make_measurement(
        values, {"null": spread(null, 14, 0.1, 5), "rival": spread(rival, 14, 0.1, 6)}
    )
    found = judge_family(claims, measurements)
    assert level_of(found[claims[1].key]) == ("one-sided 95 %" if clear else "one-sided 97.5 %")
    assert (found[claims[0].key].verdict != "inconclusive") == clear


@pytest.mark.parametrize(("names", "clear"), [((), False), (("far", "absent"), False), (("near", "absent"), True)])
def test_a_control_that_was_not_measured_is_never_cleared(names, clear):
    """Without a null, or with one unmeasured, no level supports a claim; another can still be sure to give as much."""
    claims, measurements = family(9.0, 1.48)
    claims[0] = replace(claims[0], controls=tuple(Control(name, "null", None, name) for name in names))
    arms = {"far": spread(0.0, 14), "near": spread(9.0, 14)}
    measurements[claims[0].key] = make_measurement(spread(9.0, 14, 0.1), arms)
    found = judge_family(claims, measurements)
    assert level_of(found[claims[1].key]) == ("one-sided 95 %" if clear else "one-sided 97.5 %")


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


SHIFTS = {
    "effect": {1.0: False, 4.0: True, -4.0: True},
    "absence": {1.0: False, 4.0: True, -4.0: True},
    "ordering": {1.0: False, 4.0: True, -4.0: True},
    # within theta0 ± delta, on either end of it, and beyond either
    "equality": {1.0: True, 0.0: False, 2.0: False, 4.0: True, -2.0: True},
    "universal": {1.0: True, 4.0: True},
}


@pytest.mark.parametrize(("kind", "value", "clear"), [(k, v, clear) for k in SHIFTS for v, clear in SHIFTS[k].items()])
def test_a_claim_that_is_clear_either_way_leaves_the_level_to_the_others(kind, value, clear):
    """Beside a claim far on either side of each threshold another is tested at alpha; beside one on it, at alpha/2."""
    claims, measurements = family(value, 1.48)  # the second has p between alpha/2 and alpha
    claims[0] = replace(claims[0], kind=kind)
    found = judge_family(claims, measurements)
    assert level_of(found[claims[1].key]) == ("one-sided 95 %" if clear else "one-sided 97.5 %")


def test_a_single_value_is_clear_and_nothing_measured_is_not():
    """A deterministic value takes nothing from the level of the others; a measurement without items takes its share."""
    claims, measurements = family(1.0, 1.48)
    for first, level in [
        (make_measurement({"a": 1.0}, design="single", clusters={}), "one-sided 95 %"),
        (make_measurement({}, excluded={"a": "crashed"}), "one-sided 97.5 %"),
        (Untested("get it"), "one-sided 97.5 %"),
        (None, "one-sided 97.5 %"),
    ]:
        given = {claims[0].key: first, claims[1].key: measurements[claims[1].key]}
        found = judge_family(claims, {key: m for key, m in given.items() if m is not None})
        assert level_of(found[claims[1].key]) == level
    assert str(found[claims[0].key]) == str(judge(claims[0], Untested("was not measured")))


def test_the_promised_level_is_kept_whatever_it_is():
    """A family held to another level than 5 % shares that one, and a claim outside of all families has it alone."""
    claims, measurements = family(1.0, 1.48)
    lone = make_claim(id="A01", kind="arithmetic", population="the paper", controls=())
    measurements[lone.key] = make_measurement({}, detail={"disagreements": []})
    found = judge_family([*claims, lone], measurements, alpha=0.2)
    assert level_of(found[claims[1].key]) == "one-sided 90 %"
    assert found[lone.key].verdict == "supported"
