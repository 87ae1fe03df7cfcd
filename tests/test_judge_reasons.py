"""How surely a verdict was reached, and what its reason says."""

import math
import re

import numpy as np
import pytest
import scipy.stats

from prolepsis.judge import judge
from prolepsis.judging.rules import number
from tests.judging import (
    NULL,
    POSITIVE,
    RIVAL,
    good,
    make_claim,
    make_measurement,
    one_sided,
    spread,
)


def test_the_margin_is_the_distance_of_the_deciding_bound_in_standard_errors():
    """For the value alone it is |bound − theta0| over the standard error of the mean; for a clear support the least."""
    values = spread(-5)
    found = judge(make_claim(), make_measurement(values))
    x = np.array(list(values.values()))
    t = scipy.stats.t.ppf(0.95, len(x) - 1)
    assert found.margin == pytest.approx((1 - x.mean()) / scipy.stats.sem(x) - t)
    near, far = (judge(make_claim(), good(5.0, null)).margin for null in (3.9, 0.0))
    assert near < far


# What decides, the bound that does (0 low, 1 high), and its threshold; theta0 = 1, delta = 1.
DECIDED = [
    ("effect", 5.0, -9.0, "supported", ("value", 0, 1)),
    ("effect", 5.0, 3.5, "supported", ("null", 0, 1)),
    ("effect", 1.01, -9.0, "inconclusive", ("value", 0, 1)),
    ("effect", 0.0, -9.0, "contradicted", ("value", 1, 1)),
    ("effect", 5.0, 3.99, "inconclusive", ("null", 0, 1)),
    ("effect", 5.0, 4.5, "vacuous", ("null", 1, 1)),
    ("ordering", 1.1, -9.0, "supported", ("value", 0, 1)),
    ("universal", 5.0, 3.5, "supported", ("null", 0, 1)),
    ("universal", 1.5, -9.0, "supported", ("null", 0, 1)),  # its items are judged one by one, not by their mean
    ("absence", 0.5, 9.0, "supported", ("value", 1, 1)),
    ("absence", -9.0, -7.5, "supported", ("null", 0, 1)),
    ("absence", 0.99, 9.0, "inconclusive", ("value", 1, 1)),
    ("absence", 3.0, 9.0, "contradicted", ("value", 0, 1)),
    ("absence", -3.0, -2.5, "vacuous", ("null", 1, 1)),
    ("equality", 1.5, 9.0, "supported", ("value", 1, 2)),
    ("equality", 0.5, 9.0, "supported", ("value", 0, 0)),
    ("equality", 1.0, -0.2, "supported", ("null", 0, 1)),
    ("equality", 1.99, 9.0, "inconclusive", ("value", 1, 2)),
    ("equality", 0.01, 9.0, "inconclusive", ("value", 0, 0)),
    ("equality", 2.5, 9.0, "contradicted", ("value", 0, 2)),
    ("equality", -0.5, 9.0, "contradicted", ("value", 1, 0)),
]


@pytest.mark.parametrize(("kind", "value", "null", "verdict", "decided"), DECIDED)
def test_the_margin_is_that_of_the_bound_that_decided(kind, value, null, verdict, decided):
    """In every kind it is |bound − threshold| in standard errors, of the value or of its contrast with the null."""
    what, side, threshold = decided
    values, arm = spread(value), spread(null, seed=1)
    found = judge(make_claim(kind=kind), make_measurement(values, {"null": arm}))
    contrast = {item: (arm[item] - x if kind == "absence" else x - arm[item]) for item, x in values.items()}
    error, bounds = one_sided(values if what == "value" else contrast)
    assert found.verdict == verdict
    assert found.margin == pytest.approx(abs(bounds[side] - threshold) / error)


