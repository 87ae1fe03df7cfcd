"""The recorded position sweep of one prompt (section 5, Figure 1)."""

import statistics
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.single import single
from prolepsis.measurement import Measurement


def published_spike(recording: Recording) -> Measurement:
    """P(inject word) with the edit at the last position."""
    return single(recording, "published_spike", "probability", _probabilities(recording)[-1])


def published_baseline(recording: Recording) -> Measurement:
    """Median P(inject word) with the edit at any other position."""
    value = statistics.median(_probabilities(recording)[:-1])
    return single(recording, "published_baseline", "probability", value)


def _probabilities(recording: Recording) -> list[float]:
    def take(contents: Any) -> list[float]:
        entries = sorted(contents["sweep"], key=lambda entry: int(entry["position"]))
        return [float(entry["prob"]) for entry in entries]

    return recording.read("position sweep", take)
