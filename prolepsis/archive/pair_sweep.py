"""The recorded sweeps of every pair of prompt and injected word (section 5, appendix D).

Appendix D's ratios divide by a probability without an edit that was recorded without Gemma's softcap, and is too small
by that; they are held against the same quotient. How far a redirect rises is told by the floor within the sweep: the
same forward pass with the edit at another position.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prolepsis.archive.files import Recording
from prolepsis.archive.numbers import finite, probability, whole
from prolepsis.archive.single import single
from prolepsis.errors import Untested
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.subjects.swept_pairs import (
    FIGURES,
    NOISE,
    STRONG,
    SweptPair,
    log_odds,
    strong_groups,
    strongest,
    weakest,
    words_astray,
)

KIND = "pair sweep"
DETECTABLE = 1.0
"""A pair is detectable when some position lifts the word's log-odds this far, in nats, above the in-sweep floor."""
NAMED = "around"
"""The word of the redirect that section 5 calls the best."""
PRINTED_RATIOS = {"best": (2.1e9, 5e7), "named": (1e7, 5e6), "weakest": (86.0, 0.5)}
"""The ratios that one line of appendix D.1 prints of three redirects, and half of the last printed digit of each."""


@dataclass(frozen=True)
class Pair(SweptPair):
    """One recorded pair: the natural rhyme of its prompt, and P(inject word) without an edit where it was recorded."""

    natural: str
    baseline: float | None

    @property
    def floor_log_odds(self) -> float:
        """Median log-odds over positions."""
        return statistics.median(self.log_odds)

    @property
    def over_floor(self) -> float:
        """The best probability over the in-sweep floor."""
        return self.best / self.floor

    @property
    def over_baseline(self) -> float:
        """The best probability over the one recorded without an edit; raises Untested where that was not recorded."""
        if self.baseline is None:
            raise Untested(f"pair {self.id} lacks baseline_p_inject, the probability without an edit")
        return self.best / self.baseline


@dataclass(frozen=True)
class Sweeps:
    """All pairs, and the strength their words are injected with."""

    strength: float
    pairs: tuple[Pair, ...]


def parse(contents: Any) -> Sweeps:
    """The pairs a file holds, which are as many as it says."""
    pairs = tuple(_pair(number, entry) for number, entry in enumerate(contents["results"], 1))
    if len(pairs) != whole(contents["n_pairs"]) or not pairs:
        raise ValueError(f"{contents['n_pairs']} pairs are announced, {len(pairs)} are there")
    return Sweeps(finite(contents["inject_strength"]), pairs)


def _pair(number: int, entry: Any) -> Pair:
    positions = sorted(entry["positions"], key=lambda position: whole(position["position"]))
    if len(positions) < 2:
        raise ValueError(f"pair {number} has {len(positions)} positions")
    feature, baseline = entry["inject_feature"], entry.get("baseline_p_inject")
    return Pair(
        id=f"{number}: {entry['natural_group']} -> {entry['inject_word']}",
        prompt=str(entry["prompt_text"]),
        natural=str(entry["natural_group"]),
        word=str(entry["inject_word"]),
        group=str(entry["alt_group"]),
        feature=str(Feature(whole(feature["layer"]), whole(feature["index"]))),
        probabilities=tuple(probability(position["p_inject"]) for position in positions),
        baseline=None if baseline is None else probability(baseline),
    )


def localisation_rate(recording: Recording) -> Measurement:
    """Share of detectable pairs that localise; pairs without any peak above the floor are left aside."""
    return _of_pairs(
        recording, "localisation_rate", "proportion", lambda pair: float(pair.localises),
        lambda pair: max(pair.log_odds) - pair.floor_log_odds > DETECTABLE,
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
        recording, "redirect_gain", "nats", lambda pair: pair.log_odds[-1] - pair.floor_log_odds, lambda _: True
    )


def floor_over_baseline(recording: Recording) -> Measurement:
    """How far the in-sweep floor lies above the probability recorded without an edit, in nats of log-odds."""
    baselines = {pair.id: pair.baseline for pair in _pairs(recording)}
    known = {name: log_odds(p) for name, p in baselines.items() if p is not None}
    if len(known) < len(baselines):
        raise Untested(f"the pair sweep of {recording.id} lacks baseline_p_inject, the probability without an edit")
    return _of_pairs(
        recording, "floor_over_baseline", "nats", lambda pair: pair.floor_log_odds - known[pair.id], lambda _: True
    )


