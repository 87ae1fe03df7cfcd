"""What a verdict carries beside its word and reason: numbers, controls, agreement."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats

from prolepsis.errors import Untested
from prolepsis.judge import Verdict, judge, untested
from prolepsis.judging.clustered import interval
from prolepsis.ledger import Control
from tests.judging import (
    ALL,
    GUARD,
    NULL,
    POSITIVE,
    RIVAL,
    SHAM,
    good,
    make_claim,
    make_measurement,
    one_sided,
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


@pytest.mark.parametrize(
    ("value", "tolerance", "agrees"),
    [
        (4.0, 1.5, "yes"),  # the interval ends where the tolerance does
        (6.0, 1.5, "yes"),
        (4.0, 1.25, "cannot tell"),
        (6.0, 1.25, "cannot tell"),
        (4.0, 0.5, "cannot tell"),  # it starts there
        (6.0, 0.5, "cannot tell"),
        (4.0, 0.25, "no"),
        (6.0, 0.25, "no"),
        (5.0, 0.5, "yes"),
    ],
)
def test_an_end_on_the_tolerance_lies_within(value, tolerance, agrees):
    """For 5 ± 0.5 against a published value: inside is yes, touching from outside cannot tell, apart is no."""
    entry = {"value": value, "k": None, "n": None, "low": None, "high": None, "where": "§5"}
    measurement = make_measurement(
        {"a": 5.0}, {}, design="single", clusters={}, parameters={"numerical_tolerance": 0.5}
    )
    assert judge(make_claim(published=(entry,), tolerance=tolerance), measurement).agrees == agrees


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


def test_a_control_passes_on_its_bound_and_a_null_beyond_delta():
    """A sham, guard or positive control may touch its bound; a null or rival at delta has not been cleared."""
    controls = (replace(SHAM, bound=0.5), replace(GUARD, bound=0.5), POSITIVE, NULL, RIVAL)
    claim = make_claim(kind="exclusivity", controls=controls, population="this prompt")

    def passed(**arms):
        measurement = make_measurement(
            {"a": 5.0},
            {name: {"a": value} for name, value in arms.items()},
            design="single",
            clusters={},
            parameters={"numerical_tolerance": 0.25},
        )
        return {row["name"]: row["passed"] for row in judge(claim, measurement).controls}

    at_bound = passed(sham=-0.5, guard=0.5, positive=2.25, null=3.75, rival=3.75)
    assert at_bound == {"sham": True, "guard": True, "positive": True, "null": False, "rival": False}
    beyond = passed(sham=0.0, guard=0.75, positive=2.0, null=3.5, rival=3.5)
    assert beyond == {"sham": True, "guard": False, "positive": False, "null": True, "rival": True}
    assert set(passed().values()) == {None}


def test_a_control_is_reported_by_its_mean_and_a_sham_by_its_largest_deviation():
    """A sham shows its worst item, a guard its damage, a positive control its own interval, a null its contrast's."""
    items = list(spread(0))
    ramp = {item: -0.01 * i for i, item in enumerate(items)}
    harm = {item: 0.02 * (i - 4) for i, item in enumerate(items)}  # by −0.08 to 0.14
    claim = make_claim(controls=(NULL, replace(SHAM, bound=1.0), GUARD, POSITIVE))
    values, null, positive = spread(5), spread(1, seed=1), spread(6, seed=3)
    arms = {"null": null, "sham": ramp, "guard": harm, "positive": positive}
    found = {row["name"]: row for row in judge(claim, make_measurement(values, arms)).controls}
    assert found["sham"] == {
        "name": "sham", "role": "sham", "value": pytest.approx(0.11), "difference": None, "ci": None, "passed": True,
    }  # fmt: skip
    assert found["guard"]["value"] == pytest.approx(0.02 * 28 / 12)
    assert found["positive"]["ci"] == pytest.approx(one_sided(positive)[1])
    assert found["null"]["ci"] == pytest.approx(one_sided({item: x - null[item] for item, x in values.items()})[1])
    assert found["null"]["value"] == pytest.approx(1)


def test_what_was_measured_is_reported_with_the_bounds_that_decided():
    """Value, unit, counts, clusters and method stand beside the one-sided interval and its level."""
    values = {f"i{i}": float(i > 2) for i in range(24)}
    clusters = {item: (f"g{i % 12}",) for i, item in enumerate(values)}
    measurement = make_measurement(values, unit="proportion", clusters=clusters, detectable=tuple(values)[:23])
    found = judge(make_claim(scale="proportion", theta0=0.5, delta=0.2), measurement, alpha=0.1)
    known = interval({i: values[i] for i in list(values)[:23]}, clusters, "one-way", "proportion", alpha=0.1)
    assert found.measured == {
        "value": known.value,
        "unit": "proportion",
        "k": 20,
        "n": 23,
        "clusters": 12,
        "ci": [known.low, known.high],
        "ci_method": known.method,
        "sided": "one-sided 90 %",
    }
    assert found.reason.endswith("; 1 items that could not tell are left aside")


def test_untested_carries_its_reason_and_no_numbers():
    """A claim without weights or data is untested, with what to get."""
    found = untested(make_claim(), "get google/gemma-2-2b, 5 GiB")
    assert found == Verdict(
        "untested", "get google/gemma-2-2b, 5 GiB", None, "cannot tell", "prompts like these", None, (), None
    )
    assert found == judge(make_claim(), Untested("get google/gemma-2-2b, 5 GiB"))
    assert str(found) == "untested: get google/gemma-2-2b, 5 GiB"


def test_a_measurement_of_nothing_is_inconclusive():
    """When every item was excluded there is no number, and the verdict says why."""
    entry = {"value": 5.0, "k": None, "n": None, "low": None, "high": None, "where": "§5"}
    claim = make_claim(published=(entry,), tolerance=0.1)
    found = judge(claim, make_measurement({}, excluded={"a": "crashed"}))
    assert (found.verdict, found.measured, found.agrees) == ("inconclusive", None, "cannot tell")
    alone = judge(make_claim(population="this prompt"), make_measurement({}, design="single"))
    assert (alone.verdict, alone.measured) == ("inconclusive", None)
    assert "1 of 1 items were excluded" in found.reason