@pytest.mark.parametrize(
    ("kind", "null", "rival", "nearest"),
    [
        ("exclusivity", 0.0, 7.5, RIVAL),
        ("exclusivity", 7.5, 0.0, NULL),
        ("effect", 0.0, 7.5, NULL),  # a rival counts against nothing but exclusivity
    ],
)
def test_the_nearest_of_the_controls_that_count_gives_the_margin(kind, null, rival, nearest):
    """Of nulls, and of rivals where they count, the nearest decides how safely a claim is supported; it is named."""
    arms = {"null": spread(null, seed=1), "rival": spread(rival, seed=2), "positive": spread(9.0, seed=3)}
    values = spread(12.0)
    found = judge(make_claim(kind=kind, controls=(RIVAL, POSITIVE, NULL)), make_measurement(values, arms))
    margins = {}
    for name, arm in arms.items():
        error, (low, _) = one_sided({item: x - arm[item] for item, x in values.items()})
        margins[name] = (low - 1) / error
    error, (low, _) = one_sided(values)
    assert found.verdict == "supported"
    assert found.margin == pytest.approx(min(margins[nearest.name], (low - 1) / error))
    assert f"nearest: {nearest.label}, difference" in found.reason


def test_a_count_that_a_single_cluster_would_turn_has_a_small_margin():
    """Counted differences have a margin like any other, in standard errors; where all are alike there is none."""

    def found(size, hits, null_hits):
        values, null = ({f"i{i}": float(i < k) for i in range(size)} for k in (hits, null_hits))
        claim = make_claim(scale="proportion", theta0=0.5, delta=0.2)
        return judge(claim, make_measurement(values, {"null": null}, unit="proportion"))

    near, nearer = found(24, 24, 10), found(24, 24, 11)
    assert (near.verdict, nearer.verdict) == ("supported", "inconclusive")
    assert near.margin < 1
    assert found(24, 24, 2).margin > 2
    assert (found(24, 24, 24).verdict, found(24, 24, 24).margin) == ("vacuous", None)
    assert (found(24, 24, 0).verdict, found(24, 24, 0).margin) == ("supported", None)


@pytest.mark.parametrize(("rival", "named"), [(12.0, True), (12.9, True), (11.5, True), (10.0, False)])
def test_a_rival_that_gives_as_much_is_named_where_it_does_not_count(rival, named):
    """An effect that another route gives within delta is supported, and its reason says which route that is."""
    arms = {"null": spread(0.0, seed=1), "rival": spread(rival), "positive": spread(20.0, seed=3)}
    found = judge(make_claim(controls=(RIVAL, POSITIVE, NULL)), make_measurement(spread(12.0), arms))
    assert found.verdict == "supported"
    assert found.reason.endswith(f"; a rival gives as much: {RIVAL.label}") == named
    assert ("rival" in found.reason) == named


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("effect", 5.0, "5.00 nats, at least 4."),
        ("absence", -5.0, "-5.00 nats, at most -4."),
        ("equality", 1.0, "1.00 nats, between 0."),
    ],
)
def test_a_support_says_the_bound_its_kind_is_about(kind, value, said):
    """An effect has at least, an absence at most, and an equality lies between."""
    null = {"effect": -9.0}.get(kind, 9.0)
    assert judge(make_claim(kind=kind), good(value, null)).reason.startswith(said)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0.00"),
        (9e-16, "0.00"),
        (-9e-16, "0.00"),
        (1.1e-15, "1.1e-15"),
        (0.00994, "0.0099"),
        (0.01, "0.01"),
        (-0.01, "-0.01"),
        (0.5, "0.50"),
        (999.994, "999.99"),
        (1000.0, "1e+03"),
    ],
)
def test_numbers_are_printed_to_two_decimals_or_digits(value, text):
    """Two decimals where they show the size, else two digits; sums' rounding noise is 0; proportions have no unit."""
    assert number(value) == number(value, "proportion") == number(value, "probability") == text
    assert number(value, "nats") == f"{text} nats"


@pytest.mark.parametrize(
    ("value", "step", "text"),
    [
        (0.457, 0.0005, "0.4570"),
        (0.4563, 0.0002, "0.4563"),
        (0.2013, 0.0013, "0.201"),
        (5.0, 0.5, "5.00"),
        (5.0, 1e-9, "5.000000"),
        (256768.0, 0.5, "256768"),
        (3.784e12, 5e9, "3.784e+12"),
        (3.784e12, 5e12, "3.8e+12"),
        (1.43e-05, 5e-07, "1.43e-05"),
        (0.0, 0.0005, "0.00"),
    ],
)
def test_numbers_show_the_difference_that_is_asked_of_them(value, step, text):
    """As many digits as a difference of that size has, never fewer than two, nor more than float32 knows."""
    assert number(value, step=step) == text


