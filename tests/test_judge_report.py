"""What a verdict carries beside its word: numbers, controls, agreement, margin."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats

from prolepsis.errors import Untested
from prolepsis.judge import judge, untested
from prolepsis.ledger import Control
from tests.judging import (
    ALL,
    good,
    make_claim,
    make_measurement,
    rows,
    spread,
)


@pytest.mark.parametrize(
    ("published", "tolerance", "agrees"),
    [
        ([5.0], 0.1, "yes"),
        ([5.02], 0.1, "yes"),
        ([5.1], 0.1, "cannot tell"),
        ([5.5], 0.1, "no"),
        ([9.0, 5.0], 0.1, "yes"),
        ([9.0, 5.1], 0.1, "cannot tell"),
        ([5.0], 0.001, "cannot tell"),
        ([], 0.1, "cannot tell"),
        (["high"], 0.1, "cannot tell"),
        ([5.0], None, "cannot tell"),
    ],
)
def test_agreement_is_where_the_two_sided_interval_lies(published, tolerance, agrees):
    """Inside the tolerance of a published value is yes, outside all is no, across or nothing to compare cannot tell."""
    entries = tuple({"value": v, "k": None, "n": None, "low": None, "high": None, "where": "§5"} for v in published)
    claim = make_claim(published=entries, tolerance=tolerance)
    assert judge(claim, good()).agrees == agrees


@pytest.mark.parametrize(("factor", "agrees"), [(1.001, "yes"), (0.999, "cannot tell")])
def test_agreement_takes_the_two_sided_95_percent_interval_whatever_the_level(factor, agrees):
    """A tolerance just wider than t.975 standard errors agrees with a value at the mean, one just narrower does not."""
    x = np.array(list(spread(5).values()))
    entry = {"value": x.mean(), "k": None, "n": None, "low": None, "high": None, "where": "§5"}
    half = scipy.stats.t.ppf(0.975, len(x) - 1) * scipy.stats.sem(x)
    claim = make_claim(published=(entry,), tolerance=factor * half)
    assert judge(claim, good()).agrees == judge(claim, good(), alpha=0.01).agrees == agrees


def test_agreement_is_apart_from_the_verdict():
    """Neither changing the published value nor its tolerance changes the verdict."""
    entry = {"value": -99.0, "k": None, "n": None, "low": None, "high": None, "where": "§5"}
    found = judge(make_claim(published=(entry,), tolerance=0.0), good())
    assert (found.verdict, found.agrees) == ("supported", "no")


def test_a_verdict_carries_the_fields_of_the_report_in_plain_json():
    """measured, controls and reach have the report's fields, JSON can hold them, and infinite bounds are null."""
    claim = make_claim(kind="exclusivity", controls=ALL)
    found = judge(claim, good(reach=rows(True, True)), alpha=1e-6)
    plain_types = json.loads(json.dumps(asdict(found), allow_nan=False))
    assert set(plain_types["measured"]) == {"value", "unit", "k", "n", "clusters", "ci", "ci_method", "sided"}
    assert [(row["name"], row["role"]) for row in plain_types["controls"]] == [(c.name, c.role) for c in ALL]
    assert all(set(row) == {"name", "role", "value", "difference", "ci", "passed"} for row in plain_types["controls"])
    eleven = make_measurement(spread(5, 11), {"null": spread(0, 11)})
    assert judge(make_claim(), eleven, alpha=1e-4).measured["ci"] == [None, None]


def test_each_control_is_reported_with_what_it_showed():
    """Each role gives its own value, interval and pass, and a control not measured gives none of them."""
    claim = make_claim(kind="exclusivity", controls=(*ALL, Control("gone", "null", None, "gone")))
    found = {row["name"]: row for row in judge(claim, good(null=4.5, guard=0.2)).controls}
    assert (found["null"]["passed"], found["rival"]["passed"]) == (False, True)
    assert found["null"]["difference"] == pytest.approx(0.5)
    assert found["null"]["ci"][0] < 0.5 < found["null"]["ci"][1]
    assert (found["positive"]["passed"], found["positive"]["value"]) == (True, pytest.approx(5))
    assert (found["sham"]["passed"], found["sham"]["value"]) == (True, 0)
    assert (found["guard"]["passed"], found["guard"]["value"]) == (False, pytest.approx(0.2))
    assert {found["gone"][field] for field in ("value", "difference", "ci", "passed")} == {None}


def test_the_margin_is_the_distance_of_the_deciding_bound_in_standard_errors():
    """For the value alone it is |bound − theta0| over the standard error of the mean; for a clear support the least."""
    values = spread(-5)
    found = judge(make_claim(), make_measurement(values))
    x = np.array(list(values.values()))
    t = scipy.stats.t.ppf(0.95, len(x) - 1)
    assert found.margin == pytest.approx((1 - x.mean()) / scipy.stats.sem(x) - t)
    near, far = (judge(make_claim(), good(5.0, null)).margin for null in (3.9, 0.0))
    assert near < far


def test_planted_values_without_variance_are_judged_as_points():
    """Values that are all the same are supported, contradicted or vacuous with no margin, even at tiny levels."""

    def planted(value, null):
        constant = [dict.fromkeys(spread(0), x) for x in (value, null)]
        return judge(make_claim(), make_measurement(constant[0], {"null": constant[1]}), alpha=1e-9)

    found = [planted(12.8, 0.0), planted(0.0, 0.0), planted(12.8, 12.8)]
    assert [(v.verdict, v.margin) for v in found] == [("supported", None), ("contradicted", None), ("vacuous", None)]


def test_untested_carries_its_reason_and_no_numbers():
    """A claim without weights or data is untested, with what to get."""
    found = untested(make_claim(), "get google/gemma-2-2b, 5 GiB")
    assert (found.verdict, found.measured, found.agrees) == ("untested", None, "cannot tell")
    assert found == judge(make_claim(), Untested("get google/gemma-2-2b, 5 GiB"))
    assert str(found) == "untested: get google/gemma-2-2b, 5 GiB"


def test_a_measurement_of_nothing_is_inconclusive():
    """When every item was excluded there is no number, and the verdict says why."""
    found = judge(make_claim(), make_measurement({}, excluded={"a": "crashed"}))
    assert (found.verdict, found.measured) == ("inconclusive", None)
    assert "1 of 1 items were excluded" in found.reason
