"""What the paper prints of a pair sweep, from any such sweep, recorded or run (section 5, appendix D; no torch).

Every pair of prompt and injected word is one sweep: P(inject word) by position of the edit. The in-sweep floor is the
median over positions. How far a redirect rises is over that floor: the recorded baselines lack the softcap and are too
small, so that the ratios printed over them have their like in recordings alone.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prolepsis.errors import Untested

STRONG = 0.1
"""The paper's bin of strong redirects: P(inject word) at least this somewhere."""
NOISE = 1e-6
"""Below this P(inject word) noise dominates, as the paper has it (appendix D.1)."""
PRINTED_GROUPS = frozenset({"AE1 T", "AW1 N D", "AE1 K"})
"""The groups the strong redirects of the 426K sweep are said to inject words of: -at, -ound, -ack (appendix D.1)."""
PRINTED_ASTRAY = frozenset({"new", "the"})
"""The words that are said to be injected where a pair of the Llama sweep does not localise (appendix D.3)."""
PRINTED_ELSEWHERE = 5e-8
"""P(inject word) at every position but the last, as printed of one prompt (section 5)."""


@dataclass(frozen=True)
class SweptPair:
    """One pair: the word injected, its rhyme group, the feature as ``L22:10243``, and P(inject word) by position."""

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
        return [log_odds(p) for p in self.probabilities]

    @property
    def floor(self) -> float:
        """Median P(inject word) over positions."""
        return statistics.median(self.probabilities)

    @property
    def rise(self) -> float:
        """How far the best probability lies above the floor, in nats: the logarithm of their ratio."""
        return math.log(self.best / self.floor)

    @property
    def layer(self) -> int:
        """The layer the feature is injected from."""
        return int(self.feature[1:].partition(":")[0])


Swept = TypeVar("Swept", bound=SweptPair)


def farthest_elsewhere(probabilities: Sequence[float]) -> float:
    """Of P(inject word) by position, the last left out, the one farthest from what is printed of all of them."""
    return max(probabilities[:-1], key=lambda p: abs(p - PRINTED_ELSEWHERE))


def log_odds(p: float) -> float:
    """Log-odds of a probability, ln p/(1 − p)."""
    return math.log(p) - math.log1p(-p)


def moved_by(p: float, nats: float) -> float:
    """How far ``nats`` of log-odds move a probability, to first order; less than 1 nat leaves it within 0 and 1."""
    return p * (1 - p) * nats


def alike(p: float, q: float, nats: float) -> bool:
    """Whether the log-odds of two probabilities lie less than ``nats`` apart."""
    further = math.exp(nats)
    return p * (1 - q) < further * q * (1 - p) and q * (1 - p) < further * p * (1 - q)


def mean_by_position(pairs: int, sweeps: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, object]:
    """Arm → mean P(inject word) of its ``pairs`` sweeps, over the positions that all of them have.

    Positions are counted from the last one, which is 0.
    """
    size = min(len(values) for sweep in sweeps.values() for values in sweep)

    def mean(sweep: Sequence[Sequence[float]]) -> list[float]:
        columns = zip(*(values[-size:] for values in sweep), strict=True)
        return [float(f"{statistics.fmean(column):.4g}") for column in columns]

    return {
        "pairs": pairs,
        "offsets": list(range(1 - size, 1)),
        "P": {arm: mean(sweep) for arm, sweep in sweeps.items()},
    }


def strongest(pairs: Sequence[Swept]) -> Swept:
    """The pair of largest P(inject word)."""
    return max(pairs, key=lambda pair: pair.best)


def weakest(pairs: Sequence[Swept]) -> Swept:
    """The pair whose P(inject word) at its best position is least."""
    return min(pairs, key=lambda pair: pair.best)


def best_redirect(pairs: Sequence[SweptPair]) -> float:
    """Largest P(inject word) of all pairs."""
    return strongest(pairs).best


def weakest_redirect(pairs: Sequence[SweptPair]) -> float:
    """P(inject word) of the pair in which it is least, at its best position."""
    return weakest(pairs).best


def weakest_localises(pairs: Sequence[SweptPair]) -> float:
    """1 where the pair of the weakest redirect localises, else 0."""
    return float(weakest(pairs).localises)


def median_redirect(pairs: Sequence[SweptPair]) -> float:
    """Median over pairs of P(inject word) at its best position, halfway between the middle two of an even number."""
    return statistics.median(pair.best for pair in pairs)


def median_spread(pairs: Sequence[SweptPair], nats: float) -> float:
    """Half the distance of the two middle pairs, and rounding.

    Either of them is a median of an even number, and so is all between them.
    """
    best = [pair.best for pair in pairs]
    between = (statistics.median_high(best) - statistics.median_low(best)) / 2
    return between + moved_by(median_redirect(pairs), nats)


def localised(pairs: Sequence[SweptPair]) -> float:
    """Share of all pairs that localise, those without any peak counted as the paper counts them."""
    return statistics.fmean(pair.localises for pair in pairs)


def localised_spread(pairs: Sequence[SweptPair], nats: float) -> float:
    """Share of the pairs in which rounding could make another position the largest, or the last one."""
    return statistics.fmean(alike(pair.probabilities[-1], max(pair.probabilities[:-1]), 2 * nats) for pair in pairs)


def strong_localised(pairs: Sequence[SweptPair]) -> float:
    """Share of the strong redirects that localise; raises Untested where there is none."""
    return localised(_strong(pairs))


def _strong(pairs: Sequence[SweptPair]) -> list[SweptPair]:
    found = [pair for pair in pairs if pair.best >= STRONG]
    if not found:
        raise Untested(f"no pair of the sweep is redirected to {STRONG:g} or more; there is none to ask this of")
    return found


