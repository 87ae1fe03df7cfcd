"""Dose curves are told apart by how well they predict doses they have not seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.judging.kinks import FLOOR, kink_gain
from prolepsis.statistics import FloatArray

DOSES = tuple(0.5 * step for step in range(13))
X = np.array(DOSES)


def left_out_error(y: FloatArray, degree: int) -> float:
    """Leave-one-out root mean squared error of a polynomial, by numpy.polyfit."""
    errors = []
    for i in range(len(X)):
        seen = np.arange(len(X)) != i
        errors.append(np.polyval(np.polyfit(X[seen], y[seen], degree), X[i]) - y[i])
    return float(np.sqrt(np.mean(np.square(errors))))


@given(seed=st.integers(0, 2**16))
def test_polynomial_errors_are_those_of_polyfit(seed: int) -> None:
    """The gain of the parabola is the ratio of the errors that numpy's polynomial fits make, floor included."""
    y = np.random.default_rng(seed).normal(size=len(X))
    floor = FLOOR * np.ptp(y)
    expected = np.log((left_out_error(y, 1) + floor) / (left_out_error(y, 2) + floor))
    assert kink_gain(DOSES, y[None])[1][0] == pytest.approx(expected, abs=1e-6)


@given(slope=st.sampled_from([-2.0, -0.3, 0.0, 0.001, 1.0]), start=st.floats(-3, 3, allow_subnormal=False))
def test_a_straight_curve_gains_nothing(slope: float, start: float) -> None:
    """No curve beats the straight line where that is exact, flat lines included."""
    kinked, bent = kink_gain(DOSES, (start + slope * X)[None])
    assert kinked[0] == pytest.approx(0, abs=1e-6)
    assert bent[0] == pytest.approx(0, abs=1e-6)


def test_float32_noise_on_a_flat_curve_is_no_shape() -> None:
    """A curve that varies by less than float32 resolves gains nothing, however its noise lies."""
    noise = np.random.default_rng(0).normal(size=(5, len(X)))
    assert [gain.tolist() for gain in kink_gain(DOSES, 1 + 1e-7 * noise)] == [[0.0] * 5, [0.0] * 5]


@given(knot=st.sampled_from([1.1, 1.4, 2.0, 2.9, 3.5]), factor=st.floats(0.01, 100))
def test_a_kink_is_found_and_the_unit_does_not_matter(knot: float, factor: float) -> None:
    """A hinge gains more by a kinked line than by a parabola, in whatever unit it is measured."""
    y = np.maximum(X - knot, 0)
    kinked, bent = kink_gain(DOSES, np.stack([y, factor * y]))
    assert kinked[0] > bent[0] + 0.5
    assert kinked[1] == pytest.approx(kinked[0], abs=1e-6)


def test_a_bent_curve_is_no_kink() -> None:
    """A parabola is predicted better by a parabola than by a kinked line."""
    kinked, bent = kink_gain(DOSES, (X**2)[None])
    assert bent[0] > kinked[0] > 0
