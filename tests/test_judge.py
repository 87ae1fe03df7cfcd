"""How a measurement becomes a verdict: every rule, their order, and what can never change a verdict."""

import itertools
import json
import math
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from prolepsis.clustered import interval
from prolepsis.errors import HarnessFault, Untested
from prolepsis.judge import judge, judge_family, untested
from prolepsis.ledger import Claim, Control
from prolepsis.measurement import Measurement

plain = settings(deadline=None, max_examples=60)
seeds = st.integers(0, 2**32 - 1)
NULL = Control("null", "null", None, "the untrained twin")
RIVAL = Control("rival", "rival", None, "the mean difference")
POSITIVE = Control("positive", "positive", 2.0, "all positions")
SHAM = Control("sham", "sham", None, "own activations")
GUARD = Control("guard", "guard", 0.1, "KL elsewhere")
ALL = (NULL, RIVAL, POSITIVE, SHAM, GUARD)


def make_claim(**changes):
    """A claim of at least 1 nat over one null, unless changed."""
    fields = {
        "id": "X01",
        "variant": "asked",
        "section": "5",
        "source": "",
        "statement": "…",
        "kind": "effect",
        "population": "prompts like these",
        "scale": "nats",
        "theta0": 1.0,
        "delta": 1.0,
        "family": "Q2",
        "published": (),
        "tolerance": None,
        "tolerance_why": "",
        "controls": (NULL,),
        "experiment": "interchange",
        "untested": "",
        "model": "",
        "suite": "couplets",
        "tiers": ("organism",),
    }
    return Claim(**{**fields, **changes})


def spread(mean, size=12, sd=0.05, seed=0):
    """``size`` values, one per cluster, of the given sample mean and about the given scatter."""
    noise = np.random.default_rng(seed).normal(0, sd, size)
    return {f"i{i}": float(mean + x) for i, x in enumerate(noise - noise.mean())}


def make_measurement(values, arms=None, **changes):
    """A one-way measurement with a cluster per item."""
    fields = {
        "experiment": "interchange",
        "subject": "planner",
        "unit": "nats",
        "design": "one-way",
        "parameters": {},
        "values": values,
        "clusters": {item: (f"g{item}",) for item in values},
        "arms": arms or {},
    }
    return Measurement(**{**fields, **changes})


def good(value=5.0, null=0.0, *, rival=0.0, positive=5.0, sham=0.0, guard=0.01, **changes):
    """A measurement in which every arm is in order, unless changed."""
    arms = {"null": spread(null, seed=1), "rival": spread(rival, seed=2), "positive": spread(positive, seed=3)}
    constant = {"sham": dict.fromkeys(spread(0), sham), "guard": dict.fromkeys(spread(0), guard)}
    return make_measurement(spread(value), {**arms, **constant}, **changes)


def rows(claimed, other, **more):
    """Reach with one row the claim points to and one it does not."""
    return {
        "rows": [
            {"name": "last", "claimed": True, "reachable": claimed, "why": "last is off the path", **more},
            {"name": "first", "claimed": False, "reachable": other, "why": "first is off the path"},
        ]
    }


# One measurement per rule, as changes to a good one; each contains what all later rules need to fire as well.
NULL_AS_GOOD = {"null": 5.0}
RIVAL_AS_GOOD = {"rival": 5.0, **NULL_AS_GOOD}
BELOW = {"value": 0.0, "rival": 0.0, "null": 0.0}
INVALID = {"guard": 0.5, **BELOW}
FORCED = {"reach": rows(True, False), **INVALID}
SHAM_MOVED = {"sham": 1e-3, **FORCED}
LADDER = [
    (3, FORCED, "vacuous", "forced: the wiring lets nothing but the claimed outcome, or none, come out: first is off"),
    (3, {**INVALID, "reach": rows(False, True)}, "contradicted", "impossible: the wiring does not let the claimed"),
    (4, INVALID, "inconclusive", "off-target damage: KL elsewhere is 0.50, allowed 0.10"),
    (4, {"positive": 0.5, **BELOW}, "inconclusive", "dead assay: all positions gives 0.50 nats, at least"),
    (5, BELOW, "contradicted", "the effect falls short (0.00 nats, between"),
    (6, RIVAL_AS_GOOD, "contradicted", "the mean difference does as well (difference 0.00 nats, at most 0.0"),
    (7, NULL_AS_GOOD, "vacuous", "the untrained twin gives as much (difference 0.00 nats, at most 0.0"),
    (7, {}, "supported", "5.00 nats, at least 4.9"),
]


