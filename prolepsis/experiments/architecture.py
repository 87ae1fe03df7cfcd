"""What the set-up says of a model's size, read off the model that is loaded (section 3)."""

from prolepsis.measurement import Measurement
from prolepsis.subject import Subject


def layer_count(subject: Subject) -> Measurement:
    """How many layers the model has."""
    return _read_off(subject, "layer_count", subject.n_layers)


def stream_width(subject: Subject) -> Measurement:
    """How many dimensions its residual stream has."""
    return _read_off(subject, "stream_width", subject.d_model)


def _read_off(subject: Subject, experiment: str, value: int) -> Measurement:
    return Measurement(
        experiment=experiment,
        subject=subject.digest,
        unit="count",
        design="single",
        parameters={"numerical_tolerance": 0.0},
        values={subject.id: float(value)},
        clusters={},
    )
