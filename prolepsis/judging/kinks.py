"""Is a dose curve kinked, or straight, or just bent? Judged by how well each predicts the doses it has not seen."""

from collections.abc import Sequence

import numpy as np

from prolepsis.statistics import FloatArray

KNOT_STEP = 0.05
"""Distance of candidate knots, as a share of the range of doses."""
FLOOR = 1e-3
"""Errors below this share of a curve's range count as none: two models that both fit exactly are equals."""

NOISE = 1e-5
"""A curve whose range is below this share of its size is flat: float32 does no better."""


def kink_gain(doses: Sequence[float], responses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """How much better than a straight line a kinked one predicts left-out doses, and how much better a parabola does.

    ``responses`` [n, D] holds one curve over the D ``doses`` per row. Each dose is left out in turn and predicted from
    the others (leave-one-out cross-validation); the kinked line has two pieces that meet at a knot, which is fitted
    too. Both gains [n] are ln(error of the straight line / error of the other); 0 where a curve is flat.
    """
    x = np.asarray(doses, dtype=np.float64)
    size = np.abs(responses).max(axis=1, keepdims=True)  # [n, 1]
    curves = responses / np.where(size > 0, size, 1.0)
    errors = [_error(curves, designs) for designs in (_straight(x), _kinked(x), _parabola(x))]  # 3 × [n]
    spread = np.ptp(curves, axis=1)
    straight, kinked, bent = (np.where(spread <= NOISE, 1.0, error + FLOOR * spread) for error in errors)
    return np.log(straight / kinked), np.log(straight / bent)


def _straight(x: FloatArray) -> FloatArray:
    """Design matrix [1, D, 2]."""
    return np.stack([np.ones_like(x), x], axis=1)[None]


def _parabola(x: FloatArray) -> FloatArray:
    """Design matrix [1, D, 3]."""
    return np.stack([np.ones_like(x), x, x**2], axis=1)[None]


def _kinked(x: FloatArray) -> FloatArray:
    """One design matrix per candidate knot [knots, D, 3]; two doses at least lie on either side."""
    low, high = np.sort(x)[[1, -2]]
    knots = np.arange(low, high, KNOT_STEP * float(np.ptp(x)))[1:]
    return np.stack([np.stack([np.ones_like(x), x, np.maximum(x - knot, 0)], axis=1) for knot in knots])


def _error(curves: FloatArray, designs: FloatArray) -> FloatArray:
    """Root mean squared error [n] at left-out doses of that of ``designs`` [K, D, p] that fits the others best."""
    n, n_doses = curves.shape
    squared = np.zeros((n_doses, n))
    for left_out in range(n_doses):
        seen = np.arange(n_doses) != left_out
        coefficients = np.linalg.pinv(designs[:, seen]) @ curves[:, seen].T  # [K, p, n]
        misfit = ((designs[:, seen] @ coefficients - curves[:, seen].T) ** 2).sum(axis=1)  # [K, n]
        predicted = (designs[:, left_out, None] @ coefficients)[:, 0]  # [K, n]
        squared[left_out] = (predicted[misfit.argmin(axis=0), np.arange(n)] - curves[:, left_out]) ** 2
    error: FloatArray = np.sqrt(squared.mean(axis=0))
    return error
