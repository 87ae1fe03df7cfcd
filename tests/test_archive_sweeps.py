"""Recorded sweeps and head routing: what is recounted, over which floor, and what the wiring allows."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.archive import head_routing, pair_sweep, position_sweep
from prolepsis.archive.files import open_archive
from prolepsis.errors import Untested
from prolepsis.judge import judge
from tests import recorded_files as files
from tests.recorded_files import FLAT, SPIKE, held, pair, recording, value

seeds = st.integers(0, 2**32 - 1)


# ---- pair sweeps -----------------------------------------------------------------------------------------------------


def test_pairs_are_measured_as_a_sweep_is(tmp_path: Path) -> None:
    """A pair localises when its last position is the only maximum, and counts when some position stands out."""
    one = recording(tmp_path, files.pair_sweep(pair(SPIKE, "out"), pair(FLAT, "about", "another")))
    found = pair_sweep.localisation_rate(one)
    assert list(found.values.values()) == [1.0, 0.0]
    assert found.detectable == ("1: -at -> out",)
    assert found.clusters["1: -at -> out"] == ("a prompt", "L2:3")
    gains = pair_sweep.redirect_gain(one).values
    assert gains["1: -at -> out"] == pytest.approx(math.log(0.4 / 0.6) - math.log(1e-9), abs=0.5)


def test_figures_of_a_pair_sweep(tmp_path: Path) -> None:
    """Best, weakest and median redirect, strength, counts and groups are those of the recorded pairs."""
    one = recording(tmp_path, files.pair_sweep(pair(SPIKE, "out"), pair(FLAT, "about", "another")))
    expected = {
        "published_best_redirect": 0.4, "published_weakest_redirect": 3e-9, "recorded_strength": 10.0,
        "published_group_list": 4, "published_noise_pairs": 1.0, "recorded_pairs": 2, "published_localisation": 0.5,
        "recorded_pairs_astray": 1, "recorded_largest_group": 2, "published_strong_pairs": 1,
        "recorded_pairs_in_noise": 1, "recorded_pairs_from_millionth": 0, "recorded_word_list": 3,
        "published_median_redirect": pytest.approx(0.2), "published_floor": pytest.approx(math.log10(1.5e-9)),
        "pairs_twice": 0, "published_weakest_peak": 0,
        "published_best_rise": pytest.approx(math.log(0.4 / 1e-9), abs=0.5),
        "published_weakest_rise": pytest.approx(math.log(2)),
    }  # fmt: skip
    assert {name: value(getattr(pair_sweep, name)(one)) for name in expected} == expected


@pytest.mark.parametrize(("third", "agrees"), [("AE1 K", "yes"), ("AH1 T", "no")])
def test_as_many_strong_groups_are_not_the_printed_ones(tmp_path: Path, third: str, agrees: str) -> None:
    """The row on strong redirects agrees where they are of the printed groups, and of no other three."""
    groups = ("AE1 T", "AW1 N D", third)
    pairs = [pair(SPIKE, f"word {group}") | {"alt_group": group} for group in groups]
    (claim,) = (claim for claim in ledger.rows("recorded") if claim.experiment == "published_group_list")
    found = pair_sweep.published_group_list(recording(tmp_path, files.pair_sweep(*pairs)))
    assert judge(claim, found).agrees == agrees
    assert found.detail == {"strong groups": sorted(groups)}


def test_printed_rates_are_held_against_the_rate_of_all_pairs(tmp_path: Path) -> None:
    """Where 95 of 136 pairs localise, and no other shows anything, the rate of all agrees and no rate disagrees."""
    pairs = [pair(SPIKE if i < 95 else FLAT, f"w{i}", f"prompt {i}") for i in range(136)]
    one = recording(tmp_path, files.pair_sweep(*pairs))
    rows = {claim.id: claim for claim in ledger.rows(tier="archive")}
    detectable, all_pairs = pair_sweep.localisation_rate(one), pair_sweep.published_localisation(one)
    assert judge(rows["B06b"], all_pairs).agrees == "yes"
    assert judge(rows["B10g"], all_pairs).agrees == "no"
    assert judge(rows["B06"], detectable).agrees == "cannot tell"


@pytest.mark.parametrize(
    ("third", "verdict", "agrees"),
    [(7.1e-9, "inconclusive", "cannot tell"), (7.3e-9, "inconclusive", "cannot tell"), (7.0e-9, "contradicted", "no")],
)
def test_either_middle_pair_may_be_the_printed_median(tmp_path: Path, third: float, verdict: str, agrees: str) -> None:
    """A printed median that lies between the two middle pairs, or is one of them, is not contradicted."""
    pairs = [pair([1e-14, 1e-14, p], f"w{p}") for p in (1e-12, 6.6e-9, third, 0.5)]
    (claim,) = (claim for claim in ledger.rows("recorded") if claim.id == "B29")
    found = judge(claim, pair_sweep.published_median_redirect(recording(tmp_path, files.pair_sweep(*pairs))))
    assert (found.verdict, found.agrees) == (verdict, agrees)


@given(seeds)
def test_bins_hold_every_pair_once(seed: int) -> None:
    """Whatever their redirects, the five bins of the appendix together hold all pairs."""
    exponents = np.random.default_rng(seed).uniform(-12, -0.01, 30)
    pairs = [pair([1e-14, 1e-14, float(10**e)], f"w{i}") for i, e in enumerate(exponents)]
    bins = (
        "published_strong_pairs", "recorded_pairs_from_hundredth", "recorded_pairs_from_thousandth",
        "recorded_pairs_from_millionth", "recorded_pairs_in_noise",
    )  # fmt: skip
    with held(files.pair_sweep(*pairs)) as one:
        assert sum(value(getattr(pair_sweep, name)(one)) for name in bins) == len(pairs)


def test_printed_ratios_are_over_what_they_were_printed_over(tmp_path: Path) -> None:
    """Those of appendix D are over the recorded baseline, section 5's is over the floor, and a rise is over it too."""
    entry = pair(SPIKE, "around") | {"baseline_p_inject": 1e-12}
    weak = pair(FLAT, "about", layer=25) | {"baseline_p_inject": 1e-13}
    one = recording(tmp_path, files.pair_sweep(entry, weak))
    assert value(pair_sweep.named_redirect(one)) == 0.4
    assert value(pair_sweep.ratio_of_named_redirect(one)) == pytest.approx(0.4 / 1.5e-9)
    best = pair_sweep.ratio_of_best_redirect(one)
    assert value(best) == value(pair_sweep.largest_ratio(one)) == pytest.approx(4e11)
    assert best.detail["over the in-sweep floor"] == pytest.approx(0.4 / 1.5e-9)
    assert value(pair_sweep.ratio_of_weakest_redirect(one)) == pytest.approx(3e4)
    assert value(pair_sweep.published_weakest_rise(one)) == pytest.approx(math.log(2))
    assert value(pair_sweep.published_largest_rise(one)) == pytest.approx(math.log(0.4 / 1.5e-9))
    over = pair_sweep.floor_over_baseline(one).values
    assert over["1: -at -> around"] == pytest.approx(math.log(1.5e-9 / 1e-12), abs=0.1)


