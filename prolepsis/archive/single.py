"""A single recorded value as a measurement."""

from collections.abc import Mapping
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.measurement import Measurement


def single(
    recording: Recording,
    experiment: str,
    unit: str,
    value: float,
    *,
    tolerance: float = 0.0,
    arms: Mapping[str, float] | None = None,
    reach: Mapping[str, Any] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Measurement:
    """One number that was recorded, known to within ``tolerance``; ``arms`` has what it can be held against."""
    return Measurement(
        experiment=experiment,
        subject=recording.digest,
        unit=unit,
        design="single",
        parameters={"transcoder": recording.transcoder, "numerical_tolerance": tolerance},
        values={recording.id: value},
        clusters={},
        arms={name: {recording.id: other} for name, other in (arms or {}).items()},
        reach=reach,
        detail=detail or {},
    )
