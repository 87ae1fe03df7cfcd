"""Steering at equal cost: the arithmetic of paths, and what it gives on planted subjects."""

import math
import statistics
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import ledger
from prolepsis.experiments import measuring
from prolepsis.experiments.divergences import lumped_kl
from prolepsis.experiments.dose_paths import Path, Use, best_use, budgets, gains, reference_use
from prolepsis.experiments.rhyme_pairs import Runs
from prolepsis.experiments.steering import steer, transcoder_steering
from prolepsis.judge import judge
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject

costs = st.lists(st.floats(0.001, 5), min_size=3, max_size=3)
rises = st.lists(st.floats(-3, 10), min_size=3, max_size=3)


@cache
def subject_of(variant: str) -> Subject:
    """A planted subject; what has been measured on it stays with it."""
    return load_subject(f"planted-llama-{variant}")


def path_of(gained: list[float], cost: list[float]) -> Path:
    """A path with these gains and costs at its doses."""
    return Path((0.0, *gained), (0.0, *cost))


@given(gained=rises, cost=costs, budget=st.floats(0.01, 5), largest=st.integers(0, 3))
def test_a_gain_lies_on_the_path(gained: list[float], cost: list[float], budget: float, largest: int) -> None:
    """The gain within a budget lies between the gains of two neighbouring doses, none beyond the largest allowed."""
    path = path_of(gained, cost)
    found = path.within(budget, largest)
    assert min(path.gains[: largest + 1]) - 1e-9 <= found <= max(path.gains[: largest + 1]) + 1e-9


@given(gained=rises, cost=costs, largest=st.integers(0, 3))
def test_a_budget_for_everything_gives_the_largest_dose(gained: list[float], cost: list[float], largest: int) -> None:
    """Where nothing costs more than the budget the gain is that of the largest dose allowed."""
    assert path_of(gained, cost).within(max(cost), largest) == (0.0, *gained)[largest]


def test_cost_goes_with_the_square_of_a_small_dose() -> None:
    """A quarter of the first dose's cost buys half of its gain."""
    assert path_of([8.0, 9.0, 9.0], [0.4, 2.0, 3.0]).within(0.1, 3) == pytest.approx(4.0)


def test_a_dearer_dose_on_the_way_is_stepped_over() -> None:
    """A large dose that is cheap counts, though a smaller one costs more."""
    assert path_of([1.0, 7.0, 9.0], [2.0, 0.5, 3.0]).within(0.5, 2) == 7.0


def test_uses_maximise_what_they_promise() -> None:
    """The reference is used where gain less cost is largest, a rival where its gain within the budgets is."""
    reference = {"a": {"p": path_of([1, 4, 5], [0.1, 0.5, 4])}, "b": {"p": path_of([1, 2, 3], [0, 0, 0])}}
    use = reference_use(reference, ["p"])
    assert use == Use("a", 2)
    assert budgets(reference, use, ["p"]) == {"p": 0.5}
    rival = {"L0": {"p": path_of([3, 2, 9], [0.1, 0.2, 0.6])}, "L1": {"p": path_of([1, 5, 1], [0.1, 0.2, 0.3])}}
    assert best_use(rival, {"p": 0.5}, 3) == Use("L0", 3)
    assert best_use(rival, {"p": 0.5}, 2) == Use("L1", 2)
    share = (math.sqrt(0.5) - math.sqrt(0.2)) / (math.sqrt(0.6) - math.sqrt(0.2))
    assert gains(rival, Use("L0", 3), {"p": 0.5}) == {"p": pytest.approx(2 + share * 7)}


@given(seed=st.integers(0, 2**16))
def test_a_target_costs_nothing_by_itself(seed: int) -> None:
    """Moving probability among the target words costs nothing, moving it from them to others does."""
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(9, generator=generator, dtype=torch.float64).softmax(-1)
    within, leaking = clean.clone(), clean.clone()
    within[[0, 1]] = clean[[1, 0]]
    leaking[0] /= 2
    leaking[5] += clean[0] / 2
    cost = lumped_kl(clean, torch.stack([clean, within, leaking]), [0, 1]).tolist()
    assert cost[0] == pytest.approx(0, abs=1e-12)
    assert cost[1] == pytest.approx(0, abs=1e-12)
    assert cost[2] > 0


def test_a_dose_of_zero_changes_nothing() -> None:
    """A zero vector added at the site leaves the log-odds as they are, bit for bit."""
    assert set(transcoder_steering(subject_of("xor")).arms["zero dose"].values()) == {0.0}


@pytest.mark.parametrize(("variant", "chosen"), [("dormant", "word features"), ("xor", "active features")])
def test_the_random_write_is_matched_to_the_features_that_are_written(variant: str, chosen: str) -> None:
    """The null is matched to the variant of the transcoder's write that is tested, and costs something as it does."""
    found = subject_of(variant).once(steer)
    for uses in found.uses.values():
        assert uses["transcoder"].variant == uses["matched random"].variant == chosen
    for arm in ("transcoder", "matched random"):
        assert all(path.costs[-1] > 0 for path in found.paths[arm][chosen].values())


def test_a_half_has_no_part_in_its_own_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrecking one half's targets leaves what that half is tested with unchanged, and changes the other half's."""
    subject = subject_of("irrevocable")
    clean, answer = subject.once(steer), Runs.answer
    spoiled = {pair.donor.id: pair.recipient for pair in clean.pairs if pair.half == 0}
    monkeypatch.setattr(Runs, "answer", lambda runs, prompt: answer(runs, spoiled.get(prompt.id, prompt)))
    wrecked = steer(subject)
    assert wrecked.uses[0] == clean.uses[0]
    assert wrecked.uses[1] != clean.uses[1]


def test_features_steer_an_xor_that_differences_do_not() -> None:
    """In the XOR planner features restore the donor's log-odds at no cost; rows do so too, at a cost."""
    found = subject_of("xor").once(steer)
    assert min(found.gains("transcoder").values()) > 10
    assert max(found.gains("residual difference").values()) < 1
    assert max(found.gains("mean difference").values()) < 1
    rows = found.paths["residual difference"]["L0"].values()
    assert statistics.fmean(path.gains[2] for path in rows) > 10
    assert statistics.fmean(path.costs[2] for path in rows) > 0.5


@pytest.mark.parametrize(
    ("variant", "needed", "suffices"),
    [
        ("xor", "supported", "contradicted"),
        ("irrevocable", "contradicted", "supported"),
        ("no-plan", "inconclusive", "contradicted"),
        ("dormant", "inconclusive", "contradicted"),
    ],
)
def test_verdicts_on_subjects_with_known_answers(variant: str, needed: str, suffices: str) -> None:
    """A transcoder is needed for an XOR, not for a direction; where no row holds a plan the question cannot be put."""
    claims = {claim.id: claim for claim in ledger.rows(family="q1", variant="asked", tier="organism")}
    asked = [claims["X60"], claims["X61"]]
    measured = measuring.measure(asked, subject_of(variant))
    assert [judge(claim, measured[claim.key]).verdict for claim in asked] == [needed, suffices]
