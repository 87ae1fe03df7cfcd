"""Rule 4 of the judge: what is too little, broken or too blunt to decide anything."""

from dataclasses import replace

import numpy as np
import pytest

from prolepsis.judge import judge
from prolepsis.judging.clustered import estimate, interval
from tests.judging import ALL, GUARD, NULL, POSITIVE, RIVAL, SHAM, good, make_claim, make_measurement, spread

VALIDITY = [
    ({"clusters": {f"i{i}": (f"g{i % 5}",) for i in range(12)}}, "5 clusters, 6 are needed to speak of 'prompts like"),
    ({"detectable": tuple(f"i{i}" for i in range(11))}, "11 detectable items, 12 are needed"),
    ({"excluded": {f"x{i}": "no answer" for i in range(4)}}, "4 of 16 items were excluded, more than 20%"),
    ({"arms": {"null": {f"i{i}": 0.0 for i in range(5)}}}, "the untrained twin was measured in 5 clusters"),
]


@pytest.mark.parametrize(("changes", "reason"), VALIDITY)
def test_each_shortfall_makes_a_clear_effect_inconclusive(changes, reason):
    """Too few clusters, detectable items, or clusters of an arm, and too many exclusions each undo a clear effect."""
    measurement = replace(good(), **changes)
    claim = make_claim()
    assert judge(claim, good()).verdict == "supported"
    found = judge(claim, measurement)
    assert found.verdict == "inconclusive"
    assert reason in found.reason


@pytest.mark.parametrize("missing", [SHAM, GUARD, POSITIVE])
def test_a_declared_control_that_was_not_measured_never_counts_as_passed(missing):
    """Without its sham, guard or positive control a clear effect is inconclusive."""
    claim = make_claim(controls=ALL, kind="exclusivity")
    whole = good()
    arms = {name: arm for name, arm in whole.arms.items() if name != missing.name}
    found = judge(claim, replace(whole, arms=arms))
    assert (found.verdict, f"{missing.label} ({missing.role}) was not measured" in found.reason) == (
        "inconclusive",
        True,
    )


def test_a_recording_without_its_null_or_rival_arms_is_never_supported():
    """A null or rival that was not measured leaves a clear effect inconclusive, but a failed criterion contradicted."""
    bare = make_measurement(spread(5))
    assert str(judge(make_claim(), bare)) == "inconclusive: the untrained twin (null) not measured"
    assert str(judge(make_claim(controls=()), bare)) == "inconclusive: no null was measured"
    exclusive = make_claim(kind="exclusivity", controls=(RIVAL, NULL))
    assert str(judge(exclusive, bare)) == "inconclusive: the mean difference (rival) not measured"
    two = make_claim(controls=(NULL, replace(NULL, name="other", label="shuffled labels")))
    assert judge(two, bare).reason == "the untrained twin and shuffled labels (null) not measured"
    assert judge(make_claim(), make_measurement(spread(-5))).verdict == "contradicted"


def test_four_prompts_speak_only_of_themselves():
    """4 prompts × 34 features never support a claim on prompts like these, and can support one on these prompts."""
    clusters = {f"{p}.{f}": (f"p{p}", f"f{f}") for p in range(4) for f in range(34)}
    rng = np.random.default_rng(0)
    values, null = ({item: m + rng.normal(0, 0.1) for item in clusters} for m in (5, 0))
    measurement = make_measurement(values, {"null": null}, clusters=clusters, design="two-way")
    assert judge(make_claim(), measurement).reason.startswith("4 clusters, 6 are needed")
    found = judge(make_claim(population="these prompts"), measurement)
    assert (found.verdict, found.measured["clusters"], found.population) == ("supported", 34, "these prompts")
    by_feature = interval(values, {item: (feature,) for item, (_, feature) in clusters.items()}, "one-way", "nats")
    assert found.measured["ci"] == pytest.approx([by_feature.low, by_feature.high])


