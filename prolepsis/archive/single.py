"""A single recorded value as a measurement."""

from prolepsis.archive.files import Recording
from prolepsis.measurement import Measurement


def single(recording: Recording, experiment: str, unit: str, value: float) -> Measurement:
    """One number that was recorded, with nothing it could be held against."""
    return Measurement(
        experiment=experiment,
        subject=recording.digest,
        unit=unit,
        design="single",
        parameters={"transcoder": recording.transcoder, "numerical_tolerance": 0.0},
        values={recording.id: value},
        clusters={},
    )