@pytest.mark.parametrize(
    ("baselines", "found", "verdict"),
    [((4.7e-10, 5e-8, 2.8e-16), 3, "inconclusive"), ((4.7e-10, 5e-9, 2.8e-16), 2, "contradicted"),
     ((1e-12, 1e-12, 1e-12), 1, "contradicted")],
)  # fmt: skip
def test_ratios_of_one_line_have_one_denominator_or_not(
    tmp_path: Path, baselines: tuple[float, ...], found: int, verdict: str
) -> None:
    """All three are found over the baselines, or two of them, or over the floor the one that section 5 gives too."""
    sweeps = {"at": [7e-9, 7e-9, 0.987], "around": [4.8e-8, 4.8e-8, 0.48], "city": [2e-14, 2.4e-14, 2e-14]}
    pairs = [
        pair(sweep, word) | {"baseline_p_inject": p} for (word, sweep), p in zip(sweeps.items(), baselines, strict=True)
    ]
    one = pair_sweep.ratios_over_one_denominator(recording(tmp_path, files.pair_sweep(*pairs)))
    (claim,) = (claim for claim in ledger.rows("recorded") if claim.id == "X190")
    assert value(one) == found
    assert judge(claim, one).verdict == verdict


def test_the_gradient_is_a_rank_correlation_with_earliness(tmp_path: Path) -> None:
    """Ratios that fall with the layer of the injected feature give 1, ratios that rise with it give -1."""
    sweeps = [[1e-9, 1e-9, p] for p in (1e-3, 1e-4, 1e-5)]
    for layers, expected in (((16, 20, 25), 1.0), ((25, 20, 16), -1.0), ((16, 25, 20), 0.5)):
        pairs = [pair(p, word, layer=at) for p, word, at in zip(sweeps, "abc", layers, strict=True)]
        found = pair_sweep.published_layer_gradient(recording(tmp_path, files.pair_sweep(*pairs)))
        assert value(found) == pytest.approx(expected)


