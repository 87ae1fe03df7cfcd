"""The recorded sweeps of every pair of prompt and injected word (section 5, appendix D)."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from prolepsis import swept_pairs
from prolepsis.archive.files import Recording
from prolepsis.archive.single import single
from prolepsis.measurement import Measurement
from prolepsis.swept_pairs import STRONG, SweptPair

DETECTABLE = 1.0
"""A pair is detectable when some position lifts the word's log-odds this far, in nats, above the in-sweep floor."""


def localisation_rate(recording: Recording) -> Measurement:
    """Share of detectable pairs that localise; pairs without any peak above the floor are left aside."""
    return _of_pairs(
        recording, "localisation_rate", "proportion", lambda pair: float(pair.localises),
        lambda pair: max(pair.log_odds) - statistics.median(pair.log_odds) > DETECTABLE,
    )  # fmt: skip


def strong_localisation(recording: Recording) -> Measurement:
    """The same for strong redirects only."""
    return _of_pairs(
        recording, "strong_localisation", "proportion", lambda pair: float(pair.localises),
        lambda pair: pair.best >= STRONG,
    )  # fmt: skip


def redirect_gain(recording: Recording) -> Measurement:
    """How far the edit at the last position lifts the word above the in-sweep floor, in nats of log-odds."""
    return _of_pairs(
        recording, "redirect_gain", "nats", lambda pair: pair.log_odds[-1] - statistics.median(pair.log_odds),
        lambda _: True,
    )  # fmt: skip


def published_best_redirect(recording: Recording) -> Measurement:
    """Largest P(inject word) of all pairs."""
    return _figure(recording, "published_best_redirect", "probability", swept_pairs.best_redirect)


def published_weakest_redirect(recording: Recording) -> Measurement:
    """P(inject word) of the pair in which it is least, at its best position."""
    return _figure(recording, "published_weakest_redirect", "probability", swept_pairs.weakest_redirect)


def published_median_redirect(recording: Recording) -> Measurement:
    """Median over pairs of P(inject word) at its best position."""
    return _figure(recording, "published_median_redirect", "probability", swept_pairs.median_redirect)


def published_strong_pairs(recording: Recording) -> Measurement:
    """How many pairs are strong redirects."""
    return _figure(recording, "published_strong_pairs", "count", swept_pairs.strong_pairs)


def published_strong_groups(recording: Recording) -> Measurement:
    """How many rhyme groups the strong redirects inject words of."""
    return _figure(recording, "published_strong_groups", "count", swept_pairs.strong_groups)


def published_noise_pairs(recording: Recording) -> Measurement:
    """Share of the pairs that do not localise whose best redirect lies where noise dominates."""
    return _figure(recording, "published_noise_pairs", "proportion", swept_pairs.noise_pairs)


def published_words_astray(recording: Recording) -> Measurement:
    """How many words the pairs that do not localise inject."""
    return _figure(recording, "published_words_astray", "count", swept_pairs.words_astray)


def published_floor(recording: Recording) -> Measurement:
    """The lowest in-sweep floor of any pair."""
    return _figure(recording, "published_floor", "probability", swept_pairs.lowest_floor)


def published_best_ratio(recording: Recording) -> Measurement:
    """The largest ratio of a best redirect to its in-sweep floor."""
    return _figure(recording, "published_best_ratio", "fold", swept_pairs.best_ratio)


def published_layer_gradient(recording: Recording) -> Measurement:
    """Rank correlation of how early a feature is injected from and the ratio at the last position."""
    return _figure(recording, "published_layer_gradient", "rank correlation", swept_pairs.layer_gradient)


def recorded_strength(recording: Recording) -> Measurement:
    """The strength of the injected feature."""
    value = recording.read("pair sweep", lambda contents: float(contents["inject_strength"]))
    return single(recording, "recorded_strength", "strength", value)


def _figure(
    recording: Recording, experiment: str, unit: str, figure: Callable[[Sequence[SweptPair]], float]
) -> Measurement:
    return single(recording, experiment, unit, figure(_pairs(recording)))


def _of_pairs(
    recording: Recording,
    experiment: str,
    unit: str,
    value: Callable[[SweptPair], float],
    detectable: Callable[[SweptPair], bool],
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


def _pairs(recording: Recording) -> list[SweptPair]:
    def take(contents: Any) -> list[SweptPair]:
        return [_pair(number, entry) for number, entry in enumerate(contents["results"], 1)]

    return recording.read("pair sweep", take)


def _pair(number: int, entry: Any) -> SweptPair:
    positions = sorted(entry["positions"], key=lambda position: int(position["position"]))
    feature = entry["inject_feature"]
    return SweptPair(
        id=f"{number}: {entry['natural_group']} -> {entry['inject_word']}",
        prompt=str(entry["prompt_text"]),
        word=str(entry["inject_word"]),
        group=str(entry["alt_group"]),
        feature=f"L{feature['layer']}:{feature['index']}",
        probabilities=tuple(float(position["p_inject"]) for position in positions),
    )
