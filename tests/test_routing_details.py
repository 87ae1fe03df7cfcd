"""Lesser heads, amplification, small strengths and total shifts on subjects and prompts that are known."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.experiments.correction import STEPS
from prolepsis.experiments.correction_routing import total_shift_rises, total_shifts
from prolepsis.experiments.head_routing import RANDOM, routing
from prolepsis.experiments.position_sweep import word_features
from prolepsis.experiments.prompt_bootstrap import bootstrap_over_prompts
from prolepsis.experiments.rhyme_pairs import task_of
from prolepsis.experiments.routing_claims import amplification, amplifications
from prolepsis.experiments.routing_details import (
    head_amplification,
    head_amplifications,
    lesser_heads_change,
    soft_response,
    superadditivities,
    superadditivity,
    suppression_gain,
    suppression_gains,
    third_head_change,
)
from prolepsis.names import Head
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject


@cache
def subject_of(name: str) -> Subject:
    """A planted Llama; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{name}")


def test_ranks_come_from_the_other_half() -> None:
    """The first of the other half's ranking is its top head, and each |Δ| of the third is at its own place there."""
    found = subject_of("pattern-only").once(routing)
    third = third_head_change(subject_of("pattern-only")).values
    for one in found.routed:
        others = [other.changes["both"] for other in found.routed if other.pair.half != one.pair.half]
        ranked = found.ranked(one)
        means = [sum(abs(each.get(head, 0.0)) for each in others) for head in ranked]
        assert means == sorted(means, reverse=True)
        assert ranked[0] == found.top_head(one)
        expected = abs(one.changes["both"].get(ranked[2], 0.0)) if len(ranked) > 2 else 0.0
        assert third[one.pair.id] == pytest.approx(expected)


def test_heads_that_cannot_move_do_not() -> None:
    """Planted subjects have two heads a layer, and those that look by position alone do not move at all."""
    assert max(lesser_heads_change(subject_of("irrevocable")).values.values()) < 1e-6


def test_two_edits_move_what_both_would_only_by_amplifying() -> None:
    """Gain and superadditivity differ by what suppression moves alone; no planted subject goes beyond the sum."""
    subject = subject_of("irrevocable")
    routed = subject.once(routing).routed
    gain, beyond = suppression_gain(subject).values, superadditivity(subject).values
    for one in routed:
        assert gain[one.pair.id] - beyond[one.pair.id] == pytest.approx(one.total("suppress"), abs=1e-9)
        assert beyond[one.pair.id] <= 1e-6
    arm = superadditivity(subject).arms["random suppress"]
    for one in routed:
        alone = one.total("random suppress") - one.total("inject") - one.total("random suppress alone")
        assert arm[one.pair.id] == pytest.approx(alone, abs=1e-9)


def test_a_head_that_does_not_move_is_in_proportion_and_counts_not() -> None:
    """Without movement there is neither a basin nor an amplification to tell, and no pair is detectable."""
    subject = subject_of("no-plan")
    assert soft_response(subject).detectable == ()
    assert head_amplification(subject).detectable == ()
    found = subject.once(routing)
    assert all(f"{arm} ×0.333" in one.changes for one in found.routed for arm in RANDOM)


def test_pairs_in_which_nothing_is_suppressed_are_set_aside() -> None:
    """Where a group's words have no features suppression adds exactly nothing, and that pair says nothing of it."""
    whole = load_subject("planted-llama-irrevocable")
    task = task_of(whole)
    bare = list(task.groups)[-6:]
    left = {word: at for word, at in whole.once(word_features).items() if all(word not in task.groups[b] for b in bare)}
    subject = replace(whole, task=replace(task, features=left))
    routed = subject.once(routing).routed
    suppressed = {one.pair.id for one in routed if one.pair.recipient.group not in bare}
    assert len(routed) > len(suppressed) > 0
    for experiment in (amplification, head_amplification, suppression_gain, superadditivity):
        measured = experiment(subject)
        assert set(measured.detectable or ()) == suppressed
        assert set(measured.values) == {one.pair.id for one in routed}
        assert all(measured.values[pair] for pair in suppressed)
    for one in routed:
        adds_nothing = one.total("both") == pytest.approx(one.total("inject"), abs=1e-6)
        assert adds_nothing == (one.pair.id not in suppressed)


def test_a_twin_that_suppresses_nothing_is_no_null() -> None:
    """The twin's arm holds the pairs alone that it can suppress and inject for."""
    twin = load_subject("planner-untrained")
    routed = twin.once(routing).routed
    able = {one.pair.id for one in routed if min(one.total("suppress"), one.total("inject")) > 1e-6}
    assert 0 < len(able) < len(routed)
    for measure in (amplifications, head_amplifications, suppression_gains, superadditivities):
        assert set(measure(twin)) == able


def test_a_total_shift_is_that_of_all_heads_from_clean() -> None:
    """Without suppression or commitment a correction of nothing moves nothing; the steps are those of the outcomes."""
    subject = subject_of("direct")
    measured, found = total_shift_rises(subject), subject.once(total_shifts)
    for pair, shift in found.items():
        assert measured.values[pair] == pytest.approx(shift[f"step {STEPS[-1]:g}"] - shift["step 0"])
        assert min(shift.values()) >= 0
        assert max(shift.values()) <= subject.n_layers * subject.n_heads
    assert total_shift_rises(subject_of("irrevocable")).detectable == ()


@given(size=st.floats(-1, 1), prompts=st.integers(1, 9))
def test_prompts_that_agree_leave_no_interval(size: float, prompts: int) -> None:
    """Equal prompts give a point; the interval of a mean holds the mean, and a head twice as large is always first."""
    same = {Head(0, 0): size / 2, Head(1, 1): size}
    found = bootstrap_over_prompts([same] * prompts)
    assert found["Δattention"] == pytest.approx([size, size])
    assert found["total |Δattention|"] == pytest.approx([1.5 * abs(size)] * 2)
    assert found["rank"] == [1, 1]
    assert bootstrap_over_prompts([{}] * prompts) == {}


def test_the_bootstrap_spreads_as_the_standard_error_does() -> None:
    """For 40 prompts the 95 % interval is about twice 1.96 standard errors wide, and two equal heads share the top."""
    values = np.random.default_rng(1).normal(1.0, 0.3, 40)
    found = bootstrap_over_prompts([{Head(0, 0): float(value)} for value in values])
    low, high = found["Δattention"]
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(40), rel=0.1)
    rivals = [{Head(0, 0): float(i % 2), Head(0, 1): float(1 - i % 2)} for i in range(40)]
    assert 0.3 < bootstrap_over_prompts(rivals)["on top"] < 0.7
