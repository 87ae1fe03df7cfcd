"""Intervals for clustered values."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.clustered import Interval, count_clusters, estimate, interval, paired_estimate, paired_interval
from prolepsis.laws import Discordant
from tests.clustering import DESIGNS, draw, layout, levels, plain, seeds


@plain
@given(seeds, st.integers(12, 40), levels)
def test_one_way_is_the_t_interval_of_cluster_means(seed, size, alpha):
    """From 12 clusters on, bounds are scipy's t interval of the cluster means, whatever the clusters' sizes."""
    rng = np.random.default_rng(seed)
    groups = {f"g{g}": rng.normal(g % 3, 1, rng.integers(1, 5)) for g in range(size)}
    values = {f"{g}.{j}": x for g, xs in groups.items() for j, x in enumerate(xs)}
    clusters = {item: (item.split(".", maxsplit=1)[0],) for item in values}
    found = interval(values, clusters, "one-way", "nats", alpha=alpha)
    means = np.array([xs.mean() for xs in groups.values()])
    known = scipy.stats.t.interval(1 - 2 * alpha, size - 1, means.mean(), scipy.stats.sem(means))
    assert (found.low, found.high) == pytest.approx(known)
    assert (found.clusters, found.n) == (size, len(values))


@plain
@given(seeds, st.integers(6, 11), levels)
def test_one_way_is_exact_below_twelve_clusters(seed, size, alpha):
    """Below 12 clusters the bounds are those of the sign-flip test on the cluster means."""
    values, clusters = draw("one-way", seed, size)
    means = [np.mean([v for i, v in values.items() if clusters[i] == (f"g{g}",)]) for g in range(size)]
    found = interval(values, clusters, "one-way", "nats", alpha=alpha)
    known = statistics.sign_flip_bounds(statistics.subset_means(np.array(means)), alpha)
    assert (found.low, found.high) == pytest.approx(known)


@plain
@given(seeds, st.integers(3, 40))
def test_jackknife_of_independent_singles_is_the_textbook_standard_error(seed, size):
    """When every group is one item, delete-one-group gives s/√n."""
    x = np.random.default_rng(seed).normal(0, 1, size)
    values = {f"i{i}": v for i, v in enumerate(x)}
    found = estimate(values, {item: (item,) for item in values}, "pairs-of-groups", "nats")
    assert found.se == pytest.approx(scipy.stats.sem(x))


@plain
@given(seeds, st.integers(4, 9))
def test_jackknife_leaves_out_every_pair_a_group_touches(seed, size):
    """The standard error is that of a mean recomputed without each group as source and as target."""
    values, clusters = draw("pairs-of-groups", seed, size)
    kept = [np.mean([v for i, v in values.items() if f"g{g}" not in clusters[i]]) for g in range(size)]
    known = math.sqrt((size - 1) / size * np.sum((kept - np.mean(kept)) ** 2))
    found = estimate(values, clusters, "pairs-of-groups", "nats")
    assert found.se == pytest.approx(known)
    reach, mean = scipy.stats.t.ppf(0.95, size - 1) * known, np.mean(list(values.values()))
    assert found.bounds(0.05) == pytest.approx((mean - reach, mean + reach))


def test_a_group_that_is_in_every_pair_cannot_be_left_out():
    """Pairs that all share one group say nothing of other groups: neither bound is finite."""
    clusters = {f"i{i}": ("a", f"g{i}") for i in range(6)}
    found = interval({item: float(i) for i, item in enumerate(clusters)}, clusters, "pairs-of-groups", "nats")
    assert (found.low, found.high, found.clusters) == (-math.inf, math.inf, 7)


def test_two_way_bounds_the_barest_table():
    """Three of four cells leave two items that share no label, enough for an interval, as wide as its larger factor."""
    clusters = {"i": ("a", "x"), "j": ("a", "y"), "k": ("b", "x")}
    found = estimate({"i": 0.0, "j": 1.0, "k": 2.0}, clusters, "two-way", "nats")
    # Sums of residuals: rows −1, 1; columns 0, 0; cells −1, 0, 1. So 2/9 · 2 of the rows, and (2/9 − 2/9) / (2/9).
    assert found.se == pytest.approx(math.sqrt(4 / 9))


@plain
@given(seeds, st.integers(3, 9))
def test_two_way_adds_the_factors_and_takes_the_cells_off(seed, size):
    """On a full table the variance is that of row and column means less that of cells, over what centring leaves."""
    values, clusters = draw("two-way", seed, size)
    table = np.array([values[item] for item in clusters]).reshape(size, size + 2)
    rows, columns = table.mean(1).var(ddof=1) / size, table.mean(0).var(ddof=1) / (size + 2)
    centred = table.mean(1).var() / size + table.mean(0).var() / (size + 2) - table.var() / table.size
    known = max(centred / ((1 - 1 / size) * (1 - 1 / (size + 2))), rows, columns)
    found = estimate(values, clusters, "two-way", "nats")
    assert found.se == pytest.approx(math.sqrt(known))
    reach = scipy.stats.t.ppf(0.95, size - 1) * found.se
    assert found.bounds(0.05) == pytest.approx((table.mean() - reach, table.mean() + reach))


@plain
@given(st.sampled_from(DESIGNS), st.sampled_from(["nats", "proportion"]), seeds, st.randoms())
def test_an_interval_knows_neither_order_nor_names(design, unit, seed, random):
    """Shuffling items and renaming items and labels changes nothing."""
    values, clusters = draw(design, seed, unit=unit)
    order = list(values)
    random.shuffle(order)
    again = interval(
        {f"x{i[::-1]}": values[i] for i in order},
        {f"x{i[::-1]}": tuple(f"{label[::-1]}y" for label in clusters[i]) for i in order},
        design,
        unit,
    )
    known = interval(values, clusters, design, unit)
    assert (again.value, again.low, again.high) == pytest.approx((known.value, known.low, known.high))
    assert (again.clusters, again.n, again.k, again.method) == (known.clusters, known.n, known.k, known.method)


@plain
@given(st.sampled_from(DESIGNS), seeds, st.floats(0.1, 10), st.floats(-10, 10))
def test_bounds_move_with_the_values(design, seed, scale, shift):
    """Scaling and shifting all values scales and shifts value and bounds."""
    values, clusters = draw(design, seed)
    known = interval(values, clusters, design, "nats")
    found = interval({i: scale * v + shift for i, v in values.items()}, clusters, design, "nats")
    moved = [scale * x + shift for x in (known.value, known.low, known.high)]
    assert [found.value, found.low, found.high] == pytest.approx(moved, abs=1e-9)


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
    known = min(low, means.mean() - reach * error), max(high, means.mean() + reach * error)
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


@pytest.mark.parametrize(
    ("labels", "design", "count"),
    [
        ([("a",), ("b",), ("a",)], "one-way", 2),
        ([("a", "x"), ("b", "x"), ("c", "y")], "two-way", 2),
        ([("a", "x"), ("a", "y"), ("a", "z")], "two-way", 1),
        ([("a", "x"), ("a", "y"), ("a", "z")], "pairs-of-groups", 4),
        ([("a", "b"), ("b", "a")], "pairs-of-groups", 2),
        ([(), ()], "single", 2),
        ([], "one-way", 0),
        ([], "two-way", 0),
        ([], "pairs-of-groups", 0),
    ],
)
def test_clusters_are_counted_as_the_design_says(labels, design, count):
    """Labels, groups on either side of a pair, the smaller of two factors, or single values."""
    assert count_clusters(labels, design) == count


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0, 0.95), (1.0, 0.05, 1)])
def test_one_hit_or_miss_alone_is_one_trial(value, low, high):
    """A single item bounds a rate as 0 or 1 of 1 does."""
    found = interval({"a": value}, {"a": ("g",)}, "one-way", "proportion")
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [2, 3, 8, 14])
def test_the_smallest_detectable_effect_is_that_of_the_standard_error(design, size):
    """(t.975 + t.80) standard errors, with a degree of freedom less than there are clusters."""
    values, clusters = draw(design, 1, size)
    found = estimate(values, clusters, design, "nats")
    if design == "pairs-of-groups" and size == 2:
        assert found.mde == math.inf
    else:
        t = scipy.stats.t(size - 1)
        assert found.mde == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * found.se)
        assert 0 < found.se < math.inf


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
    assert found.bounds(alpha) == pytest.approx((min(low, means.mean() - reach), max(high, means.mean() + reach)))
    assert found.mde == pytest.approx(statistics.minimal_detectable_effect(error, size - 1))
    assert (found.value, found.se, found.k) == (pytest.approx(means.mean()), 0, None)
    assert found.method == f"exact discordance, or t on {size} cluster means"


@plain
@given(seeds, st.integers(4, 9))
def test_discordance_of_pairs_counts_disjoint_pairs(seed, size):
    """Each of two groups one pair: gains and losses are shares of G/2 trials, and all G groups are clusters."""
    rng = np.random.default_rng(seed)
    clusters = {item: pair for item, pair in layout("pairs-of-groups", size).items() if pair[0] < pair[1]}
    first, second = ({item: float(rng.random() < rate) for item in sorted(clusters)} for rate in (0.8, 0.3))
    differences = {item: first[item] - second[item] for item in clusters}
    found = paired_estimate(first, second, clusters, "pairs-of-groups", "proportion")
    jackknife = estimate(differences, clusters, "pairs-of-groups", "nats")
    assume(jackknife.se > 0)
    x = np.array(list(differences.values()))
    exact, plain_t = Discordant((x > 0).mean(), (x < 0).mean(), size // 2).bounds(0.05), jackknife.bounds(0.05)
    assert found.bounds(0.05) == pytest.approx((min(exact[0], plain_t[0]), max(exact[1], plain_t[1])))
    assert found.clusters == jackknife.clusters == size


def test_differences_of_hits_in_one_cluster_exclude_nothing():
    """Discordance is no way around having too few clusters."""
    found = paired_interval(
        {"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 0.0}, {"a": ("g",), "b": ("g",)}, "one-way", "proportion"
    )
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.method == "none: t on 1 cluster means needs more clusters"


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("unit", ["nats", "proportion"])
def test_values_equal_up_to_forward_noise_have_the_point_as_interval(design, unit):
    """Values that differ by float32 noise alone, as in a planted organism, are bounded by themselves at any level."""
    clusters = layout(design)
    rng = np.random.default_rng(0)
    values = {item: 0.7 + 1e-6 * rng.uniform(-1, 1) for item in clusters}
    found = interval(values, clusters, design, unit, alpha=1e-9)
    assert 0.7 - 3e-6 < found.low <= found.value <= found.high < 0.7 + 3e-6


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [1e-3, 0.1, 5.0])
def test_noise_is_told_from_scatter_at_a_hundred_thousandth(design, size):
    """Deviations up to 1e-5 of the largest value, or of 0.1 where all are smaller, are noise; larger ones are not."""
    clusters = layout(design, 12)
    deviations = np.random.default_rng(1).normal(size=len(clusters))
    deviations -= deviations.mean()
    deviations /= np.abs(deviations).max()
    for relative, point in [(0.97e-5, True), (1.03e-5, False)]:
        x = size + deviations * relative * max(size, 0.1)
        found = estimate(dict(zip(clusters, x, strict=True)), clusters, design, "nats")
        assert (found.se == 0) == (found.method == "point, no variance") == point


@pytest.mark.parametrize(
    ("design", "size", "method"),
    [
        ("one-way", 1, "none: t on 1 cluster means needs more clusters"),
        ("one-way", 11, "exact sign flips of 11 clusters"),
        ("one-way", 12, "t on 12 cluster means"),
        ("two-way", 1, "none: two-way clustered t needs more clusters"),
        ("two-way", 2, "two-way clustered t"),
        ("pairs-of-groups", 2, "none: delete-one-group jackknife needs more clusters"),
        ("pairs-of-groups", 3, "delete-one-group jackknife"),
    ],
)
def test_an_interval_says_how_it_was_made(design, size, method):
    """The method is named for the reader, also where there are too few clusters for it."""
    values, clusters = draw(design, 0, size)
    assert interval(values, clusters, design, "nats").method == method


def test_a_point_is_as_wide_as_its_noise():
    """Noise about a value is its tolerance; means that are all the same, of whatever items, leave none."""
    clusters = layout("one-way", 2)
    noisy = {item: 5 + 1e-6 * i for i, item in enumerate(sorted(clusters))}  # 5 to 5 + 5e-6
    found = estimate(noisy, clusters, "one-way", "nats")
    assert found.bounds(0.05) == pytest.approx((5, 5 + 5e-6), abs=1e-9)
    even = {item: float(item[-1]) for item in clusters}  # 0, 1 and 2 in each cluster
    assert estimate(even, clusters, "one-way", "nats").bounds(0.05) == (1, 1)
    alone = {item: 1.0 for item, (group,) in clusters.items() if group == "g0"}
    assert estimate(alone, clusters, "one-way", "nats").bounds(0.05) == (-math.inf, math.inf)


def test_a_single_value_is_a_point_with_its_tolerance():
    """Design single gives value ± the numerical tolerance, at any level, and refuses a second value."""
    found = estimate({"a": 3.0}, {}, "single", "nats", tolerance=0.01)
    assert found.bounds(0.05) == found.bounds(1e-9) == pytest.approx((2.99, 3.01))
    assert interval({"a": 3.0}, {}, "single", "nats") == Interval(
        3.0, pytest.approx(3 - 3e-5), pytest.approx(3 + 3e-5), 1, 1, "point, deterministic", None
    )
    near_zero = estimate({"a": 0.0}, {}, "single", "nats")
    assert near_zero.bounds(0.05) == pytest.approx((-1e-5, 1e-5))
    assert (near_zero.se, near_zero.mde) == (0, 0)
    with pytest.raises(ValueError, match="one value"):
        interval({"a": 3.0, "b": 3.0}, {}, "single", "nats")


@pytest.mark.parametrize("design", DESIGNS)
def test_too_few_clusters_exclude_nothing(design):
    """One cluster, or two groups, leave both bounds infinite and nothing detectable."""
    clusters = layout(design, 2 if design == "pairs-of-groups" else 1)
    values = {item: float(i) for i, item in enumerate(sorted(clusters))}
    found = estimate(values, clusters, design, "nats")
    assert found.bounds(0.05) == (-math.inf, math.inf)
    assert found.p_values(0.0) == (1.0, 1.0)
    assert found.mde == math.inf


def test_no_values_are_refused():
    """An interval of nothing raises ValueError."""
    with pytest.raises(ValueError, match=r"^no values to estimate from$"):
        interval({}, {}, "one-way", "nats")


@plain
@given(st.sampled_from(DESIGNS), seeds)
def test_a_paired_interval_is_the_interval_of_the_differences(design, seed):
    """Differences are taken item by item over the items both arms have."""
    values, clusters = draw(design, seed)
    arm, _ = draw(design, seed + 1)
    del arm[min(arm)]
    found = paired_interval(values, arm, clusters, design, "nats")
    assert found == interval({i: values[i] - arm[i] for i in arm}, clusters, design, "nats")
