"""Exact intervals and tests, and intervals for clustered values."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.clustered import Interval, estimate, interval, paired_interval
from prolepsis.laws import Discordant

counts = st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.001, 0.01, 0.025, 0.05, 0.1, 0.3])
seeds = st.integers(0, 2**32 - 1)
plain = settings(deadline=None, max_examples=60)
DESIGNS = ["one-way", "two-way", "pairs-of-groups"]


def layout(design, size=7):
    """Item → labels of a full layout with ``size`` clusters (of the smaller factor)."""
    if design == "one-way":
        return {f"i{g}.{j}": (f"g{g}",) for g in range(size) for j in range(3)}
    if design == "two-way":
        return {f"i{g}.{j}": (f"p{g}", f"f{j}") for g in range(size) for j in range(size + 2)}
    return {f"i{g}.{j}": (f"g{g}", f"g{j}") for g, j in itertools.permutations(range(size), 2)}


def draw(design, seed, size=7, unit="nats"):
    """Values of a full layout that differ by cluster, and its labels."""
    clusters = layout(design, size)
    rng = np.random.default_rng(seed)
    effects = {label: rng.normal() for labels in clusters.values() for label in labels}
    latent = {item: sum(effects[label] for label in labels) + rng.normal() for item, labels in clusters.items()}
    values = {item: float(v > 0) if unit == "proportion" else v for item, v in latent.items()}
    return values, clusters


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
@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
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
@given(st.data())
def test_overlap_is_hypergeometric(data):
    """All three probabilities equal scipy's hypergeometric ones."""
    total = data.draw(st.integers(1, 80))
    first, second = data.draw(st.integers(0, total)), data.draw(st.integers(0, total))
    overlap = data.draw(st.integers(0, second))
    known = scipy.stats.hypergeom(total, first, second)
    found = statistics.overlap_probability(overlap, first, second, total)
    assert found == pytest.approx((known.cdf(overlap), known.pmf(overlap), known.sf(overlap - 1)), abs=1e-9)


def test_no_overlap_of_few_heads_is_what_chance_gives():
    """Sets of 5 and 10 heads of 512 share none with probability ∏(502 − i)/(512 − i), above .9."""
    closed = math.prod((502 - i) / (512 - i) for i in range(5))
    assert statistics.overlap_probability(0, 5, 10, 512).at_most == pytest.approx(closed)
    assert closed > 0.9


@plain
@given(st.integers(1, 9), seeds, levels)
def test_sign_flip_bounds_invert_the_brute_force_test(clusters, seed, alpha):
    """A value lies below the lower bound exactly when enumerating all sign flips rejects it, and so above."""
    rng = np.random.default_rng(seed)
    means = rng.normal(0.5, 1, clusters)
    signs = np.array(list(itertools.product([1, -1], repeat=clusters)))
    subsets = statistics.subset_means(means)
    low, high = statistics.sign_flip_bounds(subsets, alpha)
    for theta0 in rng.normal(0.5, 1, 20):
        flipped = signs @ (means - theta0)
        above = np.mean(flipped >= (means - theta0).sum() - 1e-12)
        below = np.mean(flipped <= (means - theta0).sum() + 1e-12)
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


def test_grim_tells_a_possible_percentage_from_an_impossible_one():
    """69.9 % can come from 136 items, 39.3 % cannot come from 27."""
    assert statistics.grim(69.9, 136, 1)
    assert not statistics.grim(39.3, 27, 1)


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
    assert estimate(values, clusters, "pairs-of-groups", "nats").se == pytest.approx(known)


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


@plain
@given(st.sampled_from(DESIGNS), st.sampled_from(["nats", "proportion"]), st.integers(2, 13), seeds, st.data())
def test_bounds_and_p_values_say_the_same(design, unit, size, seed, data):
    """theta0 lies beyond a one-sided bound exactly when the p-value of that side is at most alpha."""
    values, clusters = draw(design, seed, size, unit)
    found = estimate(values, clusters, design, unit)
    alpha, theta0 = data.draw(levels), data.draw(st.floats(-1.5, 1.5))
    low, high = found.bounds(alpha)
    above, below = found.p_values(theta0)
    if min(abs(low - theta0), abs(high - theta0)) > 1e-9:
        assert (low > theta0) == (above <= alpha)
        assert (high < theta0) == (below <= alpha)
    wider = found.bounds(alpha / 2)
    assert wider[0] <= low <= found.value <= high <= wider[1]


