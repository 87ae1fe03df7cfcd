"""Exact intervals and tests."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.counts import fisher_exact
from tests.clustering import levels, plain, seeds

counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@plain
@given(counts, levels)
def test_clopper_pearson_is_scipys_exact_interval(count, alpha):
    """Both bounds equal scipy's exact binomial interval at the same confidence."""
    k, n = count
    known = scipy.stats.binomtest(k, n).proportion_ci(1 - alpha, "exact")
    assert statistics.clopper_pearson(k, n, alpha) == pytest.approx((known.low, known.high), abs=1e-12)


@plain
@given(st.integers(1, 600), levels)
def test_clopper_pearson_has_closed_forms_at_the_ends(n, alpha):
    """0 of n is bounded by 1 − α^(1/n) and n of n by α^(1/n)."""
    assert statistics.clopper_pearson(0, n, alpha, sided=1) == pytest.approx((0, 1 - alpha ** (1 / n)))
    assert statistics.clopper_pearson(n, n, alpha, sided=1) == pytest.approx((alpha ** (1 / n), 1))


@plain
@given(counts, levels, st.floats(-0.2, 1.2))
def test_clopper_pearson_excludes_exactly_what_its_p_value_rejects(count, alpha, p0):
    """A one-sided bound lies beyond p0 exactly when the p-value of that side is at most alpha."""
    low, high = statistics.clopper_pearson(*count, alpha, sided=1)
    above, below = statistics.clopper_pearson_p(*count, p0)
    if min(abs(low - p0), abs(high - p0)) > 1e-9:
        assert (low > p0) == (above <= alpha)
        assert (high < p0) == (below <= alpha)


@plain
@given(st.integers(1, 60), st.floats(-0.5, 1.5))
def test_clopper_pearson_p_values_have_closed_forms_near_the_ends(n, p0):
    """At least one of n comes with 1 − (1 − p0)^n, all with p0^n, anything with 1; no rate lies beyond 0 and 1."""
    for theta0 in (p0, 0.0, 1.0):
        rate = min(max(theta0, 0), 1)
        nothing, one, every = (statistics.clopper_pearson_p(k, n, theta0) for k in (0, 1, n))
        assert nothing == pytest.approx((1 if theta0 >= 0 else 0, (1 - rate) ** n))
        assert one[0] == pytest.approx(1 - (1 - rate) ** n)
        assert every == pytest.approx((rate**n, 1 if theta0 <= 1 else 0))


def test_intervals_and_levels_are_those_of_95_percent_unless_told():
    """Without a level intervals are two-sided at 5 %, and a family of one is tested at 5 %."""
    for interval_of in (statistics.clopper_pearson, statistics.wilson, statistics.wald):
        assert interval_of(3, 9) == interval_of(3, 9, 0.05) == interval_of(3, 9, 0.05, sided=2)
        assert interval_of(3, 9, 0.05, sided=1) == pytest.approx(interval_of(3, 9, 0.1))
    assert statistics.holm([0.5]) == [0.05]


@plain
@given(counts, levels)
def test_wilson_is_scipys_score_interval(count, alpha):
    """Both bounds equal scipy's Wilson interval at the same confidence."""
    known = scipy.stats.binomtest(*count).proportion_ci(1 - alpha, "wilson")
    assert statistics.wilson(*count, alpha) == pytest.approx((known.low, known.high), abs=1e-12)


def test_wald_gives_the_interval_papers_print():
    """95 of 136 gives 62 % to 78 %, the closed form p ± 1.96 √(p(1 − p)/n)."""
    p = 95 / 136
    half = 1.959963984540054 * math.sqrt(p * (1 - p) / 136)
    assert statistics.wald(95, 136) == pytest.approx((p - half, p + half))
    assert [round(100 * x) for x in statistics.wald(95, 136)] == [62, 78]


@pytest.mark.parametrize("interval_of", [statistics.clopper_pearson, statistics.wilson, statistics.wald])
@pytest.mark.parametrize(("k", "n"), [(0, 0), (1, 0), (-1, 5), (6, 5)])
def test_what_is_not_a_count_is_refused(interval_of, k, n):
    """K outside 0…n, or n of nothing, raises ValueError."""
    with pytest.raises(ValueError, match="not a count"):
        interval_of(k, n)


