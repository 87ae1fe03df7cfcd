"""A measurement: what an experiment found, per item and arm, in plain types that can be stored and judged again."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from prolepsis.errors import HarnessFault

Design = Literal["single", "one-way", "by-item", "two-way", "pairs-of-groups"]


@dataclass(frozen=True)
class Measurement:
    """What one experiment measured on one subject.

    ``values`` maps item id → value in ``unit`` ("nats", "proportion", "probability", …). ``arms`` maps the name of a
    control arm → item id → value in the same unit; a sham arm holds deviations from the clean run. ``clusters`` maps
    item id → labels: one label for designs "one-way" and "by-item"; two factors for "two-way"; the source and target
    group, drawn from one set of labels, for "pairs-of-groups"; none for "single", a deterministic value about one
    prompt.
    ``detectable`` are the items in which an effect could have been seen at all; ``excluded`` maps an item that was
    dropped → why. ``reach`` says per row whether the outcome was forced (see ``prolepsis.reach``). ``parameters`` fix
    the protocol; ``detail`` is what a reader wants to see besides (sweeps, chosen sites).
    """

    experiment: str
    subject: str
    unit: str
    design: Design
    parameters: Mapping[str, Any]
    values: Mapping[str, float]
    clusters: Mapping[str, tuple[str, ...]]
    arms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    detectable: tuple[str, ...] | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    reach: Mapping[str, Any] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raises HarnessFault when a value is not finite, or no proportion: it must never reach a verdict."""
        for name, values in {"measured": self.values, **self.arms}.items():
            for item, value in values.items():
                if not math.isfinite(value):
                    raise HarnessFault(f"{self.experiment}: arm {name!r} of item {item!r} is {value}")
        for item, value in self.values.items():
            if self.unit == "proportion" and not 0 <= value <= 1:
                raise HarnessFault(f"{self.experiment}: item {item!r} is {value:g}, which is no proportion")

    @property
    def protocol(self) -> str:
        """Digest of experiment and parameters: measurements compare only where it is equal."""
        plain = json.dumps([self.experiment, self.parameters], sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The measurement as one line of strict JSON."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Measurement":
        """Inverse of :meth:`to_json`."""
        plain = json.loads(text)
        plain["clusters"] = {item: tuple(labels) for item, labels in plain["clusters"].items()}
        plain["detectable"] = None if plain["detectable"] is None else tuple(plain["detectable"])
        return cls(**plain)