@pytest.mark.parametrize(("rule", "changes", "verdict", "reason"), LADDER)
def test_the_first_rule_that_matches_decides(rule, changes, verdict, reason):
    """With everything later wrong as well, each rule gives its own verdict and names what decided."""
    found = judge(make_claim(kind="exclusivity", controls=ALL), good(**changes))
    assert (found.verdict, found.reason[: len(reason)]) == (verdict, reason), rule


def test_a_harness_fault_comes_before_everything_but_no_measurement():
    """A sham that moved raises even where wiring, validity and criterion would each have given a verdict."""
    claim = make_claim(kind="exclusivity", controls=ALL)
    with pytest.raises(HarnessFault, match=r"X01 on planner: own activations moved by 0\.001 in item 'i0'"):
        judge(claim, good(**SHAM_MOVED))
    with pytest.raises(HarnessFault, match="own activations moved"):
        judge(make_claim(kind="arithmetic", controls=ALL), good(sham=1.0))
    assert judge(claim, Untested("get 16 GiB")).verdict == "untested"


def test_a_sham_may_move_by_its_bound_and_no_further():
    """The ledger's bound is the largest deviation allowed, 0 unless it says so."""
    loose = make_claim(controls=(NULL, replace(SHAM, bound=1e-6)))
    assert judge(loose, good(sham=-1e-6)).verdict == "supported"
    with pytest.raises(HarnessFault):
        judge(loose, good(sham=-1.1e-6))
    with pytest.raises(HarnessFault):
        judge(make_claim(controls=(NULL, SHAM)), good(sham=1e-12))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reach": rows(False, True, moved=True)}, "last moved although it cannot be reached: last is off the path"),
        ({"parameters": {"discovery": ["a", "b"], "tested": ["b"]}}, "discovery data reused for testing: b"),
        (
            {"parameters": {"folds": [{"discovery": ["a"], "tested": ["b"]}, {"discovery": ["c"], "tested": ["c"]}]}},
            "reused for testing: c",
        ),
        ({"unit": "probability"}, "measured in probability, but the claim is in nats"),
    ],
)
def test_a_failed_instrument_is_a_fault_and_never_a_verdict(changes, message):
    """An unreachable readout that moved, reused discovery data or another unit raises HarnessFault."""
    with pytest.raises(HarnessFault, match=message):
        judge(make_claim(), good(**changes))


def test_a_value_that_is_no_number_is_a_fault():
    """NaN cannot even become a measurement."""
    with pytest.raises(HarnessFault, match="is nan"):
        make_measurement({**spread(5), "i3": math.nan})


def test_disjoint_folds_and_reachable_movement_are_no_faults():
    """Groups swapped between two folds, and a reachable readout that moved, are as they should be."""
    folds = [{"discovery": ["a"], "tested": ["b"]}, {"discovery": ["b"], "tested": ["a"]}]
    found = judge(make_claim(), good(parameters={"folds": folds}, reach=rows(True, True, moved=True)))
    assert found.verdict == "supported"
    assert found.reach["answer"] == "free"


@pytest.mark.parametrize(("disagreements", "verdict"), [([], "supported"), (["44 ≠ 47 pairs"], "inconsistent")])
def test_arithmetic_is_inconsistent_when_the_paper_disagrees_with_itself(disagreements, verdict):
    """Any disagreement gives inconsistent and is the reason; none gives supported, whatever the values."""
    claim = make_claim(kind="arithmetic", population="the paper", controls=(), tiers=("arithmetic",))
    found = judge(claim, make_measurement({}, detail={"disagreements": disagreements}, design="single"))
    assert found.verdict == verdict
    assert all(text in found.reason for text in disagreements)