@plain
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(first, second):
    """The exact p equals scipy's two-sided binomial test with probability one half."""
    known = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert statistics.mcnemar(first, second) == pytest.approx(known)


@plain
@given(counts, counts)
def test_fisher_exact_is_scipys_two_sided_p(one, other):
    """The exact test of two counts gives scipy's two-sided p-value."""
    table = [[k, n - k] for k, n in (one, other)]
    assert fisher_exact(*one, *other) == pytest.approx(scipy.stats.fisher_exact(table).pvalue, rel=1e-6)


@pytest.mark.parametrize("counts", [(1, 0, 1, 2), (3, 2, 1, 2), (1, 2, -1, 2), (1, 2, 3, 2)])
def test_fisher_exact_refuses_what_is_no_count(counts):
    """Either count outside 0…n, or of nothing, raises ValueError."""
    with pytest.raises(ValueError, match="not a count"):
        fisher_exact(*counts)


@plain
@given(st.data())
def test_overlap_is_hypergeometric(data):
    """All three probabilities equal scipy's hypergeometric ones."""
    total = data.draw(st.integers(1, 80))
    first, second = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    overlap = data.draw(st.integers(0, total + 1))
    known = scipy.stats.hypergeom(total, first, second)
    found = statistics.overlap_probability(overlap, first, second, total)
    assert found == pytest.approx((known.cdf(overlap), known.pmf(overlap), known.sf(overlap - 1)), abs=1e-9)


@pytest.mark.parametrize("second", range(5))
def test_a_set_of_all_or_none_leaves_the_overlap_no_choice(second):
    """All members share every one of another set, and none share none, whichever of both is drawn first."""
    for first, shared in ((0, 0), (4, second)):
        for overlap in range(6):
            certain = (float(overlap >= shared), float(overlap == shared), float(overlap <= shared))
            assert statistics.overlap_probability(overlap, first, second, 4) == certain
            assert statistics.overlap_probability(overlap, second, first, 4) == certain


@pytest.mark.parametrize(("first", "second"), [(-1, 2), (5, 2), (2, -1), (2, 5)])
def test_sets_larger_than_the_total_are_refused(first, second):
    """Neither set can have fewer than no members, or more than there are."""
    with pytest.raises(ValueError, match=f"sets of {first} and {second} do not fit in 4"):
        statistics.overlap_probability(0, first, second, 4)


def test_no_overlap_of_few_heads_is_what_chance_gives():
    """Sets of 5 and 10 heads of 512 share none with probability ∏(502 − i)/(512 − i), above .9."""
    closed = math.prod((502 - i) / (512 - i) for i in range(5))
    assert statistics.overlap_probability(0, 5, 10, 512).at_most == pytest.approx(closed)
    assert closed > 0.9


@plain
@given(st.integers(1, 9), seeds, levels, st.booleans())
def test_sign_flip_bounds_invert_the_brute_force_test(clusters, seed, alpha, by_size):
    """A value lies below the lower bound exactly when enumerating all sign flips rejects it, and so above.

    With weights what is flipped are the weighted deviations.
    """
    rng = np.random.default_rng(seed)
    means, sizes = rng.normal(0.5, 1, clusters), rng.integers(1, 9, clusters)
    signs = np.array(list(itertools.product([1, -1], repeat=clusters)))
    weights = sizes if by_size else np.ones(clusters)
    subsets = statistics.subset_means(means, sizes if by_size else None)
    low, high = statistics.sign_flip_bounds(subsets, alpha)
    for theta0 in rng.normal(0.5, 1, 20):
        deviations = weights * (means - theta0)
        flipped = signs @ deviations
        above = np.mean(flipped >= deviations.sum() - 1e-12)
        below = np.mean(flipped <= deviations.sum() + 1e-12)
        assert statistics.sign_flip_p(subsets, theta0) == pytest.approx((above, below))
        assert (theta0 < low) == (above <= alpha + 1e-12)
        assert (theta0 > high) == (below <= alpha + 1e-12)


