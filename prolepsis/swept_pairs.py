"""What the paper prints of a pair sweep, from any such sweep, recorded or run (section 5, appendix D; no torch).

Every pair of prompt and injected word is one sweep: P(inject word) by position of the edit. The in-sweep floor is the
median over positions. Ratios are over that floor: the recorded baselines lack the softcap and are too small.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prolepsis.errors import Untested

STRONG = 0.1
"""The paper's bin of strong redirects: P(inject word) at least this somewhere."""
NOISE = 1e-6
"""Below this P(inject word) noise dominates, as the paper has it (appendix D.1)."""
PRINTED_GROUPS = frozenset({"AE1 T", "AW1 N D", "AE1 K"})
"""The groups the strong redirects of the 426K sweep are said to inject words of: -at, -ound, -ack (appendix D.1)."""
PRINTED_ASTRAY = frozenset({"new", "the"})
"""The words that are said to be injected where a pair of the Llama sweep does not localise (appendix D.3)."""


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
    def layer(self) -> int:
        """The layer the feature is injected from."""
        return int(self.feature[1:].partition(":")[0])


def log_odds(p: float) -> float:
    """Log-odds of a probability, ln p/(1 − p)."""
    return math.log(p) - math.log1p(-p)


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


def best_redirect(pairs: Sequence[SweptPair]) -> float:
    """Largest P(inject word) of all pairs."""
    return max(pair.best for pair in pairs)


def weakest_redirect(pairs: Sequence[SweptPair]) -> float:
    """P(inject word) of the pair in which it is least, at its best position."""
    return min(pair.best for pair in pairs)


def median_redirect(pairs: Sequence[SweptPair]) -> float:
    """Median over pairs of P(inject word) at its best position, halfway between the middle two of an even number."""
    return statistics.median(pair.best for pair in pairs)


def median_spread(pairs: Sequence[SweptPair]) -> float:
    """Half the distance of the two middle pairs: either is a median of an even number, and so is all between them."""
    best = [pair.best for pair in pairs]
    return (statistics.median_high(best) - statistics.median_low(best)) / 2


def localised(pairs: Sequence[SweptPair]) -> float:
    """Share of all pairs that localise, those without any peak counted as the paper counts them."""
    return statistics.fmean(pair.localises for pair in pairs)


def strong_pairs(pairs: Sequence[SweptPair]) -> float:
    """How many pairs are strong redirects."""
    return float(sum(pair.best >= STRONG for pair in pairs))


def strong_groups(pairs: Sequence[SweptPair]) -> frozenset[str]:
    """The rhyme groups the strong redirects inject words of."""
    return frozenset(pair.group for pair in pairs if pair.best >= STRONG)


def groups_off_list(pairs: Sequence[SweptPair]) -> float:
    """By how many rhyme groups those of the strong redirects and the printed ones differ, on either side."""
    return float(len(strong_groups(pairs) ^ PRINTED_GROUPS))


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
    """The lowest in-sweep floor of any pair."""
    return min(pair.floor for pair in pairs)


def best_ratio(pairs: Sequence[SweptPair]) -> float:
    """The largest ratio of a best redirect to its in-sweep floor."""
    return max(pair.best / pair.floor for pair in pairs)


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


@dataclass(frozen=True)
class Figure:
    """A figure of a pair sweep; ``spread`` is how far to either side of ``value`` what it means leaves it open."""

    unit: str
    value: Callable[[Sequence[SweptPair]], float]
    spread: Callable[[Sequence[SweptPair]], float] = lambda _: 0.0


FIGURES: Mapping[str, Figure] = {
    "published_best_redirect": Figure("probability", best_redirect),
    "published_weakest_redirect": Figure("probability", weakest_redirect),
    "published_median_redirect": Figure("probability", median_redirect, median_spread),
    "published_localisation": Figure("proportion", localised),
    "published_strong_pairs": Figure("count", strong_pairs),
    "published_group_list": Figure("count", groups_off_list),
    "published_noise_pairs": Figure("proportion", noise_pairs),
    "recorded_word_list": Figure("count", words_off_list),
    "recorded_floor": Figure("probability", lowest_floor),
    "published_best_ratio": Figure("fold", best_ratio),
    "published_layer_gradient": Figure("rank correlation", layer_gradient),
}
"""Experiment → figure; sweeps that are run are asked the same as recorded ones, but for figures of App. D.3 alone."""
