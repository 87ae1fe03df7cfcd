"""Which part of a measurement counts as evidence, and what excluded items would have made of it."""

import pytest

from prolepsis.judging.clustered import estimate, paired_estimate
from prolepsis.judging.evidence import Evidence, overall_reach, reach_answer, reach_by_item
from tests.clustering import DESIGNS, layout
from tests.judging import ALL, NULL, POSITIVE, RIVAL, make_claim, make_measurement, spread


def evidence_of(values, arms=None, *, claim=None, **changes):
    """The evidence of a measurement on a claim with every role of control."""
    return Evidence.of(claim or make_claim(controls=ALL), make_measurement(values, arms, **changes))


@pytest.mark.parametrize(
    ("population", "design"),
    [
        ("prompts like these", "two-way"),
        ("models like these", "two-way"),
        ("these prompts", "one-way"),
        ("this prompt", "one-way"),
    ],
)
def test_prompts_that_are_all_there_are_leave_features_as_the_sample(population, design):
    """Of prompt × feature only the feature is a factor where the claim is about these prompts alone."""
    clusters = layout("two-way", 6)
    values = {item: float(len(item)) for item in clusters}
    found = evidence_of(values, claim=make_claim(population=population), design="two-way", clusters=clusters)
    assert found.design == design
    labels = clusters if design == "two-way" else {item: (feature,) for item, (_, feature) in clusters.items()}
    assert found.clusters == labels
    assert found.theta == estimate(values, labels, design, "nats")
    other = evidence_of(spread(5), claim=make_claim(population=population))
    assert (other.design, other.theta.method) == ("one-way", "t on 12 cluster means")


def test_arms_are_estimated_as_the_value_is():
    """An arm and its contrast are taken in the claim's scale, clusters and numerical tolerance."""
    values = {f"i{i}": float(i > 3) for i in range(12)}
    null, positive = {item: 1 - value for item, value in values.items()}, dict.fromkeys(values, 1.0)
    clusters = {item: (item,) for item in values}
    claim = make_claim(controls=ALL, scale="proportion")
    found = evidence_of(values, {"null": null, "positive": positive}, claim=claim, unit="proportion")
    assert found.theta == estimate(values, clusters, "one-way", "proportion")
    assert found.arm(POSITIVE) == estimate(positive, clusters, "one-way", "proportion")
    assert found.contrast(NULL) == paired_estimate(values, null, clusters, "one-way", "proportion")
    lacking = evidence_of(
        values, {"null": null}, claim=make_claim(kind="absence", scale="proportion"), unit="proportion"
    )
    assert lacking.contrast(NULL) == paired_estimate(null, values, clusters, "one-way", "proportion")
    single = evidence_of(
        {"a": 3.0}, {"null": {"a": 1.0}}, design="single", clusters={}, parameters={"numerical_tolerance": 0.25}
    )
    bounds = [single.theta.bounds(0.05), single.arm(NULL).bounds(0.05), single.contrast(NULL).bounds(0.05)]
    assert bounds == [(2.75, 3.25), (0.75, 1.25), (1.75, 2.25)]


def test_a_single_proportion_keeps_its_numerical_tolerance_in_a_contrast():
    """One item's arm is the same share for all of them, and its contrast is no more certain than the figure is."""
    claim = make_claim(controls=ALL, scale="proportion")
    found = evidence_of(
        {"a": 0.75}, {"null": {"a": 0.5}}, claim=claim, unit="proportion", design="single", clusters={},
        parameters={"numerical_tolerance": 0.125},
    )  # fmt: skip
    assert found.contrast(NULL).bounds(0.05) == (0.125, 0.375)


@pytest.mark.parametrize("kind", ["effect", "absence"])
def test_a_contrast_with_a_known_share_varies_as_the_value_alone(kind):
    """What chance hits is no measurement: bounds are the value's, less that share; of hits it has its own errors."""
    values = {f"i{i}": float(i > 3) for i in range(12)}
    claim = make_claim(kind=kind, controls=ALL, scale="proportion")
    found = evidence_of(values, {"null": dict.fromkeys(values, 0.125)}, claim=claim, unit="proportion")
    low, high = found.theta.bounds(0.05)
    wanted = (low - 0.125, high - 0.125) if kind == "effect" else (0.125 - high, 0.125 - low)
    contrast = found.contrast(NULL)
    assert contrast.bounds(0.05) == pytest.approx(wanted)
    assert contrast.value == pytest.approx(0.5416666667 if kind == "effect" else -0.5416666667)
    measured = evidence_of(values, {"null": dict.fromkeys(values, 0.0)}, claim=claim, unit="proportion").contrast(NULL)
    assert measured.bounds(0.05)[kind == "absence"] != pytest.approx((low, -low)[kind == "absence"])


@pytest.mark.parametrize("favourable", [True, False])
@pytest.mark.parametrize(("scale", "low", "high"), [("nats", -3.0, 7.0), ("proportion", 0.0, 1.0)])
def test_excluded_items_come_out_at_the_extremes(favourable, scale, low, high):
    """They get the best value and the nulls' and rivals' worst, or the reverse; of proportions 0 and 1."""
    values = {"a": 0.25, "b": 0.5} if scale == "proportion" else {"a": 4.0, "b": 1.0}
    arms = {
        "null": {"a": 0.75, "b": 0.25} if scale == "proportion" else {"a": -3.0, "b": 0.0},
        "rival": {"a": 0.5, "b": 0.5} if scale == "proportion" else {"a": 7.0, "b": 0.0},
        "positive": {"a": 0.5, "b": 0.5} if scale == "proportion" else {"a": 50.0, "b": -50.0},
    }
    before = evidence_of(values, arms, claim=make_claim(controls=ALL, scale=scale), unit=scale)
    after = before.with_excluded({"x": "crashed", "a": "crashed once"}, favourable=favourable)
    best, worst = (high, low) if favourable else (low, high)
    assert after.values == {**values, "x": best}
    assert after.arms == {**arms, "null": {**arms["null"], "x": worst}, "rival": {**arms["rival"], "x": worst}}


