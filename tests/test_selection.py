"""How edits and readouts are written, and what is refused."""

import pytest
from hypothesis import given

from prolepsis.errors import UserError
from prolepsis.reachability.selection import (
    Added,
    Readout,
    Skipped,
    Support,
    parse_edits,
    parse_readout,
)
from tests.reach_cases import edits, few, readouts


@few
@given(edits, readouts)
def test_places_are_written_as_they_are_read(edit: Support, readout: Readout) -> None:
    """Parsing what a place prints gives the place back, with either arrow."""
    assert parse_edits(str(edit)) == (edit,)
    assert parse_edits(str(edit).replace("→", "->")) == (edit,)
    assert parse_readout(str(readout)) == readout


def test_a_range_of_layers_is_one_edit_per_layer() -> None:
    """L2..4@7 stands for layers 2, 3 and 4, and L2..3@7..8 for both of them at either position."""
    assert parse_edits("L2..4@7") == (Added(2, 7), Added(3, 7), Added(4, 7))
    assert parse_edits("L2..3@7..8") == (Added(2, 7), Added(3, 7), Added(2, 8), Added(3, 8))
    assert parse_edits(" skip  L0..1 ") == (Skipped(0), Skipped(1))


@pytest.mark.parametrize(
    "text", ["", "L2", "L2@", "5@3", "skip L1@2", "freeze L1", "block L1:H0 3", "L1:H0 3->2", "Lx@3"]
)
def test_other_edits_are_refused_by_name(text: str) -> None:
    """What is no edit is refused with the forms that are."""
    with pytest.raises(UserError, match="is none of: L23@31"):
        parse_edits(text)


@pytest.mark.parametrize("text", ["", "logits", "L2..3@4", "token", "L1:H0", "skip L1", "mid L1:H0@3"])
def test_other_readouts_are_refused_by_name(text: str) -> None:
    """What is no readout is refused with the forms that are."""
    with pytest.raises(UserError, match="is none of: logits@31"):
        parse_readout(text)


@pytest.mark.parametrize("text", ["L5..3@1", "L3@5..1"])
def test_a_downward_range_is_refused(text: str) -> None:
    """L5..3@1 is a slip, not an empty edit."""
    with pytest.raises(UserError, match=r"(layers 5\.\.3|positions 5\.\.1) run downwards"):
        parse_edits(text)
