"""The recorded sweeps of every pair of prompt and injected word (section 5, appendix D)."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.single import single
from prolepsis.measurement import Measurement

STRONG = 0.1
"""The paper's bin of strong redirects: P(inject word) at least this somewhere."""
DETECTABLE = 1.0
"""A pair is detectable when some position lifts the word's log-odds this far, in nats, above the in-sweep floor."""
NOISE = 1e-6
"""Below this P(inject word) noise dominates, as the paper has it (appendix D.1)."""


@dataclass(frozen=True)
class Pair:
    """One recorded pair: P(inject word) by position of the edit."""

    id: str
    prompt: str
    word: str
    group: str
    feature: str
    probabilities: tuple[float, ...]

    @property
    def best(self) -> float:
        return max(self.probabilities)

    @property
    def localises(self) -> bool:
        """Whether the last position is the only maximum."""
        return self.probabilities[-1] > max(self.probabilities[:-1])

    @property
    def log_odds(self) -> list[float]:
        return [math.log(p) - math.log1p(-p) for p in self.probabilities]

    @property
    def floor(self) -> float:
        """Median log-odds over positions."""
        return statistics.median(self.log_odds)


def localisation_rate(recording: Recording) -> Measurement:
    """Share of detectable pairs that localise; pairs without any peak above the floor are left aside."""
    return _of_pairs(
        recording, "localisation_rate", "proportion", lambda pair: float(pair.localises),
        lambda pair: max(pair.log_odds) - pair.floor > DETECTABLE,
    )  # fmt: skip


def strong_localisation(recording: Recording) -> Measurement:
    """The same for strong redirects only."""
    return _of_pairs(
        recording, "strong_localisation", "proportion", lambda pair: float(pair.localises),
        lambda pair: pair.best >= STRONG,
    )  # fmt: skip


def redirect_gain(recording: Recording) -> Measurement:
    """How far the edit at the last position lifts the word above the in-sweep floor, in nats of log-odds."""
    return _of_pairs(recording, "redirect_gain", "nats", lambda pair: pair.log_odds[-1] - pair.floor, lambda _: True)


def recorded_best_redirect(recording: Recording) -> Measurement:
    """Largest P(inject word) of all pairs."""
    return single(recording, "recorded_best_redirect", "probability", max(pair.best for pair in _pairs(recording)))


def recorded_weakest_redirect(recording: Recording) -> Measurement:
    """P(inject word) of the pair in which it is least, at its best position."""
    return single(recording, "recorded_weakest_redirect", "probability", min(pair.best for pair in _pairs(recording)))


def recorded_median_redirect(recording: Recording) -> Measurement:
    """Median over pairs of P(inject word) at its best position."""
    value = statistics.median(pair.best for pair in _pairs(recording))
    return single(recording, "recorded_median_redirect", "probability", value)


def recorded_strength(recording: Recording) -> Measurement:
    """The strength of the injected feature."""
    value = recording.read("pair sweep", lambda contents: float(contents["inject_strength"]))
    return single(recording, "recorded_strength", "strength", value)


def recorded_strong_groups(recording: Recording) -> Measurement:
    """How many rhyme groups the strong redirects inject words of."""
    groups = {pair.group for pair in _pairs(recording) if pair.best >= STRONG}
    return single(recording, "recorded_strong_groups", "count", float(len(groups)))


def recorded_noise_pairs(recording: Recording) -> Measurement:
    """Share of the pairs that do not localise whose best redirect lies where noise dominates."""
    astray = [pair.best < NOISE for pair in _pairs(recording) if not pair.localises]
    return single(recording, "recorded_noise_pairs", "proportion", statistics.fmean(astray))


def _of_pairs(
    recording: Recording,
    experiment: str,
    unit: str,
    value: Callable[[Pair], float],
    detectable: Callable[[Pair], bool],
) -> Measurement:
    pairs = _pairs(recording)
    return Measurement(
        experiment=experiment,
        subject=recording.digest,
        unit=unit,
        design="two-way",
        parameters={"transcoder": recording.transcoder, "pairs": [pair.id for pair in pairs]},
        values={pair.id: value(pair) for pair in pairs},
        clusters={pair.id: (pair.prompt, pair.feature) for pair in pairs},
        detectable=tuple(pair.id for pair in pairs if detectable(pair)),
        detail={
            "all pairs": {"localise": sum(pair.localises for pair in pairs), "of": len(pairs)},
            "best redirect": max(pair.best for pair in pairs),
        },
    )


def _pairs(recording: Recording) -> list[Pair]:
    def take(contents: Any) -> list[Pair]:
        return [_pair(number, entry) for number, entry in enumerate(contents["results"], 1)]

    return recording.read("pair sweep", take)


def _pair(number: int, entry: Any) -> Pair:
    positions = sorted(entry["positions"], key=lambda position: int(position["position"]))
    feature = entry["inject_feature"]
    return Pair(
        id=f"{number}: {entry['natural_group']} -> {entry['inject_word']}",
        prompt=str(entry["prompt_text"]),
        word=str(entry["inject_word"]),
        group=str(entry["alt_group"]),
        feature=f"L{feature['layer']}:{feature['index']}",
        probabilities=tuple(float(position["p_inject"]) for position in positions),
    )