def test_an_arm_that_was_not_measured_is_not_made_up_for_excluded_items():
    """Without a null or rival in the measurement the excluded items have none either."""
    after = evidence_of(spread(5)).with_excluded(["x"], favourable=False)
    assert (after.measured(NULL), after.measured(RIVAL), after.contrast(NULL)) == ({}, {}, None)


@pytest.mark.parametrize("design", DESIGNS)
def test_an_excluded_item_is_a_cluster_of_its_own(design):
    """Two items without labels add two clusters (a source and a target each, of pairs); known labels are kept."""
    clusters = layout(design, 6)
    values = dict.fromkeys(clusters, 1.0)
    missing = min(values)
    del values[missing]
    before = evidence_of(values, design=design, clusters=clusters)
    known = before.with_excluded([missing], favourable=True)
    assert known.clusters[missing] == clusters[missing]
    assert known.size == 6
    after = before.with_excluded(["x", "y"], favourable=True)
    assert after.size == 6 + 2
    assert {len(labels) for labels in after.clusters.values()} == {1 if design in ("one-way", "by-item") else 2}
    assert after.theta.n == len(values) + 2


def row(*, reachable, claimed=None, item=None):
    """A row of reach; what is None is left out."""
    given = {"name": "row", "reachable": reachable, "why": "", "claimed": claimed, "item": item}
    return {field: value for field, value in given.items() if value is not None}


CAN, CANNOT = row(reachable=True), row(reachable=False)
ELSEWHERE, NOWHERE = row(reachable=True, claimed=False), row(reachable=False, claimed=False)


@pytest.mark.parametrize(
    ("rows", "effect", "absence"),
    [
        ([], "free", "free"),
        ([CAN], "free", "free"),
        ([CANNOT], "impossible", "forced"),
        ([CAN, CANNOT], "free", "free"),
        ([CAN, ELSEWHERE], "free", "free"),
        ([CAN, NOWHERE], "forced", "free"),
        ([CAN, NOWHERE, ELSEWHERE], "free", "free"),
        ([CANNOT, ELSEWHERE], "impossible", "forced"),
        ([CANNOT, NOWHERE], "impossible", "forced"),
        ([ELSEWHERE], "free", "free"),
    ],
)
def test_wiring_answers_by_what_claimed_and_other_rows_can_reach(rows, effect, absence):
    """An effect is forced where nothing else can move, impossible where its rows cannot; an absence is forced then."""
    for kind in ("effect", "ordering", "exclusivity", "universal"):
        assert reach_answer(make_claim(kind=kind), rows) == effect
    for kind in ("absence", "equality"):
        assert reach_answer(make_claim(kind=kind), rows) == absence


def reached(rows, **changes):
    """A measurement of two items with these rows of reach."""
    return make_measurement({"a": 1.0, "b": 1.0}, reach={"rows": rows}, **changes)


def of(item, **more):
    """A row of one item."""
    return row(item=item, **more)


@pytest.mark.parametrize(
    ("rows", "kind", "answer"),
    [
        ([CANNOT, of("a", reachable=True)], "effect", "impossible"),  # what holds for all comes first
        ([CAN, of("a", reachable=False), of("b", reachable=False)], "effect", "impossible"),
        ([of("a", reachable=False), of("b", reachable=False)], "effect", "impossible"),
        ([of("a", reachable=False), of("b", reachable=True)], "effect", "free"),
        ([of("a", reachable=False)], "effect", "free"),  # of b nothing is known
        ([of("a", reachable=False)], "universal", "impossible"),
        ([of("a", reachable=False), of("b", reachable=False)], "absence", "forced"),
        ([of("c", reachable=False)], "universal", "free"),  # not an item that counts
    ],
)
def test_items_answer_together(rows, kind, answer):
    """A claim is open unless all its items agree; one impossible item is enough against a universal claim."""
    assert overall_reach(make_claim(kind=kind), reached(rows)) == answer


def test_only_detectable_items_answer():
    """An item in which nothing could have been seen does not keep a claim open."""
    rows = [of("a", reachable=False), of("b", reachable=True)]
    assert overall_reach(make_claim(), reached(rows, detectable=("a",))) == "impossible"
    assert reach_by_item(make_claim(), reached([*rows, CAN])) == {"a": "impossible", "b": "free", None: "free"}
    assert reach_by_item(make_claim(), make_measurement({"a": 1.0})) == {}


def test_items_left_aside_are_counted_and_play_no_part():
    """Items that are not detectable, or forced, are in no estimate, and their number is given."""
    rows = [of("b", reachable=True), of("b", reachable=False, claimed=False)]
    found = evidence_of(
        {"a": 1.0, "b": 9.0, "c": 9.0, "d": 2.0},
        {"null": {"a": 0.0, "c": 0.0, "d": 0.5}},
        detectable=("a", "b", "d"),
        reach={"rows": rows},
    )
    assert (found.values, found.aside) == ({"a": 1.0, "d": 2.0}, 2)
    assert found.measured(NULL) == {"a": 0.0, "d": 0.5}
    assert found.contrast(NULL).value == pytest.approx(1.25)
    assert found.arm(NULL).value == pytest.approx(0.25)
    assert found.arm(RIVAL) is None
