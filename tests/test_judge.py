"""How a measurement becomes a verdict: the order of the rules, and those before any evidence counts."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from prolepsis.errors import HarnessFault, Untested
from prolepsis.judge import Verdict, judge
from tests.judging import ALL, NULL, POSITIVE, RIVAL, SHAM, good, make_claim, make_measurement, rows, spread

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
    (4, {"positive": 0.5, **BELOW}, "inconclusive", "dead assay: all positions gives 0.50, at least"),
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


@pytest.mark.parametrize("control", [NULL, RIVAL, POSITIVE])
@pytest.mark.parametrize("value", [-3.0, 1.01])
def test_an_arm_of_proportions_holds_proportions(control, value):
    """A share of −3 or 1.01 is a broken instrument in a control as in what is measured; rounding is not."""
    claim = make_claim(controls=(NULL, control), scale="proportion", theta0=0.5, delta=0.2)
    hits = {item: float(i % 8 > 0) for i, item in enumerate(spread(0, 40))}
    arms = {"null": dict.fromkeys(hits, 0.0), control.name: dict.fromkeys(hits, value)}
    with pytest.raises(HarnessFault, match=f"{control.label} is {value:g} in item 'i0', which is no proportion"):
        judge(claim, make_measurement(hits, arms, unit="proportion"))
    rounded = {**arms, control.name: dict.fromkeys(hits, 1 + 1e-6)}
    assert judge(claim, make_measurement(hits, rounded, unit="proportion"))


def test_disjoint_folds_and_reachable_movement_are_no_faults():
    """Groups swapped between two folds, and a reachable readout that moved, are as they should be."""
    folds = [{"discovery": ["a"], "tested": ["b"]}, {"discovery": ["b"], "tested": ["a"]}]
    found = judge(make_claim(), good(parameters={"folds": folds}, reach=rows(True, True, moved=True)))
    assert found.verdict == "supported"
    assert found.reach["answer"] == "free"


@pytest.mark.parametrize(
    ("disagreements", "verdict", "reason"),
    [
        ([], "supported", "the paper's numbers agree with each other"),
        (["44 ≠ 47 pairs"], "inconsistent", "44 ≠ 47 pairs"),
        (["44 ≠ 47 pairs", "9 ≠ 8"], "inconsistent", "44 ≠ 47 pairs; 9 ≠ 8"),
    ],
)
def test_arithmetic_is_inconsistent_when_the_paper_disagrees_with_itself(disagreements, verdict, reason):
    """Any disagreement gives inconsistent, all of them are the reason; none gives supported, whatever the values."""
    claim = make_claim(kind="arithmetic", population="the paper", controls=(), tiers=("arithmetic",))
    detail = {"disagreements": disagreements}
    found = judge(claim, make_measurement({}, detail=detail, design="single", unit="figures"))
    assert found == Verdict(verdict, reason, None, "cannot tell", "the paper", None, (), None)


def test_judging_imports_no_torch():
    """Importing ledger, judge and statistics leaves torch and scipy.stats unloaded."""
    code = "import sys, prolepsis.judge, prolepsis.ledger; print({'torch', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