@pytest.mark.parametrize(
    ("kind", "claimed", "other", "answer"),
    [
        ("effect", True, True, "free"),
        ("effect", True, False, "forced"),
        ("effect", False, True, "impossible"),
        ("universal", False, False, "impossible"),
        ("absence", False, True, "forced"),
        ("absence", True, False, "free"),
        ("equality", False, False, "forced"),
    ],
)
def test_wiring_forces_what_nothing_else_can_reach_and_forbids_what_it_cannot(kind, claimed, other, answer):
    """An effect is forced where only its own row can move; an absence where its row cannot; else either is open."""
    found = judge(make_claim(kind=kind), good(reach=rows(claimed, other)))
    assert found.reach["answer"] == answer
    assert (found.verdict == "vacuous") == (answer == "forced")


def test_one_reachable_row_alone_is_not_forced():
    """Without rows to compare with, an effect at a reachable row could be absent."""
    reach = {"rows": [{"name": "site", "reachable": True, "why": ""}]}
    assert judge(make_claim(), good(reach=reach)).verdict == "supported"


def test_forced_items_are_left_aside_and_all_forced_is_vacuous():
    """Items whose outcome the wiring forces do not count; when all are forced the claim is vacuous."""
    items = list(spread(0, 24))
    values = {item: 9.0 if i < 12 else 5.0 + 0.01 * i for i, item in enumerate(items)}

    def reach(forced):
        return {"rows": [{**row, "item": item} for item in items[:forced] for row in rows(True, False)["rows"]]}

    arms = {"null": spread(0, 24)}
    some = judge(make_claim(), make_measurement(values, arms, reach=reach(12)))
    assert (some.verdict, some.measured["n"]) == ("supported", 12)
    assert some.measured["value"] == pytest.approx(np.mean([values[i] for i in items[12:]]))
    assert some.reason.endswith("12 items that could not tell are left aside")
    assert judge(make_claim(), make_measurement(values, arms, reach=reach(24))).verdict == "vacuous"
    seen = tuple(items[:12])
    assert judge(make_claim(), make_measurement(values, arms, reach=reach(12), detectable=seen)).verdict == "vacuous"


def test_one_impossible_item_contradicts_a_universal_claim_only():
    """An item in which the outcome cannot come out is a counterexample to "all", a mere miss otherwise."""
    reach = {"rows": [{"name": "last", "item": "i0", "reachable": False, "why": "cut off"}]}
    assert judge(make_claim(kind="universal"), good(reach=reach)).verdict == "contradicted"
    assert judge(make_claim(), good(reach=reach)).verdict == "supported"


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
    assert judge(make_claim(), bare).reason == "the untrained twin (null) not measured"
    assert judge(make_claim(controls=()), bare).reason == "no null was measured"
    exclusive = make_claim(kind="exclusivity", controls=(RIVAL, NULL))
    assert judge(exclusive, bare).reason == "the mean difference (rival) not measured"
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
    assert found.reason.startswith("the 3 excluded items decide: supported without them, inconclusive with them at")


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


CRITERIA = [
    ("effect", 5.0, "supported"),
    ("effect", 1.0, "inconclusive"),
    ("effect", 0.0, "contradicted"),
    ("ordering", 5.0, "supported"),
    ("ordering", 1.0, "inconclusive"),
    ("ordering", 0.0, "contradicted"),
    ("absence", 0.0, "supported"),
    ("absence", 1.0, "inconclusive"),
    ("absence", 5.0, "contradicted"),
    ("equality", 1.0, "supported"),
    ("equality", 2.0, "inconclusive"),
    ("equality", 0.0, "inconclusive"),
    ("equality", 2.2, "contradicted"),
    ("equality", -0.2, "contradicted"),
    ("universal", 5.0, "supported"),
    ("universal", 0.5, "inconclusive"),
    ("universal", -0.2, "contradicted"),
]


