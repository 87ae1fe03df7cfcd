"""Bounds and p-values of every law say the same."""

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import statistics
from prolepsis.judging.clustered import estimate
from prolepsis.judging.laws import (
    Blind,
    Count,
    Discordant,
    Ends,
    NeverDiffered,
    Point,
    Shifted,
    SignFlip,
    Student,
    Widest,
    Within,
)
from tests.clustering import DESIGNS, draw, layout, levels, plain, seeds

LAWS = [
    Point(0.4, 0.1),
    Blind(),
    Student(0.3, 0.2, 5),
    SignFlip(statistics.subset_means(np.array([0.1, 0.5, 0.2, 0.9, -0.3, 0.4]))),
    Count(0.6, 10, 0.0),
    Count(0.7, 10, -1.0),
    Count(0.0, 10, 0.0),
    Count(1.0, 10, 0.0),
    NeverDiffered(8),
    Discordant(0.5, 0.125, 8),
    Ends(8, 0.0),
    Ends(8, -1.0),
    Shifted(Student(0.3, 0.2, 5), -0.5, 1),
    Shifted(Count(0.6, 10, 0.0), 0.5, -1),
    Widest((Student(0.3, 0.2, 5), Point(0.9, 0.0), Count(0.4, 9, -1.0))),
    Within(Student(0.3, 0.5, 5), 0.0),
    Within(Student(-0.6, 0.5, 5), -1.0),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_every_law_excludes_exactly_what_its_p_values_reject(law):
    """On a grid of theta0 and levels, theta0 lies beyond a bound iff that side's p-value, in [0, 1], is ≤ the level."""
    for theta0, alpha in itertools.product(np.linspace(-1.2, 1.2, 49), [0.001, 0.02, 0.05, 0.3]):
        low, high = law.bounds(alpha)
        above, below = law.p_values(float(theta0))
        assert 0 <= min(above, below) <= max(above, below) <= 1
        if min(abs(low - theta0), abs(high - theta0)) > 1e-9:
            assert ((low > theta0), (high < theta0)) == ((above <= alpha), (below <= alpha)), (theta0, alpha)


def test_a_point_leaves_nothing_to_chance():
    """The p-value of a point is 0 on each side whose bound reaches theta0, and 1 on the other."""
    assert Point(2.0, 0.5).p_values(1.5) == (0, 1)
    assert Point(2.0, 0.5).p_values(2.0) == (1, 1)
    assert Point(2.0, 0.5).p_values(2.5) == (1, 0)
    assert Point(2.0, 0.0).p_values(2.0) == (0, 0)


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


@plain
@given(st.integers(1, 60), levels)
def test_bounds_of_discordance_have_closed_forms_at_the_ends(n: int, alpha: float) -> None:
    """Each share takes half of the level: ±(1 − (α/2)^(1/n)) where none differ, 2(α/2)^(1/n) − 1 where all do."""
    rare = 1 - (alpha / 2) ** (1 / n)
    assert Discordant(0.0, 0.0, n).bounds(alpha) == pytest.approx((-rare, rare))
    assert Discordant(1.0, 0.0, n).bounds(alpha) == pytest.approx((1 - 2 * rare, 1))
    assert Discordant(0.0, 1.0, n).bounds(alpha) == pytest.approx((-1, 2 * rare - 1))