def pairs_twice(recording: Recording) -> Measurement:
    """Number of pairs whose prompt and word, or whose whole sweep, another pair has had before."""
    pairs = _pairs(recording)
    asked, sweeps = {(pair.prompt, pair.word) for pair in pairs}, {pair.probabilities for pair in pairs}
    return single(recording, "pairs_twice", "count", 2 * len(pairs) - len(asked) - len(sweeps))


def recorded_pairs(recording: Recording) -> Measurement:
    """Number of pairs."""
    return _count(recording, "recorded_pairs", lambda _: True)


def published_localisation(recording: Recording) -> Measurement:
    """Share of all pairs that localise, those without any peak counted as the paper counts them."""
    return _figure(recording, "published_localisation")


def recorded_pairs_astray(recording: Recording) -> Measurement:
    """Number of pairs that do not localise."""
    return _count(recording, "recorded_pairs_astray", lambda pair: not pair.localises)


def recorded_largest_group(recording: Recording) -> Measurement:
    """Number of pairs whose prompts have the commonest natural rhyme."""
    groups = Counter(pair.natural for pair in _pairs(recording))
    return single(recording, "recorded_largest_group", "count", max(groups.values()), detail={"pairs": dict(groups)})


def published_strong_pairs(recording: Recording) -> Measurement:
    """Number of pairs redirected to one in ten or more."""
    return _figure(recording, "published_strong_pairs")


def recorded_pairs_from_hundredth(recording: Recording) -> Measurement:
    """Number of pairs redirected to one in a hundred or more, but less than one in ten."""
    return _count(recording, "recorded_pairs_from_hundredth", lambda pair: 1e-2 <= pair.best < STRONG)


def recorded_pairs_from_thousandth(recording: Recording) -> Measurement:
    """Number of pairs redirected to one in a thousand or more, but less than one in a hundred."""
    return _count(recording, "recorded_pairs_from_thousandth", lambda pair: 1e-3 <= pair.best < 1e-2)


def recorded_pairs_from_millionth(recording: Recording) -> Measurement:
    """Number of pairs redirected to one in a million or more, but less than one in a thousand."""
    return _count(recording, "recorded_pairs_from_millionth", lambda pair: NOISE <= pair.best < 1e-3)


def recorded_pairs_in_noise(recording: Recording) -> Measurement:
    """Number of pairs redirected to less than one in a million."""
    return _count(recording, "recorded_pairs_in_noise", lambda pair: pair.best < NOISE)


def published_best_redirect(recording: Recording) -> Measurement:
    """Largest P(inject word) of all pairs."""
    return _figure(recording, "published_best_redirect")


def published_weakest_redirect(recording: Recording) -> Measurement:
    """P(inject word) of the pair in which it is least, at its best position."""
    return _figure(recording, "published_weakest_redirect")


def published_median_redirect(recording: Recording) -> Measurement:
    """Median over pairs of P(inject word) at its best position, and how far it is open."""
    return _figure(recording, "published_median_redirect")


def published_weakest_peak(recording: Recording) -> Measurement:
    """1 where the pair of the weakest redirect localises, else 0."""
    return _figure(recording, "published_weakest_peak", detail={"pair": weakest(_pairs(recording)).id})


def published_best_rise(recording: Recording) -> Measurement:
    """How far the best redirect rises above its in-sweep floor, in nats."""
    return _figure(recording, "published_best_rise")


def published_weakest_rise(recording: Recording) -> Measurement:
    """The same of the weakest redirect."""
    return _figure(recording, "published_weakest_rise")


def published_largest_rise(recording: Recording) -> Measurement:
    """How far any redirect rises above its in-sweep floor at most, in nats."""
    return _figure(recording, "published_largest_rise")


def ratio_of_best_redirect(recording: Recording) -> Measurement:
    """The best redirect over the probability recorded without an edit."""
    return _ratio(recording, "ratio_of_best_redirect", strongest(_pairs(recording)))