@pytest.mark.parametrize(("kind", "value", "verdict"), CRITERIA)
def test_each_kind_is_held_to_its_criterion(kind, value, verdict):
    """With a null far away, the place of the value around theta0 = 1, delta = 1 decides as the kind says."""
    null = {"absence": 9.0, "equality": 9.0}.get(kind, -9.0)
    assert judge(make_claim(kind=kind), good(value, null)).verdict == verdict


@pytest.mark.parametrize(("kind", "value"), [("effect", 5.0), ("absence", 0.0), ("equality", 1.0), ("universal", 5.0)])
@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "vacuous"), (1.0, "inconclusive"), (1.2, "supported")])
def test_each_kind_has_to_be_beyond_its_null(kind, value, gap, verdict):
    """A null at the value is as good, one at delta is not separated, one beyond it is; upwards for an absence."""
    null = value + gap if kind == "absence" else value - gap
    found = judge(make_claim(kind=kind), good(value, null))
    assert found.verdict == verdict
    assert "the untrained twin" in found.reason


def test_an_equality_is_beyond_a_null_on_either_side():
    """For an equality a null counts as different whether it lies above or below."""
    for null in (-2.0, 4.0):
        assert judge(make_claim(kind="equality"), good(1.0, null)).verdict == "supported"


def test_a_tie_is_an_effect_of_zero_but_no_ordering():
    """Values that all equal theta0 meet "at least theta0" and leave "more than theta0" open."""
    tie = make_measurement(dict.fromkeys(spread(0), 0.0), {"null": dict.fromkeys(spread(0), -9.0)})
    assert judge(make_claim(theta0=0.0), tie).verdict == "supported"
    assert judge(make_claim(theta0=0.0, kind="ordering"), tie).verdict == "inconclusive"


def test_one_exception_within_noise_leaves_a_universal_claim_open():
    """A single item below theta0 by less than delta is no counterexample, by more it is and is named."""
    for low, verdict in ((0.5, "inconclusive"), (-0.5, "contradicted")):
        found = judge(make_claim(kind="universal"), make_measurement({**spread(5), "i7": low}, {"null": spread(0)}))
        assert found.verdict == verdict
        assert "i7 gives" in found.reason


def test_the_null_that_decides_is_named():
    """Of several nulls the reason names the one nearest to the measured value."""
    other = Control("other", "null", None, "the same-rhyme donor")
    claim = make_claim(controls=(NULL, other))
    for gap, verdict in ((0.0, "vacuous"), (1.0, "inconclusive"), (2.0, "supported")):
        found = judge(claim, make_measurement(spread(5), {"null": spread(0, seed=1), "other": spread(5 - gap, seed=2)}))
        assert (found.verdict, "the same-rhyme donor" in found.reason) == (verdict, True)


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


# Properties of random measurements


@st.composite
def cases(draw, kinds=("effect", "absence", "exclusivity", "universal", "equality", "ordering"), nulls=2):
    """A claim with ``nulls`` nulls and a rival, and a random measurement in any design, often in its support."""
    scale = draw(st.sampled_from(["nats", "proportion"]))
    rng = np.random.default_rng(draw(seeds))
    design = draw(st.sampled_from(["one-way", "two-way", "pairs-of-groups"]))
    size = draw(st.integers(6, 14))
    if design == "one-way":
        clusters = {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(2)}
    elif design == "two-way":
        clusters = {f"i{g}.{j}": (f"p{g}", f"f{j}") for g in range(6) for j in range(size)}
    else:
        clusters = {f"i{g}.{j}": (f"g{g}", f"g{j}") for g, j in itertools.permutations(range(size), 2)}
    means = st.sampled_from([0.0, 0.9, 1.1, 2.5, 6.0] if scale == "nats" else [0.0, 0.1, 0.5, 0.9, 1.0])
    kind = draw(st.sampled_from(kinds))

    def arm(likely):
        mean, sd = draw(st.just(likely) | means), draw(st.sampled_from([0.0, 0.1, 1.0]))
        if scale == "proportion":
            return {item: float(rng.random() < mean) for item in clusters}
        return {item: float(mean + sd * x) for item, x in zip(clusters, rng.normal(size=len(clusters)), strict=True)}

    names = [f"null {i}" for i in range(nulls)]
    claim = make_claim(
        kind=kind,
        scale=scale,
        theta0=1.0 if scale == "nats" else 0.5,
        delta=1.0 if scale == "nats" else 0.2,
        controls=(RIVAL, *(Control(name, "null", None, name) for name in names)),
    )
    top = 6.0 if scale == "nats" else 1.0
    high, low = {"absence": (0.0, top), "equality": (claim.theta0, top)}.get(kind, (top, 0.0))
    arms = {name: arm(low) for name in ["rival", *names]}
    return claim, make_measurement(arm(high), arms, unit=scale, design=design, clusters=clusters)


