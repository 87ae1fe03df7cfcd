"""Numbers as they are read from a recorded file; each raises ValueError for one that cannot be."""

import math
from typing import Any


def finite(value: Any) -> float:
    """A number; booleans, texts, NaN and infinities are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def probability(value: Any) -> float:
    """A number above 0 and below 1, so that it has log-odds."""
    if not 0 < finite(value) < 1:
        raise ValueError(f"{value!r} is no probability between 0 and 1")
    return float(value)


def whole(value: Any) -> int:
    """A whole number ≥ 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is no whole number")
    return value