def test_a_single_value_speaks_of_its_prompt_alone():
    """A deterministic value is judged as a point with its tolerance for "this prompt", and for nothing wider."""

    def single(value, **parameters):
        arms = {"null": {"a": 0.0}}
        return make_measurement({"a": value}, arms, design="single", clusters={}, parameters=parameters)

    this = make_claim(population="this prompt")
    assert judge(this, single(5.0)).verdict == "supported"
    assert judge(this, single(0.9)).verdict == "contradicted"
    assert judge(this, single(1.001)).verdict == "supported"
    assert judge(this, single(1.001, numerical_tolerance=0.01)).verdict == "inconclusive"
    assert judge(this, single(5.0)).margin is None
    assert judge(make_claim(), single(5.0)).verdict == "inconclusive"


def test_exclusions_that_would_change_the_verdict_make_it_inconclusive():
    """Three misses among the excluded undo a bare majority of hits, and leave a clear one as it is."""
    claim = make_claim(scale="proportion", theta0=0.5, delta=0.2)
    excluded = {f"x{i}": "no answer" for i in range(3)}

    def hits(missed):
        values = {f"i{i}": float(i >= missed) for i in range(24)}
        arms = {"null": dict.fromkeys(values, 0.0)}
        return make_measurement(values, arms, unit="proportion")

    for missed, kept in ((0, True), (6, False)):
        assert judge(claim, hits(missed)).verdict == "supported"
        found = judge(claim, replace(hits(missed), excluded=excluded))
        assert (found.verdict == "supported") == kept
    assert found.reason == "the 3 excluded items decide: supported without them, inconclusive with them at their worst"


def test_an_excluded_item_counts_at_the_worst_of_both_its_arms():
    """One item in 25 whose value is as low and whose null is as high as any undoes a null beaten by 1.2 nats."""
    measurement = make_measurement(spread(5, 24), {"null": spread(3.8, 24, seed=1)})
    assert judge(make_claim(), measurement).verdict == "supported"
    assert judge(make_claim(), replace(measurement, excluded={"x": "no answer"})).verdict == "inconclusive"


def test_scatter_undoes_an_exclusion_but_never_a_finding():
    """With a detectable effect of 2 nats where 1 is asked, a near miss is inconclusive and 12 ± 3 nats supported."""
    claim = make_claim()
    wide = {"sd": 3.0, "size": 24}

    def found(value, null=0.0):
        return judge(claim, make_measurement(spread(value, **wide), {"null": spread(null, 24, 0.01, 5)}))

    assert found(12).verdict == "supported"
    near = found(-0.5)
    assert (near.verdict, near.reason[:12]) == ("inconclusive", "underpowered")
    assert "the effect falls short" in near.reason
    assert found(-12).verdict == "contradicted"
    assert found(12, null=12.5).verdict == "inconclusive"
    assert found(12, null=30).verdict == "vacuous"
    assert judge(make_claim(kind="absence", theta0=1), make_measurement(spread(12, **wide))).verdict == "contradicted"


BARELY = 1.3  # beyond a threshold by more than the bound of SCATTER's mean, by less than its smallest detectable effect
SCATTER = {"sd": 3.0, "size": 24}


@pytest.mark.parametrize(
    ("kind", "value", "verdict"),
    [
        ("effect", 1 + BARELY, "supported"),
        ("effect", 1 - BARELY, "inconclusive"),
        ("absence", 1 - BARELY, "supported"),
        ("absence", 1 + BARELY, "contradicted"),
        ("equality", 2 + BARELY, "contradicted"),
        ("equality", -BARELY, "contradicted"),
    ],
)
def test_a_finding_stands_though_a_difference_of_delta_could_have_been_missed(kind, value, verdict):
    """What shows itself beyond its threshold counts at any power; only a failure to show does not."""
    values = spread(value, **SCATTER)
    far = {"absence": 30.0, "equality": 30.0}.get(kind, -30.0)
    null = {item: x + far for item, x in values.items()}
    found = judge(make_claim(kind=kind), make_measurement(values, {"null": null}))
    assert found.verdict == verdict
    assert found.reason.startswith("underpowered") == (verdict == "inconclusive")


