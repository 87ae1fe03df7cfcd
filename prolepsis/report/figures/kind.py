"""What a kind of figure is: the fields of a measurement's ``detail`` it shows, and how it is drawn."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Measurement = Mapping[str, Any]
"""A stored measurement, as plain JSON."""
Draw = Callable[[str, Measurement], str]
"""Given the subject's id and the measurement: the figure, as SVG."""


@dataclass(frozen=True)
class Kind:
    """A kind of figure, drawn of each measurement whose ``detail`` has all of ``fields``."""

    name: str
    fields: tuple[str, ...]
    draw: Draw

    def shows(self, measurement: Measurement) -> bool:
        """Whether there is something of this kind to draw, not merely an empty field."""
        return all(measurement["detail"].get(field) for field in self.fields)