def test_what_a_pair_sweep_does_not_hold_is_untested(tmp_path: Path) -> None:
    """Without a baseline, a layer, a word or a pair astray, the figure is untested and the reason says which."""
    entry = pair(SPIKE, "out")
    del entry["baseline_p_inject"]
    one = recording(tmp_path, files.pair_sweep(entry))
    for name, missing in (
        ("floor_over_baseline", "lacks baseline_p_inject"),
        ("ratio_of_best_redirect", "pair 1: -at -> out lacks baseline_p_inject"),
        ("largest_ratio", "lacks baseline_p_inject"),
        ("published_layer_gradient", "all injected features lie in one layer"),
        ("ratio_of_named_redirect", "injects no 'around'"),
        ("published_noise_pairs", "every pair of the sweep localises"),
    ):
        with pytest.raises(Untested, match=missing):
            getattr(pair_sweep, name)(one)


def test_repeated_pairs_are_counted(tmp_path: Path) -> None:
    """A pair that stands in the sweep twice counts once for its prompt and word, and once for its probabilities."""
    one = recording(tmp_path, files.pair_sweep(pair(SPIKE, "out"), pair(SPIKE, "out"), pair(FLAT, "out")))
    assert value(pair_sweep.pairs_twice(one)) == 3


# ---- position sweeps -------------------------------------------------------------------------------------------------


def test_figures_of_a_position_sweep(tmp_path: Path) -> None:
    """The spike is the last position's, the floor the others' median, and it is held against the clean run."""
    contents = files.position_sweep(SPIKE, files.SMALL) | {"baseline_prob": 0.5e-9}
    one = recording(tmp_path, contents)
    assert value(position_sweep.published_spike(one)) == 0.4
    assert position_sweep.published_baseline(one).detail == {"median": 1e-9}
    assert value(position_sweep.sweep_floor_over_baseline(one)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("others", "farthest", "verdict", "agrees"),
    [
        ([4.7e-8, 5.2e-8, 5.1e-8], 4.7e-8, "inconclusive", "yes"),
        ([5e-8, 5e-8, 8.8e-8], 8.8e-8, "contradicted", "no"),
        ([5e-8, 1e-9, 5e-8], 1e-9, "contradicted", "no"),
    ],
)
def test_what_is_printed_of_all_positions_is_asked_of_each(
    tmp_path: Path, others: list[float], farthest: float, verdict: str, agrees: str
) -> None:
    """One position off the printed probability, on either side, contradicts that all are at it, whatever the median."""
    one = recording(tmp_path, files.position_sweep([*others, 0.4], files.SMALL))
    (claim,) = (c for c in ledger.rows("recorded") if c.id == "B02")
    measured = position_sweep.published_baseline(one)
    assert value(measured) == farthest
    assert (judge(claim, measured).verdict, judge(claim, measured).agrees) == (verdict, agrees)


def test_a_sweep_of_another_feature_is_not_held_against_a_printed_figure(tmp_path: Path) -> None:
    """A printed figure is one run's; that of another feature leaves it untested."""
    one = recording(tmp_path, files.position_sweep(SPIKE, files.SMALL, "25:1720"))
    with pytest.raises(Untested, match="is of feature L25:1720, the printed figures are of L22:10243"):
        position_sweep.published_spike(one)
    assert value(position_sweep.sweep_floor_over_baseline(one)) == 0


# ---- head routing ----------------------------------------------------------------------------------------------------

CHANGES = {(17, 0): -0.3, (20, 1): 0.2, (24, 0): 0.1, (25, 1): -0.04}


def test_heads_are_ranked_by_their_change(tmp_path: Path) -> None:
    """Changes keep their signs, the top head its two attentions, and the total is of all heads."""
    one = recording(tmp_path, files.routing(CHANGES))
    changes = [head_routing.first_head_change, head_routing.second_head_change, head_routing.third_head_change]
    assert [value(change(one)) for change in changes] == [-0.3, 0.2, 0.1]
    assert head_routing.first_head_change(one).detail == {"head": "L17:H0"}
    assert value(head_routing.first_head_clean(one)) == 0.25
    edited = [head_routing.first_head_edited, head_routing.second_head_edited, head_routing.third_head_edited]
    assert [value(of_head(one)) for of_head in edited] == pytest.approx([-0.05, 0.45, 0.35])
    assert value(head_routing.next_head_changes(one)) == pytest.approx(0.04)
    assert value(head_routing.printed_total_change(one)) == pytest.approx(0.64)


