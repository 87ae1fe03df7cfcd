"""Figures of a pair sweep, recorded or run: closed forms on pairs made by hand."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prolepsis.errors import Untested
from prolepsis.subjects.swept_pairs import (
    SweptPair,
    alike,
    best_redirect,
    best_rise,
    groups_off_list,
    groups_spread,
    largest_rise,
    layer_gradient,
    localised,
    localised_spread,
    log_odds,
    lowest_floor,
    median_redirect,
    median_spread,
    moved_by,
    noise_pairs,
    strong_groups,
    strong_localised,
    strong_pairs,
    strong_spread,
    weakest_localises,
    weakest_redirect,
    weakest_rise,
    words_astray,
    words_off_list,
)


def swept(number: int, layer: int, probabilities: list[float]) -> SweptPair:
    """A pair whose word and group have a number."""
    return SweptPair(f"{number}", "a prompt", f"word {number}", f"group {number}", f"L{layer}:7", tuple(probabilities))


PAIRS = [
    swept(1, 0, [1e-9, 1e-9, 0.5]),
    swept(1, 1, [1e-9, 2e-9, 0.2]),
    swept(2, 2, [3e-8, 1e-8, 5e-9]),
    swept(3, 3, [1e-3, 4e-4, 5e-4]),
]


def test_figures_of_pairs_meet_their_closed_forms() -> None:
    """Extremes, counts, floor, ratio and gradient of four pairs made by hand."""
    assert best_redirect(PAIRS) == 0.5
    assert weakest_redirect(PAIRS) == 3e-8
    assert localised(PAIRS) == 0.5
    assert median_redirect(PAIRS) == pytest.approx((0.2 + 1e-3) / 2)
    assert (strong_pairs(PAIRS), strong_groups(PAIRS)) == (2, {"group 1"})
    assert (noise_pairs(PAIRS), words_astray(PAIRS)) == (0.5, {"word 2", "word 3"})
    assert lowest_floor(PAIRS) == pytest.approx(-9)
    assert best_rise(PAIRS) == pytest.approx(math.log(0.5 / 1e-9))
    assert weakest_rise(PAIRS) == pytest.approx(math.log(3))
    assert largest_rise([*PAIRS, swept(4, 0, [1e-14, 0.2, 1e-14])]) == pytest.approx(math.log(0.2 / 1e-14))
    assert (strong_localised(PAIRS), strong_localised([*PAIRS, swept(4, 0, [1e-9, 0.2, 1e-9])])) == (1, 2 / 3)
    assert (weakest_localises(PAIRS), weakest_localises(PAIRS[:2])) == (0, 1)
    assert layer_gradient(PAIRS) == pytest.approx(0.8)
    with pytest.raises(Untested, match="every pair of the sweep localises"):
        noise_pairs(PAIRS[:2])
    with pytest.raises(Untested, match=r"no pair of the sweep is redirected to 0\.1 or more"):
        strong_localised(PAIRS[2:])
    with pytest.raises(Untested, match="all injected features lie in one layer"):
        layer_gradient(PAIRS[:1])


@pytest.mark.parametrize(("best", "low", "high"), [((0.1, 0.2, 0.6, 0.9), 0.2, 0.6), ((0.1, 0.2, 0.6), 0.2, 0.2)])
def test_all_between_the_middle_pairs_is_a_median(best: tuple[float, ...], low: float, high: float) -> None:
    """Of an even number of pairs the median is known to the distance of the middle two, of an odd one exactly."""
    pairs = [swept(number, 0, [1e-9, p]) for number, p in enumerate(best)]
    value, spread = median_redirect(pairs), median_spread(pairs, 0.0)
    assert (value - spread, value + spread) == pytest.approx((low, high))


@pytest.mark.parametrize("nats", [1e-5, 0.9375])
@given(p=st.floats(1e-20, 1 - 1e-9))
def test_rounding_leaves_a_probability_within_0_and_1(nats: float, p: float) -> None:
    """Log-odds that move by what float32 or bfloat16 round move a probability by no more than it is, or lacks to 1."""
    assert 0 < p - moved_by(p, nats) <= p <= p + moved_by(p, nats) < 1


@given(p=st.floats(1e-12, 1 - 1e-9), by=st.floats(0.01, 5), up=st.booleans())
def test_probabilities_are_alike_within_so_many_nats_of_log_odds(p: float, by: float, up: bool) -> None:
    """A probability whose log-odds are moved is like the first one within more nats than that, and not within fewer."""
    q = 1 / (1 + math.exp(-log_odds(p) - (by if up else -by)))
    assert alike(p, q, 1.01 * by)
    assert not alike(p, q, 0.99 * by)
    assert not alike(p, p, 0.0)


def test_counts_are_open_by_the_pairs_that_rounding_could_move() -> None:
    """Pairs near the edge of a bin, or with two positions near each other, are as many to either side."""
    pairs = [swept(1, 0, [1e-9, 0.5]), swept(2, 0, [1e-9, 0.11]), swept(2, 0, [0.08, 0.09]), swept(3, 0, [1e-4, 2e-4])]
    assert [strong_spread(pairs, nats) for nats in (0.0, 0.15, 0.5)] == [0, 2, 2]
    assert [localised_spread(pairs, nats) for nats in (0.0, 0.1, 0.5)] == [0, 0.25, 0.5]
    assert [groups_spread(pairs, nats) for nats in (0.0, 0.15, 3.0)] == [0, 1, 2]
    assert groups_spread([*pairs, swept(2, 0, [1e-9, 0.5])], 0.15) == 0


STRONG_LISTS = {
    "as printed": (["AE1 T", "AE1 T", "AW1 N D", "AE1 K"], 0),
    "one is missing": (["AE1 T", "AW1 N D"], 1),
    "one is too many": (["AE1 T", "AW1 N D", "AE1 K", "AH1 T"], 1),
    "another in its place": (["AE1 T", "AW1 N D", "AH1 T"], 2),
}


@pytest.mark.parametrize("case", STRONG_LISTS)
def test_strong_groups_are_held_against_the_printed_ones_by_name(case: str) -> None:
    """Every group that is missing or too many counts once, so that as many others are not the printed ones."""
    groups, off = STRONG_LISTS[case]
    strong = [replace(swept(number, 0, [1e-9, 0.5]), group=group) for number, group in enumerate(groups)]
    weak = replace(swept(9, 0, [1e-9, 0.01]), group="IY1")
    assert groups_off_list([*strong, weak]) == off


@pytest.mark.parametrize(("words", "off"), [(("new", "the", "new"), 0), (("new",), 1), (("new", "for"), 2)])
def test_words_astray_are_held_against_the_printed_ones_by_name(words: tuple[str, ...], off: int) -> None:
    """Every word that is missing or too many counts once, and those of pairs that localise do not count."""
    astray = [replace(swept(number, 0, [2e-9, 1e-9]), word=word) for number, word in enumerate(words)]
    assert words_off_list([*astray, replace(swept(9, 0, [1e-9, 2e-9]), word="she")]) == off


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32 - 1))
def test_figures_do_not_depend_on_the_order_of_pairs(seed: int) -> None:
    """Every figure of a sweep is the same for its pairs in any order."""
    generator = torch.Generator().manual_seed(seed)
    pairs = [swept(i % 3, i % 4, torch.rand(5, generator=generator).tolist()) for i in range(8)]
    pairs.append(swept(9, 0, [0.9, 0.1, 0.2, 0.3, 0.4]))
    shuffled = [pairs[i] for i in torch.randperm(len(pairs), generator=generator)]
    for figure in (
        best_redirect, weakest_redirect, median_redirect, localised, strong_pairs, groups_off_list, noise_pairs,
        words_off_list, lowest_floor, best_rise, weakest_rise, largest_rise, strong_localised, weakest_localises,
        layer_gradient,
    ):  # fmt: skip
        assert figure(pairs) == pytest.approx(figure(shuffled))
