"""What experiments store for their figures says the same as what they measure."""

import json
from functools import cache
from pathlib import Path
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.experiments.attention_ranking import attention_ranking
from prolepsis.experiments.layer_skipping import block_loss, late_block_loss
from prolepsis.experiments.position_sweep import Sweep, by_position, localisation_rate, probability
from prolepsis.experiments.routing_claims import top_head_change
from prolepsis.measurement import Measurement
from prolepsis.names import Feature
from prolepsis.report.figures import draw_figures
from prolepsis.subjects.loading import load_subject

torch.set_num_threads(1)

ODDS = st.lists(st.floats(-12, 12), min_size=2, max_size=6)


def swept(odds: list[float]) -> Sweep:
    """A sweep whose edit gives these log-odds, and whose controls give half and none of them."""
    half, none = [x / 2 for x in odds], [0.0] * len(odds)
    return Sweep("word", Feature(0, 0), {}, -5.0, 0.0, tuple(odds), tuple(half), tuple(none))


@given(st.lists(ODDS, min_size=1, max_size=4))
def test_a_mean_sweep_is_aligned_at_the_last_token(sweeps: list[list[float]]) -> None:
    """Sweeps of different lengths meet at their last position, and have as many as the shortest."""
    found = by_position([swept(odds) for odds in sweeps])
    size = min(map(len, sweeps))
    assert found["offsets"] == list(range(1 - size, 1))
    by = found["P"]
    assert isinstance(by, dict)
    assert {len(values) for values in by.values()} == {size}
    for place in range(1, size + 1):
        assert by["suppress + inject"][-place] == pytest.approx(fmean(probability(s[-place]) for s in sweeps), rel=1e-3)
        assert by["unembedding"][-place] == 0.5
    assert len(set(by["no edit"])) == 1


@cache
def measured() -> dict[str, Measurement]:
    """What has figures, measured on a planted planner."""
    subject = load_subject("planted-llama-latch")
    experiments = (localisation_rate, attention_ranking, top_head_change, block_loss, late_block_loss)
    return {each.__name__: each(subject) for each in experiments}


def test_the_latch_peaks_where_its_sweeps_do() -> None:
    """The mean sweep is largest at the last token, where all of its pairs localise."""
    found = measured()["localisation_rate"]
    sweep = found.detail["by position"]["P"]["suppress + inject"]
    assert max(sweep) == sweep[-1]
    assert fmean(found.values.values()) == 1
    assert found.detail["by position"]["pairs"] == len(found.values)


def test_intervals_hold_their_means() -> None:
    """The interval of each block's loss holds the loss, and that of a share of couplets the share."""
    loss = measured()["block_loss"]
    for block, mean in loss.detail["rhyme"].items():
        low, high = loss.detail["rhyme, interval"][block]
        assert low <= mean + 1e-9
        assert mean - 1e-9 <= high
    for rates in measured()["late_block_loss"].detail["couplets that rhyme"].values():
        low, high = rates["interval"]
        assert low <= rates["true rhymes"] / rates["couplets"] <= high


def test_measured_details_are_drawn(tmp_path: Path) -> None:
    """What is stored has the figures it was stored for."""
    found = {name: draw_figures(tmp_path, "latch", json.loads(of.to_json())) for name, of in measured().items()}
    assert found == {
        "localisation_rate": ["figures/position-sweep-latch.svg"],
        "attention_ranking": ["figures/top-heads-latch.svg"],
        "top_head_change": ["figures/truth-table-of-the-edit-latch.svg", "figures/attention-by-strength-latch.svg"],
        "block_loss": ["figures/layer-skipping-latch.svg"],
        "late_block_loss": ["figures/rhymes-without-layers-latch.svg"],
    }
