"""Intervals for proportions of hits in clusters, and for differences of them."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.judging.clustered import estimate, interval, paired_estimate, paired_interval
from prolepsis.judging.laws import Discordant
from tests.clustering import DESIGNS, layout, levels, plain, seeds


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [3, 6, 7, 12, 24])
def test_proportions_at_the_ends_are_bounded_by_their_clusters(design, size):
    """All misses are bounded by 1 − α^(1/G), all hits by α^(1/G); G counts disjoint pairs for pairs of groups."""
    clusters = layout(design, size)
    units = size // 2 if design == "pairs-of-groups" else size
    nothing = interval(dict.fromkeys(clusters, 0.0), clusters, design, "proportion")
    everything = interval(dict.fromkeys(clusters, 1.0), clusters, design, "proportion")
    assert (nothing.low, nothing.high) == pytest.approx((0, 1 - 0.05 ** (1 / units)))
    assert (everything.low, everything.high) == pytest.approx((0.05 ** (1 / units), 1))
    assert (nothing.k, everything.k) == (0, len(clusters))


@pytest.mark.parametrize("size", [6, 12, 24])
def test_differences_of_proportions_at_the_ends_are_bounded_by_their_clusters(size):
    """All hits against none is at least 2α^(1/G) − 1; full agreement hides at most 1 − α^(1/G) either way."""
    clusters = layout("one-way", size)
    hits, misses = dict.fromkeys(clusters, 1.0), dict.fromkeys(clusters, 0.0)
    apart = paired_interval(hits, misses, clusters, "one-way", "proportion")
    same = paired_interval(hits, hits, clusters, "one-way", "proportion")
    assert (apart.low, apart.high) == pytest.approx((2 * 0.05 ** (1 / size) - 1, 1))
    assert (same.low, same.high) == pytest.approx((-(1 - 0.05 ** (1 / size)), 1 - 0.05 ** (1 / size)))


@plain
@given(st.sampled_from(DESIGNS), st.integers(6, 13), st.data(), levels)
def test_no_proportion_is_bounded_nearer_to_its_end_than_all_or_none(design, size, data, alpha):
    """A miss never raises the lower bound above that of all hits, nor a hit lower the upper one below that of none."""
    clusters = layout(design, size)
    missed = data.draw(st.sets(st.sampled_from(sorted(clusters)), max_size=3))
    hits = {item: float(item not in missed) for item in clusters}
    full = interval(dict.fromkeys(clusters, 1.0), clusters, design, "proportion", alpha=alpha)
    found = interval(hits, clusters, design, "proportion", alpha=alpha)
    mirrored = interval({item: 1 - hit for item, hit in hits.items()}, clusters, design, "proportion", alpha=alpha)
    assert found.low <= full.low + 1e-12
    assert mirrored.high == pytest.approx(1 - found.low)


@plain
@given(seeds, st.integers(12, 30), levels, st.sampled_from([0.0, -1.0]))
def test_a_proportion_is_bounded_as_a_count_of_its_effective_trials(seed, size, alpha, lowest):
    """Bounds are the widest of t, of p(1 − p)/se² trials (at most one per item) and of all or no hits of G clusters."""
    rng = np.random.default_rng(seed)
    clusters = {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(2)}
    rates = np.repeat(rng.beta(*rng.choice([(8, 1), (0.3, 0.1), (0.1, 0.2)]), size), 2)
    x = lowest + (1 - lowest) * np.clip(rates + rng.normal(0, 0.02, 2 * size), 0, 1)  # [n], from lowest to 1
    found = estimate(dict(zip(clusters, x, strict=True)), clusters, "one-way", "proportion", lowest=lowest)
    means = x.reshape(size, 2).mean(axis=1)
    error, reach = scipy.stats.sem(means), scipy.stats.t.ppf(1 - alpha, size - 1)
    p, spread = (means.mean() - lowest) / (1 - lowest), error / (1 - lowest)
    trials = min(p * (1 - p) / spread**2, 2 * size)
    k, end = p * trials, alpha ** (1 / size)
    exact = [scipy.stats.beta.ppf(alpha, k, trials - k + 1), scipy.stats.beta.ppf(1 - alpha, k + 1, trials - k)]
    low, high = (lowest + (1 - lowest) * bound for bound in (min(exact[0], end), max(exact[1], 1 - end)))
    known = max(min(low, means.mean() - reach * error), lowest), min(max(high, means.mean() + reach * error), 1)
    assert found.bounds(alpha) == pytest.approx(known)
    assert found.se == pytest.approx(error)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_counts_at_the_ends_rest_on_no_estimated_spread(design, value):
    """All or no hits have neither a standard error nor a smallest detectable effect, and say how they were bounded."""
    clusters = layout(design, 6)
    found = estimate(dict.fromkeys(clusters, value), clusters, design, "proportion")
    assert (found.value, found.se, found.mde, found.clusters, found.n) == (value, 0, 0, 6, len(clusters))
    assert (found.k, found.method) == (value * len(clusters), "Clopper–Pearson on clusters")


@pytest.mark.parametrize(
    ("values", "unit", "lowest", "k"),
    [
        ((0, 1, 1, 1), "proportion", 0.0, 3),
        ((1, 1, 1, 1), "proportion", 0.0, 4),
        ((0, 0.5, 1, 1), "proportion", 0.0, None),  # shares, not hits
        ((0, 1, 1, 1), "nats", 0.0, None),
        ((0, 1, 1, 1), "proportion", -1.0, None),  # a difference of hits
        ((-1, 0, 1, 1), "proportion", -1.0, None),
    ],
)
def test_hits_are_counted_only_where_items_are_hits_or_misses(values, unit, lowest, k):
    """A number of hits is given for yes/no outcomes of a proportion, and for nothing else."""
    clusters = {f"i{i}": (f"g{i}",) for i in range(4)}
    found = estimate(dict(zip(clusters, map(float, values), strict=True)), clusters, "one-way", unit, lowest=lowest)
    assert (found.k, found.n, found.clusters) == (k, 4, 4)


def test_only_hits_are_bounded_as_hits():
    """A share that is the same everywhere is a point, as are nats spread evenly; differences of nats have t alone."""
    clusters = layout("one-way", 12)  # three items in each
    shares = interval(dict.fromkeys(clusters, 0.5), clusters, "one-way", "proportion")
    assert (shares.low, shares.high, shares.method) == (0.5, 0.5, "point, no variance")
    even = {item: float(item.endswith("1")) for item in clusters}
    found = interval(even, clusters, "one-way", "nats")
    assert (found.low, found.high) == pytest.approx((1 / 3, 1 / 3))
    steps = {item: float(i % 5 - 2 > 0) - float(i % 5 - 2 < 0) for i, item in enumerate(clusters)}
    paired = paired_interval(steps, dict.fromkeys(clusters, 0.0), clusters, "one-way", "nats")
    assert paired == interval(steps, clusters, "one-way", "nats")


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0, 0.95), (1.0, 0.05, 1)])
def test_one_hit_or_miss_alone_is_one_trial(value, low, high):
    """A single item bounds a rate as 0 or 1 of 1 does."""
    found = interval({"a": value}, {"a": ("g",)}, "one-way", "proportion")
    assert (found.low, found.high) == pytest.approx((low, high))


def test_differences_spread_evenly_over_clusters_are_still_bounded():
    """One gain and one loss in every cluster have no variance between clusters, and are bounded as G/2 of G."""
    clusters = {f"{g}{j}": (f"g{g}",) for g in range(8) for j in range(2)}
    hits = {item: float(item[-1]) for item in clusters}
    found = paired_interval(hits, {item: 1 - hit for item, hit in hits.items()}, clusters, "one-way", "proportion")
    low, high = statistics.clopper_pearson(4, 8, 0.05, sided=1)
    assert (found.low, found.high) == pytest.approx((2 * low - 1, 2 * high - 1))


def test_hits_spread_evenly_over_clusters_are_still_bounded():
    """One hit in two in every cluster has no variance between clusters, and is bounded as G/2 of G."""
    clusters = {f"{g}{j}": (f"g{g}",) for g in range(8) for j in range(2)}
    found = estimate({item: float(item[-1]) for item in clusters}, clusters, "one-way", "proportion")
    assert found.bounds(0.05) == pytest.approx(statistics.clopper_pearson(4, 8, 0.05, sided=1))
    assert (found.value, found.se, found.mde, found.clusters, found.n, found.k) == (0.5, 0, 0, 8, 16, 8)
    pairs = layout("pairs-of-groups", 6)  # of each two groups the pair one way is a hit: G counts disjoint pairs
    found = interval({item: float(a < b) for item, (a, b) in pairs.items()}, pairs, "pairs-of-groups", "proportion")
    assert (found.low, found.high) == pytest.approx(statistics.clopper_pearson(1.5, 3, 0.05, sided=1))


@pytest.mark.parametrize(
    ("design", "missed"),
    [
        ("one-way", {f"i{g}.0" for g in range(6)}),
        ("two-way", {f"i{g}.{j}" for g in range(6) for j in range(8) if (g + j) % 2}),
        ("pairs-of-groups", {"i0.3", "i1.2", "i5.4"}),
    ],
)
def test_rounding_decides_on_no_bound(design, missed):
    """Where every cluster misses as much, hits are bounded as misses are, though either spread may round to 0."""
    clusters = layout(design, 6)
    hits = {item: float(item not in missed) for item in clusters}
    for alpha in (0.001, 0.05):
        found = interval(hits, clusters, design, "proportion", alpha=alpha)
        mirrored = interval({i: 1 - hit for i, hit in hits.items()}, clusters, design, "proportion", alpha=alpha)
        assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


@plain
@given(seeds, st.integers(12, 30), levels)
def test_a_difference_of_hits_is_bounded_by_either_kind_of_discordance(seed, size, alpha):
    """Bounds are the wider of t on cluster means and of gains and losses, each a share of G clusters."""
    rng = np.random.default_rng(seed)
    clusters = {f"i{g:02}.{j}": (f"g{g}",) for g in range(size) for j in range(2)}
    rates = rng.uniform(0.05, 0.95, 2)
    first, second = (dict(zip(clusters, (rng.random(2 * size) < rate).astype(float), strict=True)) for rate in rates)
    found = paired_estimate(first, second, clusters, "one-way", "proportion")
    x = np.array([first[item] - second[item] for item in clusters])
    means = x.reshape(size, 2).mean(axis=1)
    assume(np.ptp(means) > 0)
    error = scipy.stats.sem(means)
    reach = scipy.stats.t.ppf(1 - alpha, size - 1) * error
    low, high = Discordant((x == 1).mean(), (x == -1).mean(), size).bounds(alpha)
    low, high = min(low, means.mean() - reach), max(high, means.mean() + reach)
    assert found.bounds(alpha) == pytest.approx((max(low, -1), min(high, 1)))
    assert found.mde == pytest.approx(statistics.minimal_detectable_effect(error, size - 1))
    assert (found.value, found.se, found.k) == (pytest.approx(means.mean()), pytest.approx(error), None)
    assert found.method == f"exact discordance, or t on {size} cluster means"


@plain
@given(seeds, st.integers(4, 9))
def test_discordance_of_pairs_counts_disjoint_pairs(seed, size):
    """Each of two groups one pair: gains and losses are shares of G/2 trials, and G − 1 groups are sources."""
    rng = np.random.default_rng(seed)
    clusters = {item: pair for item, pair in layout("pairs-of-groups", size).items() if pair[0] < pair[1]}
    first, second = ({item: float(rng.random() < rate) for item in sorted(clusters)} for rate in (0.8, 0.3))
    differences = {item: first[item] - second[item] for item in clusters}
    found = paired_estimate(first, second, clusters, "pairs-of-groups", "proportion")
    jackknife = estimate(differences, clusters, "pairs-of-groups", "nats")
    assume(jackknife.se > 0)
    x = np.array(list(differences.values()))
    exact, plain_t = Discordant((x > 0).mean(), (x < 0).mean(), size // 2).bounds(0.05), jackknife.bounds(0.05)
    low, high = min(exact[0], plain_t[0]), max(exact[1], plain_t[1])
    assert found.bounds(0.05) == pytest.approx((max(low, -1), min(high, 1)))
    assert found.clusters == jackknife.clusters == size - 1


@plain
@given(st.sampled_from(DESIGNS), st.integers(3, 14), seeds, st.sampled_from([0.001, 0.05, 0.3]))
def test_bounds_of_proportions_lie_where_proportions_can(design, size, seed, alpha):
    """No bound of a share of hits lies below 0 or above 1, and none of a difference of two below −1 or above 1."""
    rng = np.random.default_rng(seed)
    clusters = layout(design, size)
    first, second = ({item: float(rng.random() < rate) for item in clusters} for rate in rng.beta(0.5, 0.5, 2))
    share = interval(first, clusters, design, "proportion", alpha=alpha)
    assert 0 <= share.low <= share.value <= share.high <= 1
    difference = paired_interval(first, second, clusters, design, "proportion", alpha=alpha)
    assert -1 <= difference.low <= difference.value <= difference.high <= 1


def test_differences_of_hits_in_one_cluster_exclude_nothing():
    """Discordance is no way around having too few clusters."""
    found = paired_interval(
        {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, {"a": ("g",), "b": ("g",)}, "one-way", "proportion"
    )
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.method == "none: t on 1 cluster means needs more clusters"