def shifted(measurement, by, names):
    """The measurement with the named arms moved by ``by``."""
    arms = {n: {i: v + by for i, v in arm.items()} if n in names else arm for n, arm in measurement.arms.items()}
    return replace(measurement, arms=arms)


def nulls_of(claim):
    """Names of the claim's null arms."""
    return [control.name for control in claim.arms("null")]


@plain
@given(cases(), st.randoms())
def test_a_verdict_knows_neither_order_nor_names(case, random):
    """Shuffling items and renaming items and cluster labels changes neither verdict nor numbers."""
    claim, m = case
    order = list(m.values)
    random.shuffle(order)
    renamed = replace(
        m,
        values={f"z{i[::-1]}": m.values[i] for i in order},
        clusters={f"z{i[::-1]}": tuple(f"q{label[::-1]}" for label in m.clusters[i]) for i in order},
        arms={name: {f"z{i[::-1]}": arm[i] for i in order} for name, arm in m.arms.items()},
    )
    first, second = judge(claim, m), judge(claim, renamed)
    assert first.verdict == second.verdict
    assert first.measured["ci"] == pytest.approx(second.measured["ci"])


@plain
@given(cases(nulls=3))
def test_a_further_null_never_makes_a_claim_supported(case):
    """What is not supported beside some nulls, all measured, is not supported beside one more."""
    claim, m = case
    fewer = replace(claim, controls=claim.controls[:-1])
    if judge(claim, m).verdict == "supported":
        assert judge(fewer, m).verdict == "supported"


@plain
@given(cases(), st.data())
def test_a_null_equal_to_the_measured_arm_is_never_beaten(case, data):
    """When one null gives the same values item by item, no kind of claim is supported."""
    claim, m = case
    same = data.draw(st.sampled_from(nulls_of(claim)))
    assert judge(claim, replace(m, arms={**m.arms, same: m.values})).verdict != "supported"


@plain
@given(cases(nulls=1))
def test_a_rival_equal_to_the_measured_arm_excludes_exclusivity(case):
    """A rival that gives the same values is never excluded, and counts for nothing in any other kind of claim."""
    claim, m = case
    twin = replace(m, arms={**m.arms, "rival": m.values})
    if claim.kind == "exclusivity":
        assert judge(claim, twin).verdict != "supported"
    else:
        assert judge(claim, twin).verdict == judge(claim, m).verdict


@plain
@given(cases(kinds=("effect", "exclusivity", "universal", "ordering")), st.floats(0, 5))
def test_weaker_nulls_never_undo_a_support(case, down):
    """Lowering every null leaves a supported claim supported, and never makes any verdict vacuous."""
    claim, m = case
    assume(claim.scale == "nats")
    before, after = judge(claim, m), judge(claim, shifted(m, -down, nulls_of(claim)))
    if before.verdict == "supported":
        assert after.verdict == "supported"
    if before.verdict != "vacuous":
        assert after.verdict != "vacuous"