def test_power_is_measured_at_the_threshold():
    """A near miss stands if delta could just be seen, or if its distance could; wherever the threshold lies."""
    values = spread(0.0, **SCATTER)
    mde = estimate(values, {item: (item,) for item in values}, "one-way", "nats").mde
    for theta0 in (0.0, 10.0, -10.0):
        for below, delta, verdict in [
            (BARELY, mde, "contradicted"),
            (BARELY, 0.999 * mde, "inconclusive"),
            (0.99 * mde, 1.0, "inconclusive"),
            (1.01 * mde, 1.0, "contradicted"),
        ]:
            moved = {item: value + theta0 - below for item, value in values.items()}
            found = judge(make_claim(theta0=theta0, delta=delta), make_measurement(moved, {"null": moved}))
            assert found.verdict == verdict
            assert found.reason.startswith("underpowered") == (verdict == "inconclusive")


def test_an_open_question_is_called_underpowered_where_delta_could_not_be_seen():
    """So it is at a level so small that even a distance that could be seen leaves both readings."""
    far = make_measurement(spread(3.5, **SCATTER), {"null": spread(-30, 24)})
    assert judge(make_claim(), far).verdict == "supported"
    assert judge(make_claim(), far, alpha=1e-6).reason.startswith("underpowered: the smallest detectable effect is")


def test_what_is_inconclusive_by_itself_keeps_its_reason():
    """Excluded items are blamed only for a verdict that stands without them, not for one they would have made."""
    excluded = {f"x{i}": "no answer" for i in range(5)}
    measurement = make_measurement(spread(1.01, 24), {"null": spread(-9, 24)}, excluded=excluded)
    assert judge(make_claim(), measurement).reason.startswith("the interval holds both readings")
    top = max(measurement.values.values())
    best = make_measurement(
        {**measurement.values, **dict.fromkeys(excluded, top)},
        {"null": {**measurement.arms["null"], **dict.fromkeys(excluded, -9.0)}},
    )
    assert judge(make_claim(), best).verdict == "supported"


@pytest.mark.parametrize("control", [NULL, RIVAL, POSITIVE])
def test_an_arm_counts_in_the_clusters_it_was_measured_in(control):
    """A null, rival or positive control known in five of six clusters is too little, in all six it is enough."""
    claim = make_claim(kind="exclusivity", controls=(NULL, RIVAL, POSITIVE))
    clusters = {f"i{i}": (f"g{i % 6}",) for i in range(12)}
    whole = replace(good(), clusters=clusters)
    assert judge(claim, whole).verdict == "supported"
    for left_out, verdict in [
        ({"g5"}, "inconclusive"),
        ({"g1", "g2", "g3", "g4", "g5"}, "inconclusive"),
        (set(), "supported"),
    ]:
        arm = {item: value for item, value in whole.arms[control.name].items() if clusters[item][0] not in left_out}
        found = judge(claim, replace(whole, arms={**whole.arms, control.name: arm}))
        said = f"{control.label} was measured in {6 - len(left_out)} clusters, 6 are needed"
        assert (found.verdict, said in found.reason) == (verdict, bool(left_out))
    arm = {item: value for item, value in whole.arms[control.name].items() if item < "i6"}  # once in each cluster
    found = judge(claim, replace(whole, arms={**whole.arms, control.name: {**arm, "i10": 0.0, "i11": 5.0}}))
    assert "5 clusters" not in found.reason


def test_a_positive_control_has_to_work_where_it_counts():
    """One that was measured in items left aside only is said to; one that just reaches its bound works."""
    claim = make_claim(controls=(NULL, POSITIVE))
    values, aside = spread(5), {f"aside {i}": 5.0 for i in range(6)}
    clusters = {item: (item,) for item in {**values, **aside}}
    null = dict.fromkeys(values, 0.0)

    def found(positive):
        arms = {"null": null, "positive": positive}
        return judge(
            claim,
            make_measurement({**values, **aside}, arms, detectable=tuple(values), clusters=clusters),
        )

    assert found(aside).reason.startswith("all positions (positive) was measured on no item that counts")
    assert found(dict.fromkeys(values, POSITIVE.bound)).verdict == "supported"
    assert found(dict.fromkeys(values, POSITIVE.bound - 0.01)).verdict == "inconclusive"