def single(value, null, **changes):
    """The verdict on one deterministic value beside one null."""
    clusters = {"this": ()}
    unit = changes.setdefault("scale", "probability")
    measured = make_measurement(
        {"this": value}, {"null": {"this": null}}, design="single", clusters=clusters, unit=unit
    )
    return str(judge(make_claim(population="this prompt", **changes), measured))


def test_a_reason_shows_the_digits_on_which_it_turns():
    """What differs is printed so that it is seen to differ, from its threshold and within its tolerance."""
    equal = {"kind": "equality", "delta": 0.2}
    assert single(0.4563, 0.0, theta0=0.457, within=0.0005, **equal) == (
        "contradicted: the values differ (0.4563, between 0.4563 and 0.4563, where 0.4570 ± 0.0005 is claimed)"
    )
    assert single(256780, 0.0, theta0=256768, within=0.5, scale="count", **equal) == (
        "contradicted: the values differ (256780 count, between 256777.4 and 256782.6, where 256768 ± 0.50 is claimed)"
    )
    assert "difference 0.201, at least 0.201)" in single(0.9, 0.6987, theta0=0.5, delta=0.2)
    assert "at most 0.1990, where 0.2000 is asked" in single(0.9, 0.701, theta0=0.5, delta=0.2)


def test_an_equality_is_a_distance_apart_from_a_null_on_either_side():
    """How far an equality lies below its null is said without a sign, like the bound of it."""
    found = judge(make_claim(kind="equality", theta0=0.0), good(0.0, 4.0))
    assert "difference 4.00, at least 3.9" in found.reason
    near = judge(make_claim(kind="equality", theta0=0.0), good(0.0, 1.0))
    assert "difference 1.00 nats, at least 0.9" in near.reason


def test_a_universal_support_names_its_worst_item():
    """What every item gives is shown by the one that gives least."""
    values = {**spread(5.0), "i7": 1.02}
    found = judge(make_claim(kind="universal"), make_measurement(values, {"null": spread(-9.0)}))
    assert ", i7 the least with 1.02, beyond every null (" in found.reason


@pytest.mark.parametrize(("kind", "beyond"), [("exclusivity", "every null and rival"), ("effect", "every null")])
def test_a_support_says_what_was_exceeded(kind, beyond):
    """Rivals are among what was exceeded only where they count."""
    found = judge(make_claim(kind=kind, controls=(NULL, RIVAL)), good(5.0, 0.0, rival=0.5))
    assert f"beyond {beyond} (nearest:" in found.reason


@pytest.mark.parametrize(("kind", "value", "null"), sorted({row[:3] for row in DECIDED}))
def test_a_reason_names_only_what_was_measured_or_asked(kind, value, null):
    """Every number of a reason is the value, a bound, theta0 or delta; what was measured has its unit."""
    values, arm = spread(value), spread(null, seed=1)
    found = judge(make_claim(kind=kind), make_measurement(values, {"null": arm}))
    contrast = {item: (arm[item] - x if kind == "absence" else x - arm[item]) for item, x in values.items()}
    known = [1.0, *one_sided(values)[1], *one_sided(contrast)[1], value, np.mean(list(contrast.values()))]
    if kind == "universal":
        known.append(min(values.values()))
    if kind == "equality":  # how far apart on either side
        known += [-x for x in known]
    numbers = [float(text) for text in re.findall(r"-?\d+\.\d+", found.reason)]
    assert len(numbers) >= 3
    assert all(min(abs(number - x) for x in known) <= 0.005 + 1e-9 for number in numbers), found.reason
    assert found.reason.count(" nats") == 1 + ("up to" in found.reason)
    assert not re.search("None|nan|XX", found.reason)


def test_planted_values_without_variance_are_judged_as_points():
    """Values that are all the same are supported, contradicted or vacuous with no margin, even at tiny levels."""

    def planted(value, null):
        constant = [dict.fromkeys(spread(0), x) for x in (value, null)]
        return judge(make_claim(), make_measurement(constant[0], {"null": constant[1]}), alpha=1e-9)

    found = [planted(12.8, 0.0), planted(0.0, 0.0), planted(12.8, 12.8)]
    assert [(v.verdict, v.margin) for v in found] == [("supported", None), ("contradicted", None), ("vacuous", None)]