@plain
@given(st.sampled_from([-1.0, 0.0, 1.0]), st.integers(1, 30), st.data())
def test_bounds_and_p_values_say_the_same_of_constant_differences(value, size, data):
    """The duality also holds for paired yes/no outcomes that always agree, or always differ one way."""
    values, clusters = dict.fromkeys(layout("one-way", size), value), layout("one-way", size)
    found = estimate(values, clusters, "one-way", "proportion", lowest=-1.0)
    alpha, theta0 = data.draw(levels), data.draw(st.floats(-1.2, 1.2))
    low, high = found.bounds(alpha)
    above, below = found.p_values(theta0)
    if min(abs(low - theta0), abs(high - theta0)) > 1e-9:
        assert ((low > theta0), (high < theta0)) == ((above <= alpha), (below <= alpha))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [6, 12, 24])
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


def test_hits_spread_evenly_over_clusters_are_still_bounded():
    """One hit in two in every cluster has no variance between clusters, and is bounded as G/2 of G."""
    clusters = {f"{g}{j}": (f"g{g}",) for g in range(8) for j in range(2)}
    found = interval({item: float(item[-1]) for item in clusters}, clusters, "one-way", "proportion")
    assert (found.low, found.high) == pytest.approx(statistics.clopper_pearson(4, 8, 0.05, sided=1))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("unit", ["nats", "proportion"])
def test_values_equal_up_to_forward_noise_have_the_point_as_interval(design, unit):
    """Values that differ by float32 noise alone, as in a planted organism, are bounded by themselves at any level."""
    clusters = layout(design)
    rng = np.random.default_rng(0)
    values = {item: 0.7 + 1e-6 * rng.uniform(-1, 1) for item in clusters}
    found = interval(values, clusters, design, unit, alpha=1e-9)
    assert 0.7 - 3e-6 < found.low <= found.value <= found.high < 0.7 + 3e-6


def test_a_single_value_is_a_point_with_its_tolerance():
    """Design single gives value ± the numerical tolerance, at any level, and refuses a second value."""
    found = estimate({"a": 3.0}, {}, "single", "nats", tolerance=0.01)
    assert found.bounds(0.05) == found.bounds(1e-9) == pytest.approx((2.99, 3.01))
    assert interval({"a": 3.0}, {}, "single", "nats") == Interval(
        3.0, pytest.approx(3 - 3e-5), pytest.approx(3 + 3e-5), 1, 1, "point, deterministic", None
    )
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
    with pytest.raises(ValueError, match="no values"):
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


REPEATS = 1000


def most_errors(rate, repeats=REPEATS):
    """The count of errors that a true rate of at most ``rate`` exceeds with probability below 1e-4."""
    return scipy.stats.binom.ppf(1 - 1e-4, repeats, rate)


def errors_of(design, size, unit, make, truth):
    """How often, of REPEATS draws, the truth lies below the lower and above the upper bound at 5 %; and naively so."""
    clusters = layout(design, size)
    below = above = naive = 0
    for seed in range(REPEATS):
        x = make(np.random.default_rng(seed), clusters)
        found = interval(dict(zip(clusters, x, strict=True)), clusters, design, unit)
        below += found.low > truth
        above += found.high < truth
        naive += x.mean() - 1.645 * x.std(ddof=1) / math.sqrt(len(x)) > truth
    return below, above, naive


