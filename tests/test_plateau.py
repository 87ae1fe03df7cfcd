"""Training that goes on until the held-out loss rests."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.errors import UserError
from prolepsis.organisms import grammar, train
from prolepsis.organisms.plateau import Plateau
from prolepsis.organisms.recipes import RECIPES
from prolepsis.organisms.training import HELD_OUT_DOCUMENTS, HELD_OUT_SEED, held_out_loss, train_model
from prolepsis.watching import shown_by
from tests.seen import Seen
from tests.tiny_recipes import TINY, TINY_ROUNDS

pytestmark = pytest.mark.usefixtures("one_thread")


EIGHTHS = st.integers(1, 40).map(lambda eighths: eighths / 8)  # exact in floating point


@given(st.lists(EIGHTHS, min_size=2, max_size=8), EIGHTHS)
def test_training_rests_at_the_lowest_loss(losses: list[float], tolerance: float) -> None:
    """Training ends exactly when the last loss is less than the tolerance away from the lowest before it."""
    lowest = min(losses[:-1])
    assert Plateau(tolerance, 9).reached(losses) == (lowest - tolerance < losses[-1] < lowest + tolerance)


@given(EIGHTHS, EIGHTHS, EIGHTHS, st.integers(2, 12))
def test_rest_is_a_plateau_and_no_value(start: float, floor: float, tolerance: float, rounds: int) -> None:
    """Losses that halve their distance to a floor end at the first step below the tolerance, wherever the floor is."""
    losses = [floor + start / 2**n for n in range(rounds)]
    reached = [Plateau(tolerance, 9).reached(losses[: n + 1]) for n in range(rounds)]
    assert reached == [n > 0 and start / 2**n < tolerance for n in range(rounds)]


@given(EIGHTHS)
def test_one_round_is_no_plateau(loss: float) -> None:
    """With nothing to compare it with, a loss is at no rest."""
    assert not Plateau(1e9, 9).reached([])
    assert not Plateau(1e9, 9).reached([loss])


@pytest.mark.parametrize(("tolerance", "rounds"), [(1e9, 2), (0.04, 9)])
def test_training_goes_on_to_its_plateau(tolerance: float, rounds: int) -> None:
    """Whole schedules are gone through until the rule holds, and no further; whoever watches is shown each step."""
    made = dataclasses.replace(TINY_ROUNDS, plateau=Plateau(tolerance, rounds))
    seen = Seen()
    with shown_by(seen):
        fit = train_model(made, 0)
    assert seen.loops == [("steps", made.steps)] * len(fit.losses)
    assert fit.steps == made.steps * len(fit.losses)
    ends = [Plateau(tolerance, rounds).reached(fit.losses[: n + 1]) for n in range(len(fit.losses))]
    assert ends == [False] * (len(ends) - 1) + [True]
    held_out = torch.from_numpy(grammar.corpus(HELD_OUT_DOCUMENTS, HELD_OUT_SEED))
    assert fit.losses[-1] == pytest.approx(held_out_loss(fit.model, None, held_out), abs=1e-3)


def test_one_schedule_is_the_first_round() -> None:
    """A recipe without a plateau trains just as the first round of one with a plateau does, and measures no loss."""
    alone = train_model(dataclasses.replace(TINY, steps=6), 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plateau, "reached", lambda _, losses: len(losses) == 1)
        first = train_model(dataclasses.replace(TINY, steps=6, plateau=Plateau(1.0, 1)), 3)
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(weight, first.model.state_dict()[name])
    assert (alone.losses, len(first.losses)) == ((), 1)


def test_training_without_rest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose loss still falls in the last round allowed is not saved, and the message says by how much."""
    monkeypatch.setitem(RECIPES, "tiny", dataclasses.replace(TINY, plateau=Plateau(1e-9, 3)))
    with pytest.raises(UserError, match=r"tiny was not saved: its held-out loss still moved by 0\.\d+ nats in round 3"):
        train.run("tiny", tmp_path / "tiny")
    assert not list(tmp_path.iterdir())


def test_how_training_went_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """subject.json records the rule, the steps it took, the last held-out loss and what the last round did to it."""
    made = dataclasses.replace(TINY_ROUNDS, features=0)
    monkeypatch.setitem(RECIPES, "tiny", made)
    fit = train_model(made, 2)
    train.run("tiny", tmp_path / "tiny", seed=2)
    about = json.loads((tmp_path / "tiny" / "subject.json").read_text())
    assert about["recipe"]["plateau"] == {"tolerance": 0.04, "rounds": 9}
    assert about["training"] == {
        "steps": fit.steps,
        "held_out_loss": fit.losses[-1],
        "improvement": min(fit.losses[:-1]) - fit.losses[-1],
    }
