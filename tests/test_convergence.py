"""Contrastive deviations are told apart: carried, diluted, or taken back."""

import math
from functools import cache
from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.experiments import measuring
from prolepsis.experiments.absorption import STEP, STRENGTHS, absorption, critical_strength, quick_absorption
from prolepsis.experiments.contraction import contraction, kinked_dose_curve
from prolepsis.experiments.convergence import (
    LEAST_LENGTH,
    Returns,
    absorbed,
    contrast_of,
    converge,
    covariance_matched,
    shrunk,
)
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.judge import judge_family
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject


@cache
def subject_of(name: str) -> Subject:
    """A bundled subject; what has been measured on it stays with it."""
    torch.set_num_threads(1)
    return load_subject(name)


@given(seed=st.integers(0, 2**16))
def test_covariance_matched_noise_has_the_norm_asked_for_and_lies_among_the_rows(seed: int) -> None:
    """The noise is as long as what it stands for, and a combination of the rows less their mean."""
    generator = torch.Generator().manual_seed(seed)
    rows, like = torch.randn(5, 12, generator=generator), torch.randn(12, generator=generator)
    noise = covariance_matched(like, rows, seed)
    centred = rows - rows.mean(0)
    solved = torch.linalg.lstsq(centred.T.double(), noise[:, None].double(), driver="gelsd").solution
    assert torch.isclose(noise.norm(), like.norm(), rtol=1e-4)
    assert torch.allclose(centred.T.double() @ solved, noise[:, None].double(), atol=1e-4)


def test_covariance_matched_noise_has_the_covariance_of_the_rows() -> None:
    """Over many draws the directions of the noise spread as the rows do."""
    rows = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    draws = torch.stack([covariance_matched(torch.tensor([1.0, 0.0]), rows, seed) for seed in range(400)])
    # Of a Gaussian with standard deviations 3 and 1, the share of squared length along the first axis is 3/4.
    assert float((draws[:, 0] ** 2).mean()) == pytest.approx(0.75, abs=0.05)


def test_only_layers_above_the_edit_absorb() -> None:
    """A cosine that is high right after the edit is no absorption; a later one is."""
    assert not absorbed([0.99])
    assert not absorbed([0.99, 0.94, 0.9])
    assert absorbed([0.5, 0.6, 0.95])
    assert absorbed([0.5, 0.6, 0.95], within=2)
    assert not absorbed([0.5, 0.6, 0.9, 0.95], within=2)
    assert (shrunk(1.0), shrunk(0.0)) == (0.0, -math.log(LEAST_LENGTH))


def test_the_last_layer_counts_among_those_that_could_absorb() -> None:
    """Shares are of the layers written and the last one; what is absorbed three layers on is not within two."""
    cosines = {0: (0.5, 0.6, 0.7, 0.95), 1: (0.5, 0.95, 0.9), 2: (0.99, 0.9)}
    seen = Returns({"contrast": {layer: {} for layer in cosines}}, {"contrast": cosines}, {})
    assert (seen.absorbed("contrast", 2), seen.absorbed("contrast"), seen.at_once()) == (1 / 4, 2 / 4, 1 / 4)


def test_the_latch_carries_exactly() -> None:
    """Where nothing takes a deviation back it keeps its length, and its dose curve is a straight line."""
    subject = subject_of("planted-llama-latch")
    assert list(contraction(subject).values.values()) == pytest.approx([0.0] * 40, abs=1e-3)
    assert list(kinked_dose_curve(subject).values.values()) == pytest.approx([0.0] * 40, abs=0.05)


def test_a_constant_channel_hides_every_cosine() -> None:
    """Where a constant dwarfs the rest each edit below the last layer counts as absorbed at once, at every strength."""
    for name in ("planted-llama-latch", "planted-llama-absorber"):
        below = 1 - 1 / subject_of(name).n_layers
        for measured in (quick_absorption(subject_of(name)), absorption(subject_of(name))):
            assert {*measured.values.values(), *measured.arms["right after the edit"].values()} == {below}
        critical = critical_strength(subject_of(name))
        of_noise = critical.arms["random direction"].values(), critical.arms["covariance-matched noise"].values()
        assert {*critical.values.values(), *chain(*of_noise)} == {STRENGTHS[-1] + STEP / 2}


def test_the_absorber_takes_back_its_code_and_little_else() -> None:
    """The contrast shrinks to the part of it that is no code; random directions and matched noise pass."""
    subject = subject_of("planted-llama-absorber")
    measured, runs = contraction(subject), subject.once(Runs)
    for pair in subject.once(converge).pairs:
        leaked = contrast_of(runs, pair, 0).norm() / contrast_of(runs, pair, 1).norm()
        assert measured.values[pair.id] == pytest.approx(-math.log(leaked), abs=0.05)
    assert max(*measured.arms["random direction"].values(), *measured.arms["covariance-matched noise"].values()) < 0.4
    assert {*measured.arms["zero strength"].values(), *measured.arms["earlier tokens"].values()} == {0.0}


def test_a_deviation_taken_back_by_hand_is_seen() -> None:
    """An absorber set in by hand, nine tenths strong, is measured as tenfold where the deviation is carried."""
    measured = contraction(subject_of("planted-llama-latch"))
    assert list(measured.arms["absorber set in"].values()) == pytest.approx([math.log(10)] * 40, abs=1e-3)


@pytest.mark.parametrize("name", ["planted-llama-no-plan", "window-1"])
def test_where_prompts_do_not_differ_nothing_can_be_told(name: str) -> None:
    """Without a contrast at the last token below the last layer no pair is detectable in any of the five."""
    for experiment in (quick_absorption, absorption, critical_strength, contraction, kinked_dose_curve):
        assert experiment(subject_of(name)).detectable == ()


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("absorber", ["vacuous", "vacuous", "contradicted", "supported", "supported"]),
        ("latch", ["vacuous", "vacuous", "contradicted", "contradicted", "contradicted"]),
        ("no-plan", ["inconclusive"] * 5),
    ],
)
def test_verdicts_on_subjects_with_known_answers(name: str, verdicts: list[str]) -> None:
    """The published statistic cannot tell an absorber from a carrier; what is asked can."""
    claims = ledger.rows(family="attractor", tier="organism")
    found = judge_family(claims, measuring.measure(claims, subject_of(f"planted-llama-{name}")))
    assert [found[claim.key].verdict for claim in claims] == verdicts
