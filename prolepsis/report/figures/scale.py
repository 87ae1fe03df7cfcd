"""Axes in proportion, shared by figures and by the strips of a page: where a value stands, and round numbers on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high``, in proportion."""

    low: float
    high: float

    @classmethod
    def linear(cls, values: Sequence[float]) -> "Scale":
        """The axis over ``values`` and zero, which is what effects are held against."""
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        return cls(low, high if high > low else low + 1.0)

    def place(self, value: float) -> float:
        """Where on the axis, from 0 to 1; what lies beyond an end is put there."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    def ticks(self) -> list[float]:
        """Round numbers inside the axis, five at most."""
        rough = (self.high - self.low) / 4
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * (1 - 1e-9))
        # Adding 0 makes a -0 a 0.
        return [
            n * step + 0.0 for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        ]


def label(value: float) -> str:
    """A number as short as it can stand on an axis."""
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        mantissa, power = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