def test_a_guard_and_a_positive_control_are_held_to_the_mean_of_their_items():
    """Single items may lie beyond the bound as long as the mean, or its lower bound, does not."""
    claim = make_claim(controls=(NULL, GUARD))
    items = list(spread(0))
    for worst, verdict in [(1.0, "supported"), (1.5, "inconclusive")]:
        guard = {item: worst if item == items[0] else 0.0 for item in items}
        found = judge(claim, make_measurement(spread(5), {"null": spread(0), "guard": guard}))
        assert found.verdict == verdict


def test_a_positive_control_has_to_work_beyond_chance():
    """A mean above the bound is not enough where its 95 % interval holds values below it."""
    claim = make_claim(controls=(NULL, POSITIVE))
    for above, verdict in [(0.01, "inconclusive"), (0.1, "supported")]:
        measurement = make_measurement(spread(5), {"null": spread(0), "positive": spread(POSITIVE.bound + above)})
        # Whatever the level that is left to the claim by the other rows of its family.
        for alpha in (0.05, 0.0025):
            assert judge(claim, measurement, alpha).verdict == verdict
            (row,) = (row for row in judge(claim, measurement, alpha).controls if row["role"] == "positive")
            assert row["passed"] == (verdict == "supported")


@pytest.mark.parametrize(("control", "broken", "holds"), [(GUARD, 0.5, -0.5), (POSITIVE, -0.5, 0.5)])
def test_a_bound_of_zero_is_a_bound(control, broken, holds):
    """A guard that may not rise above 0, or a positive control that has to, is held to that."""
    claim = make_claim(controls=(NULL, replace(control, bound=0.0)))
    for level, verdict in [(broken, "inconclusive"), (holds, "supported")]:
        arms = {"null": spread(0), control.name: dict.fromkeys(spread(0), level)}
        found = judge(claim, make_measurement(spread(5), arms))
        assert (found.verdict, found.controls[1]["passed"]) == (verdict, level == holds)


def test_more_than_a_fifth_excluded_is_too_many():
    """6 of 30 items may be missing from a claim that is contradicted by far, 6 of 29 may not."""
    for size, verdict in [(24, "contradicted"), (23, "inconclusive")]:
        values = dict.fromkeys(spread(0, size), -9.0)
        measurement = make_measurement(values, {"null": values}, excluded={f"x{i}": "no answer" for i in range(6)})
        assert judge(make_claim(), measurement).verdict == verdict


def test_excluded_items_are_tried_at_their_best_as_well():
    """A failure that one excluded item at its best would have undone is inconclusive, and says so."""
    values = {**spread(0.93, 24), "top": 9.0}
    clusters = {item: (item if item != "top" else "i0",) for item in values}
    claim = make_claim(theta0=2.2, delta=5.0)
    measurement = make_measurement(values, {"null": dict.fromkeys(values, -99.0)}, clusters=clusters)
    assert judge(claim, measurement).verdict == "contradicted"
    found = judge(claim, replace(measurement, excluded={f"x{i}": "no answer" for i in range(5)}))
    assert found.reason == (
        "the 5 excluded items decide: contradicted without them, inconclusive with them at their best"
    )


def test_everything_that_falls_short_is_named():
    """Several shortfalls are given together, parted by semicolons."""
    claim = make_claim(controls=ALL, kind="exclusivity")
    measurement = replace(good(guard=0.5), excluded={f"x{i}": "no answer" for i in range(4)})
    assert judge(claim, measurement).reason == (
        "4 of 16 items were excluded, more than 20%; off-target damage: KL elsewhere is 0.50, allowed 0.10"
    )
