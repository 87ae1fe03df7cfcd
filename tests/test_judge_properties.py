"""What can never change a verdict, and which way changes may move it, on random measurements."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prolepsis.judge import judge
from prolepsis.judging.evidence import Evidence
from prolepsis.judging.multiplicity import decision_p
from prolepsis.judging.rules import decide
from prolepsis.measurement import Measurement
from tests.judging import cases, nulls_of, plain, shifted


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
@given(st.integers(0, 2).flatmap(lambda n: cases(nulls=n)), st.sampled_from([0.3, 0.1, 0.05, 0.01, 1e-3]))
def test_a_row_is_decided_exactly_at_the_levels_its_p_value_allows(case, alpha):
    """Criterion, rivals and nulls decide at a level, whichever way, exactly where the p-value is no larger than it.

    A value without variance that lies on a threshold is left open at every level, yet leaves nothing to chance.
    """
    claim, m = case
    evidence = Evidence.of(claim, m)
    p = decision_p(evidence)
    assume(abs(p - alpha) > 1e-9)
    decided = decide(evidence, alpha).verdict != "inconclusive"
    assert decided == (p <= alpha) or (p == 0 and not decided)


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