def ratio_of_weakest_redirect(recording: Recording) -> Measurement:
    """The weakest redirect over the probability recorded without an edit."""
    return _ratio(recording, "ratio_of_weakest_redirect", weakest(_pairs(recording)))


def largest_ratio(recording: Recording) -> Measurement:
    """The largest ratio of a best redirect to the probability recorded without an edit."""
    return _ratio(recording, "largest_ratio", max(_pairs(recording), key=lambda pair: pair.over_baseline))


def ratios_over_one_denominator(recording: Recording) -> Measurement:
    """How many of the three ratios that one line of appendix D.1 prints are found over one denominator, at most.

    ``detail`` has the ratios over both.
    """
    pairs = _pairs(recording)
    redirects = {"best": strongest(pairs), "named": _named(recording), "weakest": weakest(pairs)}
    over = {
        "the probability recorded without an edit": {name: pair.over_baseline for name, pair in redirects.items()},
        "the in-sweep floor": {name: pair.over_floor for name, pair in redirects.items()},
    }
    found = [
        sum(abs(ratios[name] - printed) <= off for name, (printed, off) in PRINTED_RATIOS.items())
        for ratios in over.values()
    ]
    return single(recording, "ratios_over_one_denominator", "count", max(found), detail={"ratios over": over})


def named_redirect(recording: Recording) -> Measurement:
    """The best redirect to the word section 5 names."""
    return single(recording, "named_redirect", "probability", _named(recording).best)


def ratio_of_named_redirect(recording: Recording) -> Measurement:
    """The same over its in-sweep floor, which is near the probability section 5 divides by."""
    named = _named(recording)
    return single(recording, "ratio_of_named_redirect", "fold", named.over_floor, detail={"pair": named.id})


def published_layer_gradient(recording: Recording) -> Measurement:
    """Rank correlation of how early a feature is injected from and the ratio at the last position."""
    return _figure(recording, "published_layer_gradient")


def recorded_strength(recording: Recording) -> Measurement:
    """The strength of the injected feature."""
    return single(recording, "recorded_strength", "strength", recording.read(KIND, parse).strength)


def published_group_list(recording: Recording) -> Measurement:
    """By how many rhyme groups those of the strong redirects and the printed ones differ."""
    detail = {"strong groups": sorted(strong_groups(_pairs(recording)))}
    return _figure(recording, "published_group_list", detail=detail)


def published_noise_pairs(recording: Recording) -> Measurement:
    """Share of the pairs that do not localise whose best redirect lies where noise dominates."""
    return _figure(recording, "published_noise_pairs")


def recorded_word_list(recording: Recording) -> Measurement:
    """By how many words those of the pairs that do not localise and the printed ones differ."""
    detail = {"words astray": sorted(words_astray(_pairs(recording)))}
    return _figure(recording, "recorded_word_list", detail=detail)


def published_floor(recording: Recording) -> Measurement:
    """The lowest in-sweep floor of any pair, in decades."""
    return _figure(recording, "published_floor")


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


def _figure(recording: Recording, experiment: str, detail: dict[str, Any] | None = None) -> Measurement:
    figure, pairs = FIGURES[experiment], _pairs(recording)
    value, spread = figure.value(pairs), figure.spread(pairs, 0.0)
    return single(recording, experiment, figure.unit, value, tolerance=spread, detail=detail)


def _count(recording: Recording, experiment: str, counted: Callable[[Pair], bool]) -> Measurement:
    return single(recording, experiment, "count", sum(map(counted, _pairs(recording))))


def _ratio(recording: Recording, experiment: str, pair: Pair) -> Measurement:
    detail = {"pair": pair.id, "over the in-sweep floor": pair.over_floor}
    return single(recording, experiment, "fold", pair.over_baseline, detail=detail)


def _pairs(recording: Recording) -> tuple[Pair, ...]:
    return recording.read(KIND, parse).pairs


def _named(recording: Recording) -> Pair:
    named = [pair for pair in _pairs(recording) if pair.word == NAMED]
    if not named:
        raise Untested(f"the pair sweep of {recording.id} injects no {NAMED!r}")
    return strongest(named)