@given(seeds)
def test_only_heads_above_the_first_written_layer_may_move(seed: int) -> None:
    """Of heads that moved, those up to layer 16, where the first suppressed feature is written, cannot be reached."""
    rng = np.random.default_rng(seed)
    moved = {(int(layer), int(head)): 0.01 for layer, head in rng.integers((26, 2), size=(6, 2))}
    low = {head for head in moved if head[0] <= 16}
    with held(files.routing(moved)) as one:
        found = head_routing.unreachable_heads_moved(one)
        assert value(found) == len(low) == len(found.detail["moved"])
        assert value(head_routing.total_off_reachable_sum(one)) == pytest.approx(0.01 * len(low))


def test_an_injection_above_a_head_cannot_have_moved_it(tmp_path: Path) -> None:
    """What layer 22 writes cannot move a head of layers 17 and 20: the wiring contradicts that it did."""
    one = recording(tmp_path, files.routing(CHANGES))
    rows = {claim.experiment: claim for claim in ledger.rows("recorded")}
    for name, head in (("injection_reaches_first_head", "L17:H0"), ("injection_reaches_second_head", "L20:H1")):
        verdict = judge(rows[name], getattr(head_routing, name)(one))
        assert verdict.verdict == "contradicted"
        assert f"every path starts at L22@23, above {head}" in verdict.reason


def test_a_head_above_the_injection_may_have_been_moved_by_it(tmp_path: Path) -> None:
    """Where the wiring allows it, only a run without suppression would tell."""
    one = recording(tmp_path, files.routing({(24, 0): 0.3, (17, 0): 0.1}))
    with pytest.raises(Untested, match="L22:10243 can reach L24:H0"):
        head_routing.injection_reaches_first_head(one)


def test_late_heads_are_forced(tmp_path: Path) -> None:
    """No head before the last 35 % can be on the list when nothing before it can be reached: vacuous."""
    found = head_routing.early_listed_heads(recording(tmp_path, files.routing(dict.fromkeys(CHANGES, 0.1))))
    (claim,) = (claim for claim in ledger.rows("recorded") if claim.experiment == "early_listed_heads")
    assert judge(claim, found).verdict == "vacuous"
    assert judge(claim, found).reason.startswith("forced")


def test_a_run_without_suppression_is_told_from_one_with_it(tmp_path: Path) -> None:
    """Where only heads above the injection moved, the printed figures are not the run's, but the injection's are."""
    alone = recording(tmp_path / "alone", files.routing({(24, 0): 0.3}))
    both = recording(tmp_path / "both", files.routing(CHANGES))
    assert value(head_routing.injection_total(alone)) == pytest.approx(0.3)
    with pytest.raises(Untested, match="suppresses nothing below L22:10243"):
        head_routing.first_head_change(alone)
    with pytest.raises(Untested, match="suppresses too"):
        head_routing.injection_total(both)


def test_heads_that_did_not_change_are_on_no_list(tmp_path: Path) -> None:
    """Of fewer than ten heads that changed the lowest layer is found, and a run that changed none is untested."""
    assert value(head_routing.lowest_listed_layer(recording(tmp_path / "some", files.routing(CHANGES)))) == 17
    with pytest.raises(Untested, match="no head of recorded-gemma-2-2b-426k changed its attention"):
        head_routing.lowest_listed_layer(recording(tmp_path / "none", files.routing({})))
    with pytest.raises(Untested, match="only 1 heads of recorded-gemma-2-2b-426k changed their attention"):
        head_routing.second_head_change(recording(tmp_path / "one", files.routing({(17, 0): 0.1})))


def test_saturation_is_between_proportion_and_level(tmp_path: Path) -> None:
    """A sweep that stays level from 1.5 times the strength gives 1, and the arm gives what proportion would."""
    found = head_routing.recorded_saturation(recording(tmp_path, files.routing(CHANGES)))
    assert value(found) == 1
    assert list(found.arms["proportional"].values()) == [0.75]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_heads": 3}, "52 heads are there, 26 layers of 3 are announced"),
        ({"planning_site": 40}, "the site 40 comes after the output position 25"),
        ({"feature": "around"}, "feature 'around' is not of the form"),
    ],
)
def test_a_routing_that_is_not_whole_is_broken(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    """Missing heads, a site after the output, and a feature that is none are named."""
    files.write(tmp_path, "a.json", files.routing(CHANGES) | changed)
    assert said in open_archive(tmp_path).skipped[0]
