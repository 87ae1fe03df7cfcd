"""The recorded position sweep of one prompt (section 5, Figure 1)."""

import statistics
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.numbers import probability, whole
from prolepsis.archive.printed import check_injected
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.subjects.swept_pairs import farthest_elsewhere, log_odds

KIND = "position sweep"


@dataclass(frozen=True)
class Sweep:
    """P(inject word) by position of the edit, and without one where that was recorded."""

    feature: Feature
    probabilities: tuple[float, ...]
    baseline: float | None

    @property
    def floor(self) -> float:
        """Median over all positions but the last."""
        return statistics.median(self.probabilities[:-1])


def parse(contents: Any) -> Sweep:
    """A sweep of two or more positions, whatever their order in the file."""
    entries = sorted(contents["sweep"], key=lambda entry: whole(entry["position"]))
    if len(entries) < 2:
        raise ValueError(f"{len(entries)} positions")
    feature, baseline = contents["inject_feature"], contents.get("baseline_prob")
    return Sweep(
        Feature(whole(feature["layer"]), whole(feature["index"])),
        tuple(probability(entry["prob"]) for entry in entries),
        None if baseline is None else probability(baseline),
    )


def published_spike(recording: Recording) -> Measurement:
    """P(inject word) with the edit at the last position."""
    return single(recording, "published_spike", "probability", _printed(recording).probabilities[-1])


def published_baseline(recording: Recording) -> Measurement:
    """P(inject word) with the edit at that other position where it is farthest from what is printed of all."""
    sweep = _printed(recording)
    value, detail = farthest_elsewhere(sweep.probabilities), {"median": sweep.floor}
    return single(recording, "published_baseline", "probability", value, detail=detail)


def sweep_floor_over_baseline(recording: Recording) -> Measurement:
    """Log-odds of the inject word at the sweep's other positions, minus those it has without an edit."""
    sweep = recording.read(KIND, parse)
    if sweep.baseline is None:
        raise Untested(f"the position sweep of {recording.id} lacks baseline_prob, the probability without an edit")
    value = log_odds(sweep.floor) - log_odds(sweep.baseline)
    return single(recording, "sweep_floor_over_baseline", "nats", value)


def _printed(recording: Recording) -> Sweep:
    sweep = recording.read(KIND, parse)
    check_injected(recording, sweep.feature)
    return sweep
