"""What the wiring says cannot be reached is measured all the same, and equals the clean run bit for bit."""

from functools import cache

import pytest
import torch
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from prolepsis import ledger, shams
from prolepsis.edits import Add
from prolepsis.engine import clean_run
from prolepsis.errors import HarnessFault, Untested, UserError
from prolepsis.experiments import families
from prolepsis.judge import judge
from prolepsis.measurement import Measurement
from prolepsis.reach import Reach
from prolepsis.reachability.selection import Logits, Readout, Token
from prolepsis.shams import reach_row
from prolepsis.subject import Subject
from prolepsis.subjects.loading import load_subject
from tests.test_reach_engine import LENGTH, READOUTS, TOKENS, Rows, row_of, rows
from tests.tiny import FAMILIES, tiny_subject

torch.set_num_threads(1)

ANY_READOUT = st.one_of(*READOUTS.values(), st.builds(Token, st.integers(1, 2)))


@cache
def float32_model(family: str, seed: int) -> Subject:
    """A tiny random model in the precision that experiments run in."""
    return tiny_subject(family, seed, dtype=torch.float32)


@cache
def one_layer_subject() -> Subject:
    """The bundled subject of which the wiring forbids most: one layer, and a window of five tokens."""
    return load_subject("window-1")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FAMILIES), rows(LENGTH - 1), ANY_READOUT, st.integers(0, 3))
def test_what_cannot_be_reached_does_not_move_a_bit(family: str, edits: Rows, readout: Readout, seed: int) -> None:
    """For all edits, given edits and readouts: the unreachable ones are measured, and no bit of them moves."""
    subject, (varied, present) = float32_model(family, seed), edits
    row = row_of(present + varied, subject, seed)
    clean = clean_run(subject, TOKENS[:LENGTH])
    try:
        found = reach_row(clean, row[len(present) :], readout, given=row[: len(present)])
    except UserError:
        assume(False)
    event(f"{type(readout).__name__}: {found['reachable']}")
    assert ("moved" in found) == (not found["reachable"])
    assert not found.get("moved", False), found


@pytest.mark.parametrize("readout", [Logits(LENGTH - 1), Token(1)])
def test_a_readout_that_moves_against_the_wiring_is_caught(monkeypatch: pytest.MonkeyPatch, readout: Readout) -> None:
    """Were reach wrong about a readout, the row would say that it moved, and judging it would be refused."""
    monkeypatch.setattr(shams, "reach", lambda *_, **__: Reach(False, "so it is said"))
    subject = float32_model("llama", 0)
    vector = 9 * (subject.unembedding[3] - subject.unembedding[TOKENS[LENGTH - 1]])
    row = reach_row(clean_run(subject, TOKENS[:LENGTH]), [Add(subject.n_layers - 1, LENGTH - 1, vector)], readout)
    assert row["moved"]
    claim = next(claim for claim in ledger.rows(tier="organism") if claim.scale == "nats")
    values = {f"item {i}": 5.0 + i for i in range(12)}
    clusters = {item: (item,) for item in values}
    measured = Measurement("moved", "tiny", "nats", "one-way", {}, values, clusters, reach={"rows": [row]})
    with pytest.raises(HarnessFault, match="moved although it cannot be reached"):
        judge(claim, measured)


def test_a_row_says_what_it_is_about() -> None:
    """Name, item and whether the claim is about it are in the row; an item is named only where one is given."""
    clean = clean_run(float32_model("llama", 0), TOKENS[:LENGTH])
    edit = [Add(1, 2, torch.ones(clean.subject.d_model))]
    row = reach_row(clean, edit, Logits(LENGTH - 1))
    assert row["name"] == f"L1@2 → logits@{LENGTH - 1}"
    assert row["claimed"]
    assert "item" not in row
    named = reach_row(clean, edit, Logits(1), name="before", claimed=False, item="a pair")
    assert (named["name"], named["claimed"], named["item"]) == ("before", False, "a pair")
    assert not named["reachable"]


@pytest.mark.parametrize("name", sorted(families.MODULES))
def test_every_experiment_measures_what_it_calls_unreachable(name: str) -> None:
    """No experiment takes the wiring's word: each readout it calls unreachable was measured, and did not move."""
    try:
        measured = families.experiment(name)(one_layer_subject())
    except Untested as missing:
        pytest.skip(str(missing))
    unreachable = [row for row in (measured.reach or {}).get("rows", ()) if not row["reachable"]]
    assert all(row.get("moved") is False for row in unreachable), [row["name"] for row in unreachable]


@pytest.mark.parametrize("name", ["interchange", "necessity", "hand_off", "regeneration"])
def test_one_layer_has_something_to_measure(name: str) -> None:
    """In a one-layer model every site is unreachable, so the rule above has rows to hold for."""
    reach = families.experiment(name)(one_layer_subject()).reach
    assert reach is not None
    assert reach["rows"]
    assert not any(row["reachable"] for row in reach["rows"])