@plain
@given(st.lists(st.integers(-2, 2), min_size=1, max_size=7), st.integers(-2, 2))
def test_sign_flip_p_values_count_ties(means, theta0):
    """On whole numbers, where flips tie exactly, p counts every flip that is at least as extreme."""
    signs = np.array(list(itertools.product([1, -1], repeat=len(means))))
    flipped, seen = signs @ (np.array(means) - theta0), sum(means) - theta0 * len(means)
    found = statistics.sign_flip_p(statistics.subset_means(np.array(means, dtype=float)), theta0)
    assert found == (np.mean(flipped >= seen), np.mean(flipped <= seen))


@pytest.mark.parametrize("clusters", range(1, 12))
def test_sign_flips_exclude_nothing_beyond_their_resolution(clusters):
    """G clusters bound at 2^-G by their extremes, and at any smaller level not at all."""
    means = np.arange(clusters, dtype=float)
    subsets = statistics.subset_means(means)
    assert statistics.sign_flip_bounds(subsets, 2.0**-clusters) == (0, clusters - 1)
    assert statistics.sign_flip_bounds(subsets, 2.0**-clusters * 0.999) == (-math.inf, math.inf)


@pytest.mark.parametrize("clusters", [3, 6, 24, 100])
def test_minimal_detectable_effect_is_the_sum_of_two_t_quantiles(clusters):
    """(t.975 + t.80)·s/√G, by scipy's t distribution."""
    found = statistics.minimal_detectable_effect(0.35 / math.sqrt(clusters), clusters - 1)
    t = scipy.stats.t(clusters - 1)
    assert found == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * 0.35 / math.sqrt(clusters))


@plain
@given(st.lists(st.integers(0, 15), min_size=1, max_size=8), levels)
@example([8, 9], 0.05)
@example([5, 10], 0.05)
def test_holm_levels_reject_what_the_step_down_rejects(tenths, alpha):
    """Testing each p at its level gives exactly Holm's rejections, and levels lie between alpha/m and alpha."""
    p_values = [alpha * ratio / 10 for ratio in tenths]
    found = statistics.holm(p_values, alpha)
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    passes = [p_values[i] <= alpha / (len(p_values) - rank) for rank, i in enumerate(ranked)]
    rejected = set(ranked[: passes.index(False) if False in passes else len(ranked)])
    assert {i for i, (p, level) in enumerate(zip(p_values, found, strict=True)) if p <= level} == rejected
    assert all(alpha / len(p_values) <= level <= alpha for level in found)


@plain
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.data())
def test_holm_never_gives_a_larger_p_a_stricter_level(p_values, data):
    """Levels rise with p, and lowering one p never lowers the level of another hypothesis."""
    found = statistics.holm(p_values)
    ranked = sorted(zip(p_values, found, strict=True))
    assert all(a <= b for (_, a), (_, b) in itertools.pairwise(ranked))
    lowered = data.draw(st.integers(0, len(p_values) - 1))
    again = statistics.holm([p / 2 if i == lowered else p for i, p in enumerate(p_values)])
    assert all(again[i] >= found[i] for i in range(len(found)) if i != lowered)


@plain
@given(st.integers(1, 300), st.integers(0, 2), st.data())
def test_grim_accepts_exactly_the_percentages_a_count_can_give(n, decimals, data):
    """A percentage passes exactly when it is within half a last digit of some 100·k/n."""
    percentage = data.draw(st.integers(0, 100 * 10**decimals)) / 10**decimals
    possible = min(abs(100 * k / n - percentage) for k in range(n + 1)) <= 0.5 * 10**-decimals + 1e-9
    assert statistics.grim(percentage, n, decimals) == possible


def test_grim_allows_both_roundings_of_a_half_and_nothing_beyond_all():
    """1 of 8 is 12 % and 13 %, and neither 11 % nor 14 %; no count gives less than 0 % or more than 100 %."""
    assert [statistics.grim(p, 8, 0) for p in (11, 12, 13, 14)] == [False, True, True, False]
    assert [statistics.grim(p, 25, 0) for p in (-4, 0, 4, 96, 100, 104)] == [False, True, True, True, True, False]


def test_grim_tells_a_possible_percentage_from_an_impossible_one():
    """69.9 % can come from 136 items, 39.3 % cannot come from 27."""
    assert statistics.grim(69.9, 136, 1)
    assert not statistics.grim(39.3, 27, 1)
