"""Simulated samples: intervals for clustered values err no more often than promised."""

import math

import numpy as np
import pytest
import scipy.stats

from prolepsis.judging.clustered import interval
from tests.clustering import DESIGNS, layout

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