@plain
@given(cases(kinds=("effect", "exclusivity", "universal", "ordering", "absence")), st.floats(0, 3))
def test_a_higher_criterion_never_turns_a_failure_into_support(case, up):
    """Raising theta0 never supports an effect that was not, nor contradicts an absence that was not."""
    claim, m = case
    before, after = judge(claim, m), judge(replace(claim, theta0=claim.theta0 + up), m)
    if claim.kind == "absence":
        assert after.verdict != "contradicted" or before.verdict in ("contradicted", "inconclusive")
    elif before.verdict != "supported":
        assert after.verdict != "supported"


@plain
@given(cases(), st.sampled_from([2, 5, 20]))
def test_a_stricter_level_never_supports_more(case, times):
    """What is not supported at alpha is not supported at any smaller alpha."""
    claim, m = case
    if judge(claim, m, alpha=0.05 / times).verdict == "supported":
        assert judge(claim, m).verdict == "supported"


@plain
@given(cases(), st.integers(1, 5))
def test_exclusions_never_strengthen_a_verdict(case, excluded):
    """Adding excluded items leaves the verdict as it was, or makes it inconclusive."""
    claim, m = case
    after = judge(claim, replace(m, excluded={f"x{i}": "crashed" for i in range(excluded)}))
    assert after.verdict in (judge(claim, m).verdict, "inconclusive")


@plain
@given(cases())
def test_a_verdict_is_a_pure_function_of_what_can_be_stored(case):
    """Judging a measurement read back from its JSON gives the same verdict, and judging twice too."""
    claim, m = case
    assert judge(claim, m) == judge(claim, m) == judge(claim, Measurement.from_json(m.to_json()))


# Families


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


# Error rates of the whole judge


def most_errors(repeats):
    """The count of errors that a true rate of 5 % exceeds with probability below 1e-4."""
    return scipy.stats.binom.ppf(1 - 1e-4, repeats, 0.05)


@pytest.mark.parametrize(
    ("value", "nulls", "wrong"),
    [
        (1.0, (-9.0, -9.0), "supported"),  # at the criterion from below
        (1.0, (-9.0, -9.0), "contradicted"),
        (5.0, (4.0, -9.0), "supported"),  # at delta beyond its nearest null
        (5.0, (4.0, 4.0, 4.0), "vacuous"),
    ],
)
@pytest.mark.parametrize("size", [8, 16])
def test_the_judge_errs_no_more_than_promised(value, nulls, wrong, size):
    """Exactly on a threshold each wrong verdict comes in at most 5 % of samples, up to Monte-Carlo error."""
    repeats, errors = 400, 0
    controls = tuple(Control(f"n{i}", "null", None, f"n{i}") for i in range(len(nulls)))
    items = [f"{g}.{j}" for g in range(size) for j in range(2)]
    clusters = {item: (item.split(".")[0],) for item in items}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)

        def arm(mean, rng=rng):
            by_cluster = np.repeat(rng.normal(0, 0.5, size), 2)
            return dict(zip(items, (mean + by_cluster + rng.normal(0, 0.3, 2 * size)).tolist(), strict=True))

        arms = {control.name: arm(null) for control, null in zip(controls, nulls, strict=True)}
        measurement = make_measurement(arm(value), arms, clusters=clusters)
        errors += judge(make_claim(controls=controls), measurement).verdict == wrong
    assert errors <= most_errors(repeats)


def test_a_family_errs_no_more_than_promised_as_a_whole():
    """Four claims exactly at their criterion: any of them is supported in at most 5 % of samples, up to chance."""
    repeats, errors = 300, 0
    claims = [make_claim(id=f"X{i:02}") for i in range(4)]
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        draws = {claim.key: dict(zip(spread(0, 14), rng.normal(1, 1, 14).tolist(), strict=True)) for claim in claims}
        found = judge_family(
            claims, {key: make_measurement(values, {"null": spread(-9, 14)}) for key, values in draws.items()}
        )
        errors += any(verdict.verdict == "supported" for verdict in found.values())
    assert errors <= most_errors(repeats)


def test_judging_imports_no_torch():
    """Importing ledger, judge and statistics leaves torch and scipy.stats unloaded."""
    code = "import sys, prolepsis.judge, prolepsis.ledger; print({'torch', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
