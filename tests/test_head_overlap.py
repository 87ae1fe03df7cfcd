"""Overlap of the heads of two tasks: rank correlations where it is known, and what lists of heads can say."""

import random
import statistics
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from prolepsis import ledger
from prolepsis.experiments.fact_routing import Routing, routings
from prolepsis.experiments.head_overlap import (
    exchanged_facts,
    facts_list,
    recurring_heads,
    shared_heads,
    spearman,
    telling_size,
)
from prolepsis.experiments.mediation import (
    STILL,
)
from prolepsis.judge import judge
from prolepsis.names import Head
from prolepsis.statistics import overlap_probability
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject

DECOY = Head(3, 3)


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


@settings(deadline=None)
@given(st.integers(3, 12), st.integers(0, 2**16))
def test_rank_correlation_is_spearmans(n: int, seed: int) -> None:
    """With and without ties it equals scipy.stats.spearmanr."""
    generator = random.Random(seed)
    x, y = ([generator.randrange(5) for _ in range(n)] for _ in range(2))
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert spearman([1.0] * n, [float(v) for v in y]) == 0


@pytest.mark.parametrize(("variant", "correlation"), [("shared-heads", 1.0), ("own-heads", -1 / 11)])
def test_overlap_is_seen_where_it_was_planted(variant: str, correlation: float) -> None:
    """One head for both tasks ranks alike; two heads of 12 do not: rho of two distinct single ones is -1/11."""
    measured = shared_heads(subject_of(variant))
    assert list(measured.values.values()) == pytest.approx([correlation] * len(measured.values))
    assert list(measured.arms["other rhymes"].values()) == pytest.approx([1.0] * len(measured.values))
    assert exchanged_facts(subject_of(variant)).live()


def test_permutations_stay_within_layers() -> None:
    """Permuting facts' effects among four heads of the one layer that matters keeps a quarter of a perfect match."""
    floor = shared_heads(subject_of("shared-heads")).arms["permuted heads"]
    assert statistics.fmean(floor.values()) == pytest.approx(0.25 - 0.75 / 11, abs=0.05)


def test_lists_of_few_heads_say_nothing() -> None:
    """Whatever lists are compared, too few heads recur for a verdict; the paper's are likely to miss by chance."""
    (claim,) = ledger.rows(family="overlap", variant="published")
    assert judge(claim, recurring_heads(subject_of("own-heads"))).verdict == "inconclusive"
    assert overlap_probability(0, 5, 10, 512).at_most == pytest.approx(0.905, abs=1e-3)
    size = telling_size(512)
    below, above = (overlap_probability(0, n, n, 512).at_most for n in (size, size - 1))
    assert below < 0.05 <= above


@pytest.mark.parametrize(
    ("listed", "shifted", "chance"),
    [(Head(1, 0), (1, 2, 3), 0.0), (Head(2, 0), (1, 2, 3), 0.125), (Head(2, 0), (1, 2), None)],
)
def test_chance_is_of_the_heads_that_both_edits_reach(
    listed: Head, shifted: tuple[int, ...], chance: float | None
) -> None:
    """A listed head that rhymes cannot reach meets nothing by chance; a recurring one that facts cannot is no case."""
    subject = load_subject("planted-llama-own-heads")
    shifts = {Head(layer, index): 1.0 * (Head(layer, index) == listed) for layer in shifted for index in range(4)}
    subject.known[routings] = {"a": Routing((shifts,), ((listed,),))}
    measured = recurring_heads(subject)
    assert measured.values == {str(DECOY): 0.0}
    assert measured.parameters["facts"] == ["a"]
    assert measured.detail["facts' list"] == [str(listed)]
    assert set(measured.detectable or ()) == set(measured.arms["chance"]) == (set() if chance is None else {str(DECOY)})
    assert set(measured.arms["chance"].values()) == (set() if chance is None else {chance})
    assert measured.detail["probability of so small an overlap"] == 1 - (chance or 0)


def test_the_facts_list_holds_the_heads_that_lead_most_often() -> None:
    """It is the published one: heads in the order of the share of pairs and blocks in which they shift most."""
    found = load_subject("planner").once(routings)
    heads = {head for of in found.values() for shifts in of.shifts for head in shifts}
    shares = {head: statistics.fmean(of.share(head) for of in found.values()) for head in heads}
    listed = facts_list(found, 3, STILL)
    assert [shares[head] for head in listed] == sorted(shares.values(), reverse=True)[:3]
    unmoved = {"a": Routing(({DECOY: 0.0},), ((DECOY,),))}
    assert facts_list(unmoved, 3, STILL) == []
