"""The judge errs no more often than it promises, where the truth lies exactly on a threshold.

300 samples per setting: chance takes a rate of 5 % to 31 wrong verdicts (10 %) with a probability below 1e-4, so a test
here fails for cause. What comes out is fixed by the seeds. `python -m benchmarks.judge_error_rates` runs every setting
with as many samples as asked for.
"""

import numpy as np
import pytest
import scipy.stats

from benchmarks.judge_error_rates import (
    MEANS,
    PROMISED,
    SPREAD,
    Setting,
    draw,
    layout,
    measurements,
    misses,
    most_by_chance,
    settings,
    skewed_misses,
    verdicts,
)
from prolepsis.judging.clustered import count_clusters
from prolepsis.statistics import clopper_pearson

SAMPLES = 300
QUICK = [
    setting
    for setting in settings()
    if (setting.design, setting.size) != ("two-way", 24)
    and (setting.truth != "at delta from three nulls" or (setting.design, setting.size) == ("pairs-of-groups", 24))
]
"""The settings that take a moment; those left out have many items, or several nulls beside a setting with one."""


@pytest.mark.parametrize("setting", [setting for setting in QUICK if setting.scale == "nats"], ids=str)
def test_wrong_verdicts_are_as_rare_as_promised(setting: Setting) -> None:
    """On a threshold neither verdict that would be wrong comes in more than 5 % of samples, up to chance."""
    counts = verdicts(setting, SAMPLES)
    assert max(counts[word] for word in setting.wrong) <= most_by_chance(SAMPLES), counts


@pytest.mark.parametrize("setting", [s for s in QUICK if s.truth == "at the criterion"], ids=str)
def test_bounds_miss_the_truth_as_rarely_as_promised(setting: Setting) -> None:
    """Each one-sided 5 % bound of clustered values, and of clustered hits, misses in at most 5 % of samples."""
    assert max(misses(setting, SAMPLES)) <= most_by_chance(SAMPLES)


@pytest.mark.parametrize("design", ["one-way", "two-way", "pairs-of-groups"])
def test_samples_without_clusters_would_be_judged_wrongly(design: str) -> None:
    """The samples are hard enough: a t interval that takes items for independent misses far more often than 5 %."""
    setting = next(s for s in settings([design], [24]) if s.scale == "nats" and s.truth == "at the criterion")
    measured = draw(setting, SAMPLES, seed=0)[:, 0]
    error = measured.std(axis=1, ddof=1) / np.sqrt(measured.shape[1])
    missed = measured.mean(1) - scipy.stats.t.ppf(0.95, measured.shape[1] - 1) * error > setting.means[0]
    assert missed.sum() > most_by_chance(SAMPLES)


@pytest.mark.parametrize("shape", ["lognormal", "one in ten"])
def test_bounds_err_more_often_where_means_are_skewed(shape: str) -> None:
    """Opposite a tail of the cluster means, which nothing is promised about, and there alone."""
    below, above = skewed_misses(shape, 12, SAMPLES)
    assert below <= PROMISED * SAMPLES < most_by_chance(SAMPLES) < above


@pytest.mark.parametrize("setting", [s for s in settings() if s.truth == "at delta from three nulls"], ids=str)
def test_samples_are_what_they_are_said_to_be(setting: Setting) -> None:
    """Arms have the means and the spread of their setting, and as many clusters as it says."""
    drawn = draw(setting, 400, seed=1)
    means = np.array([setting.means[0], *setting.means[1]])
    assert np.allclose(drawn.mean((0, 2)), means, atol=0.03)
    if setting.scale == "nats":
        assert np.allclose(drawn.std((0, 2)), SPREAD, atol=0.03)
    else:
        assert set(np.unique(drawn)) == {0.0, 1.0}
    assert count_clusters(layout(setting.design, setting.size), setting.design) == setting.size
    sampled = next(measurements(setting, 1, seed=1))
    assert len(sampled.values) == len(sampled.clusters) == drawn.shape[2]
    assert {name: len(arm) for name, arm in sampled.arms.items()} == {
        f"null {i}": drawn.shape[2] for i in range(len(MEANS[setting.scale][setting.truth][1]))
    }


@pytest.mark.parametrize("n", [6, 12, 24, 48])
def test_exact_counts_cover_every_rate(n: int) -> None:
    """Summed over all counts, each Clopper–Pearson bound misses no rate in more than 5 % of cases; no simulation."""
    bounds = np.array([clopper_pearson(k, n, PROMISED, sided=1) for k in range(n + 1)])  # [n + 1, 2]
    for rate in np.linspace(0.001, 0.999, 999):
        chances = scipy.stats.binom.pmf(np.arange(n + 1), n, rate)
        assert chances[bounds[:, 0] > rate].sum() <= PROMISED + 1e-12
        assert chances[bounds[:, 1] < rate].sum() <= PROMISED + 1e-12


def test_chance_is_told_from_cause() -> None:
    """A rate of 5 % passes all but once in 10 000 times; one of 15 % is caught all but once in 50 times."""
    most = most_by_chance(SAMPLES)
    assert scipy.stats.binom.sf(most, SAMPLES, PROMISED) <= 1e-4
    assert scipy.stats.binom.sf(most, SAMPLES, 0.15) >= 0.98