def strong_pairs(pairs: Sequence[SweptPair]) -> float:
    """How many pairs are strong redirects."""
    return float(sum(pair.best >= STRONG for pair in pairs))


def strong_spread(pairs: Sequence[SweptPair], nats: float) -> float:
    """How many pairs rounding could make strong redirects, or none."""
    return float(sum(alike(pair.best, STRONG, nats) for pair in pairs))


def strong_groups(pairs: Sequence[SweptPair]) -> frozenset[str]:
    """The rhyme groups the strong redirects inject words of."""
    return frozenset(pair.group for pair in pairs if pair.best >= STRONG)


def groups_off_list(pairs: Sequence[SweptPair]) -> float:
    """By how many rhyme groups those of the strong redirects and the printed ones differ, on either side."""
    return float(len(strong_groups(pairs) ^ PRINTED_GROUPS))


def groups_spread(pairs: Sequence[SweptPair], nats: float) -> float:
    """How many groups have strong redirects, or none, by rounding alone."""
    near = [pair for pair in pairs if alike(pair.best, STRONG, nats)]
    return float(len({pair.group for pair in near} - strong_groups([pair for pair in pairs if pair not in near])))


def noise_pairs(pairs: Sequence[SweptPair]) -> float:
    """Share of the pairs that do not localise whose best redirect lies where noise dominates.

    Raises Untested where every pair localises.
    """
    astray = [pair.best < NOISE for pair in pairs if not pair.localises]
    if not astray:
        raise Untested("every pair of the sweep localises; there is none to ask this of")
    return statistics.fmean(astray)


def words_astray(pairs: Sequence[SweptPair]) -> frozenset[str]:
    """The words the pairs that do not localise inject."""
    return frozenset(pair.word for pair in pairs if not pair.localises)


def words_off_list(pairs: Sequence[SweptPair]) -> float:
    """By how many words those of the pairs that do not localise and the printed ones differ, on either side."""
    return float(len(words_astray(pairs) ^ PRINTED_ASTRAY))


def lowest_floor(pairs: Sequence[SweptPair]) -> float:
    """The lowest in-sweep floor of any pair, in decades: the logarithm to base 10."""
    return math.log10(min(pair.floor for pair in pairs))


def best_rise(pairs: Sequence[SweptPair]) -> float:
    """How far the best redirect rises above its in-sweep floor, in nats."""
    return strongest(pairs).rise


def weakest_rise(pairs: Sequence[SweptPair]) -> float:
    """The same of the weakest redirect."""
    return weakest(pairs).rise


def largest_rise(pairs: Sequence[SweptPair]) -> float:
    """How far any redirect rises above its in-sweep floor at most, in nats."""
    return max(pair.rise for pair in pairs)


def layer_gradient(pairs: Sequence[SweptPair]) -> float:
    """Rank correlation, over pairs, of how early a feature is injected from and the ratio at the last position.

    Raises Untested where all features lie in one layer.
    """
    # scipy takes longer to import than a run that only collects takes altogether.
    from scipy.stats import spearmanr

    if len({pair.layer for pair in pairs}) < 2:
        raise Untested("all injected features lie in one layer; there is no gradient to see")
    ratios = [pair.probabilities[-1] / pair.floor for pair in pairs]
    return float(spearmanr([-pair.layer for pair in pairs], ratios).statistic)


def _rounded(value: Callable[[Sequence[SweptPair]], float]) -> Callable[[Sequence[SweptPair], float], float]:
    """The spread of a probability that rounding alone leaves open."""
    return lambda pairs, nats: moved_by(value(pairs), nats)


@dataclass(frozen=True)
class Figure:
    """A figure of a pair sweep.

    ``spread`` is how far to either side of ``value`` what it means leaves it open, and what rounding does that moves
    every log-odds by up to so many nats.
    """

    unit: str
    value: Callable[[Sequence[SweptPair]], float]
    spread: Callable[[Sequence[SweptPair], float], float] = lambda _pairs, _nats: 0.0


def _of_two(_pairs: Sequence[SweptPair], nats: float) -> float:
    """The spread of a ratio of two small probabilities, in nats."""
    return 2 * nats


FIGURES: Mapping[str, Figure] = {
    "published_best_redirect": Figure("probability", best_redirect, _rounded(best_redirect)),
    "published_weakest_redirect": Figure("probability", weakest_redirect, _rounded(weakest_redirect)),
    "published_weakest_peak": Figure(
        "proportion", weakest_localises, lambda pairs, nats: localised_spread([weakest(pairs)], nats)
    ),
    "published_median_redirect": Figure("probability", median_redirect, median_spread),
    "published_localisation": Figure("proportion", localised, localised_spread),
    "published_strong_localisation": Figure(
        "proportion", strong_localised, lambda pairs, nats: localised_spread(_strong(pairs), nats)
    ),
    "published_strong_pairs": Figure("count", strong_pairs, strong_spread),
    "published_group_list": Figure("count", groups_off_list, groups_spread),
    "published_noise_pairs": Figure("proportion", noise_pairs),
    "recorded_word_list": Figure("count", words_off_list),
    "published_floor": Figure("decades", lowest_floor, lambda _, nats: nats / math.log(10)),
    "published_best_rise": Figure("nats", best_rise, _of_two),
    "published_weakest_rise": Figure("nats", weakest_rise, _of_two),
    "published_largest_rise": Figure("nats", largest_rise, _of_two),
    "published_layer_gradient": Figure("rank correlation", layer_gradient),
}
"""Experiment → figure; sweeps that are run are asked the same as recorded ones, but for figures of App. D.3 alone."""
