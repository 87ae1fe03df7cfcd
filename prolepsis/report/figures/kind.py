"""What a kind of figure is: the fields of a measurement's ``detail`` it shows, and how it is drawn."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

Measurement = Mapping[str, Any]
"""A stored measurement, as plain JSON."""
Draw = Callable[[str, Measurement], str]
"""Given the subject's id and the measurement: the figure, as SVG."""


@dataclass(frozen=True)
class Kind:
    """A kind of figure, drawn of each measurement whose ``detail`` has all of ``fields``.

    It shows these, fields of the ``detail`` ``beside`` them, and ``parameters``; ``draw`` is given no others.
    """

    name: str
    fields: tuple[str, ...]
    draw: Draw
    beside: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def shows(self, measurement: Measurement) -> bool:
        """Whether there is something of this kind to draw, not merely an empty field."""
        return all(measurement["detail"].get(field) for field in self.fields)

    def svg(self, subject: str, measurement: Measurement) -> str:
        """The figure; what shows the same is drawn once."""
        detail, parameters = measurement["detail"], measurement.get("parameters", {})
        shown = {
            "detail": {field: detail[field] for field in (*self.fields, *self.beside)},
            "parameters": {name: parameters[name] for name in self.parameters},
        }
        return _drawn(self, subject, json.dumps(shown))


@cache
def _drawn(kind: Kind, subject: str, shown: str) -> str:
    return kind.draw(subject, json.loads(shown))