def clustered_normal(rng, clusters):
    """Normal values whose labels share effects as large as the noise; mean 0."""
    labels = sorted({label for pair in clusters.values() for label in pair})
    effects = dict(zip(labels, rng.normal(0, 1, len(labels)), strict=True))
    return np.array([sum(effects[label] for label in labels) for labels in clusters.values()]) + rng.normal(
        0, 1, len(clusters)
    )


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("size", [6, 14])
def test_clustered_intervals_err_no_more_than_promised_where_naive_ones_do(design, size):
    """On normal clustered values each side errs at 5 % up to Monte-Carlo error; the unclustered interval does not."""
    below, above, naive = errors_of(design, size, "nats", clustered_normal, 0.0)
    assert max(below, above) <= most_errors(0.05)
    assert naive > most_errors(0.05)


@pytest.mark.parametrize("design", DESIGNS)
def test_clustered_hits_err_no_more_than_promised(design):
    """On yes/no outcomes of clustered normal latents (half of them hits) each side errs at 5 % up to chance."""

    def hits(rng, clusters):
        return (clustered_normal(rng, clusters) > 0).astype(float)

    below, above, _ = errors_of(design, 12, "proportion", hits, 0.5)
    assert max(below, above) <= most_errors(0.05)


@pytest.mark.parametrize("size", [8, 20])
def test_skewed_hits_err_no_more_than_promised_where_t_does(size):
    """For k of G independent clusters the exact error, summed over k, is at most 5 % at any rate; that of t is not."""
    clusters = {f"i{i}": (f"g{i}",) for i in range(size)}
    samples = [dict(zip(clusters, [1.0] * k + [0.0] * (size - k), strict=True)) for k in range(size + 1)]
    lows = np.array([interval(sample, clusters, "one-way", "proportion").low for sample in samples])
    nats = np.array([interval(sample, clusters, "one-way", "nats").low for sample in samples])
    chances = {rate: scipy.stats.binom.pmf(range(size + 1), size, rate) for rate in np.linspace(0.05, 0.95, 91)}
    assert max(chance[lows > rate].sum() for rate, chance in chances.items()) <= 0.05
    assert max(chance[nats > rate].sum() for rate, chance in chances.items()) > 0.1


@pytest.mark.parametrize("truth", [0.5, 0.6, 0.75, 0.9])
def test_pairs_that_need_both_groups_err_no_more_than_promised_when_all_hit(truth):
    """When a pair hits iff both its groups are good, all hits bound the rate falsely in at most 5 % of samples."""
    size = 12
    all_hit = math.sqrt(truth) ** size  # closed form of the chance of seeing nothing but hits
    clusters = layout("pairs-of-groups", size)
    low = interval(dict.fromkeys(clusters, 1.0), clusters, "pairs-of-groups", "proportion").low
    assert all_hit <= 0.05 or low <= truth


@pytest.mark.parametrize("n", [8, 20])
@pytest.mark.parametrize(("first_only", "second_only"), [(0.0, 0.0), (0.1, 0.0), (0.05, 0.05), (0.3, 0.1), (0.5, 0.5)])
def test_bounds_of_discordance_err_no_more_than_promised(n: int, first_only: float, second_only: float) -> None:
    """Summed over every outcome, neither bound of a paired difference of hits misses the truth in over 5 % of cases."""
    true, missed_low, missed_high = first_only - second_only, 0.0, 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            chance = float(
                scipy.stats.multinomial.pmf(
                    [b, c, n - b - c], n, [first_only, second_only, 1 - first_only - second_only]
                )
            )
            low, high = Discordant(b / n, c / n, n).bounds(0.05)
            missed_low += chance * (low > true + 1e-9)
            missed_high += chance * (high < true - 1e-9)
    assert max(missed_low, missed_high) <= 0.05


@given(b=st.integers(0, 12), c=st.integers(0, 12), alpha=st.floats(0.001, 0.4))
def test_discordance_p_values_are_the_dual_of_its_bounds(b: int, c: int, alpha: float) -> None:
    """The p-value against a bound is the level that bound was drawn at."""
    law = Discordant(b / 24, c / 24, 24)
    low, high = law.bounds(alpha)
    assert law.p_values(low)[0] == pytest.approx(alpha, rel=1e-6)
    assert law.p_values(high)[1] == pytest.approx(alpha, rel=1e-6)
