"""What a measurement refuses to hold, and that it survives storage."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import HarnessFault
from prolepsis.measurement import Measurement


def measurement(unit: str, value: float, arm: float = 0.0) -> Measurement:
    """One item with one value, and one control arm."""
    return Measurement("toy", "subject", unit, "one-way", {"dose": 1}, {"a": value}, {"a": ("g",)}, {"arm": {"a": arm}})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_a_fault(value: float) -> None:
    """Neither a value nor an arm's value may be NaN or infinite."""
    with pytest.raises(HarnessFault, match="arm 'measured' of item 'a'"):
        measurement("nats", value)
    with pytest.raises(HarnessFault, match="arm 'arm' of item 'a'"):
        measurement("nats", 0.0, value)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_a_proportion_lies_between_0_and_1(value: float) -> None:
    """A value outside 0 to 1 is no proportion, and is named; in nats it is an ordinary value."""
    with pytest.raises(HarnessFault, match="which is no proportion"):
        measurement("proportion", value)
    assert measurement("nats", value).values["a"] == value


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300))
def test_storing_changes_no_bit(value: float, arm: float) -> None:
    """A measurement read back from its JSON is equal to the one that was written."""
    made = measurement("nats", value, arm)
    assert Measurement.from_json(made.to_json()) == made
