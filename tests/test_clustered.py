"""Intervals for clustered values."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.judging.clustered import Interval, count_clusters, estimate, interval, paired_interval
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
@given(seeds, st.integers(12, 40))
def test_by_item_is_the_mean_over_items_with_the_spread_of_cluster_totals(seed, size):
    """Large clusters weigh more: value, standard error and degrees of freedom are those of the ratio estimator."""
    values, clusters = draw("by-item", seed, size)
    x = np.array(list(values.values()))
    sizes = np.array([sum(label == (f"g{g}",) for label in clusters.values()) for g in range(size)])
    totals = np.array([sum(v - x.mean() for i, v in values.items() if clusters[i] == (f"g{g}",)) for g in range(size)])
    kish = len(x) ** 2 / np.sum(sizes**2)
    known = math.sqrt(np.sum(totals**2) / len(x) ** 2 * kish / (kish - 1))
    found = estimate(values, clusters, "by-item", "nats")
    assert (found.value, found.se) == pytest.approx((x.mean(), known))
    reach = scipy.stats.t(kish - 1).ppf(0.95) * known
    assert found.bounds(0.05) == pytest.approx((x.mean() - reach, x.mean() + reach))


@plain
@given(seeds, st.integers(2, 16))
def test_by_item_and_one_way_agree_where_clusters_are_equally_large(seed, size):
    """What an average cluster has and what an average item has differ by the sizes of clusters alone."""
    values, clusters = draw("one-way", seed, size)
    one_way, by_item = (interval(values, clusters, design, "nats") for design in ("one-way", "by-item"))
    assert (by_item.value, by_item.low, by_item.high) == pytest.approx((one_way.value, one_way.low, one_way.high))


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
    assert (found.low, found.high, found.clusters) == (-math.inf, math.inf, 1)


@pytest.mark.parametrize(("sources", "targets"), [(4, 12), (12, 4)])
def test_pairs_have_the_degrees_of_freedom_of_their_smaller_side(sources, targets):
    """Four groups that each meet twelve others are bounded as four clusters, whichever side they stand on."""
    clusters = {f"i{s}.{t}": (f"s{s}", f"t{t}") for s in range(sources) for t in range(targets)}
    rng = np.random.default_rng(0)
    found = estimate({item: rng.normal() for item in clusters}, clusters, "pairs-of-groups", "nats")
    assert found.clusters == 4
    reach = scipy.stats.t(3).ppf(0.95) * found.se
    assert found.bounds(0.05) == pytest.approx((found.value - reach, found.value + reach))


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


@pytest.mark.parametrize(
    ("labels", "design", "count"),
    [
        ([("a",), ("b",), ("a",)], "one-way", 2),
        ([("a",), ("b",), ("a",)], "by-item", 2),
        ([("a", "x"), ("b", "x"), ("c", "y")], "two-way", 2),
        ([("a", "x"), ("a", "y"), ("a", "z")], "two-way", 1),
        ([("a", "x"), ("a", "y"), ("a", "z")], "pairs-of-groups", 1),
        ([("a", "x"), ("b", "y"), ("b", "z")], "pairs-of-groups", 2),
        ([("a", "b"), ("b", "c"), ("c", "a")], "pairs-of-groups", 3),
        ([("a", "b"), ("b", "a")], "pairs-of-groups", 2),
        ([(), ()], "single", 2),
        ([], "one-way", 0),
        ([], "two-way", 0),
        ([], "pairs-of-groups", 0),
    ],
)
def test_clusters_are_counted_as_the_design_says(labels, design, count):
    """Labels, those of the smaller of two factors or of two sides of pairs, or single values."""
    assert count_clusters(labels, design) == count


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [2, 3, 8, 14])
def test_the_smallest_detectable_effect_is_that_of_the_standard_error(design, size):
    """(t.975 + t.80) standard errors, with a degree of freedom less than there are clusters."""
    values, clusters = draw(design, 1, size)
    found = estimate(values, clusters, design, "nats")
    if design == "pairs-of-groups" and size == 2:
        assert found.mde == math.inf
    else:
        sizes = np.unique([label for (label, *_) in clusters.values()], return_counts=True)[1]
        t = scipy.stats.t(sizes.sum() ** 2 / np.sum(sizes**2) - 1 if design == "by-item" else size - 1)
        assert found.mde == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * found.se)
        assert 0 < found.se < math.inf


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
        ("by-item", 11, "exact sign flips of 11 clusters, by size"),
        ("by-item", 12, "t on 12 cluster means, by size"),
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
