"""Printed figures against what they are made of, and against themselves in other places."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import audit, ledger
from prolepsis.audit.figures import half_digit
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Published
from tests.paper_rows import disagreements


@pytest.mark.parametrize(
    ("value", "scale", "half"),
    [(0.621, "proportion", 0.0005), (0.7, "proportion", 0.005), (136.0, "count", 0), (140.0, "count", 0),
     (7.4, "count", 0.05), (160000.0, "fold", 5000.0), (3.4e11, "fold", 0.5e10), (8.0e-10, "probability", 0.5e-10)],
)  # fmt: skip
def test_rounding_hides_half_of_the_last_digit(value: float, scale: str, half: float) -> None:
    """A figure is known to half of its last printed digit: a count exactly, a proportion to a per cent at least."""
    assert half_digit(value, scale) == pytest.approx(half)


@pytest.mark.parametrize(
    ("entries", "scale", "wrong"),
    [
        ('{value = 4, of = "5 - 1", where = "a"}', "count", 0),
        ('{value = 4, of = "5", where = "a"}', "count", 1),
        ('{value = 80, of = "0.438 / 0.005", where = "a"}', "fold", 0),
        ('{value = 70, of = "0.438 / 0.005", where = "a"}', "fold", 1),
        ('{value = 13, of = "0.046 / 0.0035", where = "a"}', "fold", 0),
        ('{value = 13, of = "0.191 / 0.017", where = "a"}', "fold", 1),
        ('{value = 2, items = ["L1:H2", "L2:H2"], where = "a"}', "count", 0),
        ('{value = 3, items = ["L1:H2", "L2:H2"], where = "a"}', "count", 1),
        ('{value = 136, of = "4 * 34", where = "a"}', "count", 0),
        ('{value = 137, of = "4 * 34", where = "a"}', "count", 1),
        ('{value = 0.699, k = 95, n = 136, where = "a"}', "proportion", 0),
        ('{value = 0.69, k = 95, n = 136, where = "a"}', "proportion", 1),
        ('{value = 0.72, n = 25, where = "a"}', "proportion", 0),
        ('{value = 0.70, n = 25, where = "a"}', "proportion", 1),
    ],
)
def test_recomputed(tmp_path: Path, entries: str, scale: str, wrong: int) -> None:
    """A figure has to be what its expression, its count, or some count of its n gives, to its last digit."""
    assert len(disagreements(tmp_path, "recomputed", entries, scale)) == wrong


LAYERS = (
    '{name = "top", value = "the heads", items = ["L5:H17", "L6:H12", "L6:H24", "L9:H13", "L11:H0"], where = "a"}, '
    '{name = "late", value = 2, items = ["L14:H27", "L9:H13"], where = "b"}, '
)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ('{value = 7.4, of = "mean_layer(top)", where = "c"}', []),
        ('{value = 12.8, of = "mean_layer(top)", where = "c"}', ["12.8 (c): mean_layer(top) gives 7.4"]),
        ('{value = 1, of = "count(top & late)", where = "c"}', []),
        ('{value = 0, of = "count(top & late)", where = "c"}', ["0 (c): count(top & late) gives 1"]),
        ('{value = "L9", items = ["L9:H13"], of = "top & late", where = "c"}', []),
        ('{value = "L9", items = ["L9:H3"], of = "top & late", where = "c"}', ["L9 (c): top & late gives L9:H13"]),
        ('{value = "L9", items = ["L9:H3"], of = "top - top", where = "c"}', ["L9 (c): top - top gives nothing"]),
    ],
)
def test_what_is_said_of_lists_is_recomputed(tmp_path: Path, entry: str, wrong: list[str]) -> None:
    """Counts, mean layers and intersections are those of the printed lists; 37 / 5 is the mean of 5, 6, 6, 9 and 11."""
    assert disagreements(tmp_path, "recomputed", LAYERS + entry, "count") == wrong


@given(value=st.integers(1, 999), low=st.integers(0, 999), high=st.integers(0, 999))
def test_bounded(tmp_path_factory: pytest.TempPathFactory, value: int, low: int, high: int) -> None:
    """A figure outside the bounds printed for it is named with the bound, and no other is."""
    if low > high:
        low, high = high, low
    entry = f'{{value = "printed", of = "{value}", low = {low}, high = {high}, where = "a"}}'
    found = disagreements(tmp_path_factory.mktemp("rows"), "bounded", entry, "count")
    assert bool(found) == (not low <= value <= high)
    assert all(("below" in one) == (value < low) for one in found)


def test_rounding_does_not_take_a_figure_out_of_its_bounds(tmp_path: Path) -> None:
    """What may have been rounded across a bound is within it: 2 × .017 − .034 may be 0, 2 × .011 − .025 may not."""
    entry = '{{value = 0, of = "2 * {} - {}", low = 0, where = "a"}}'
    assert disagreements(tmp_path, "bounded", entry.format("0.017", "0.034"), "attention") == []
    (found,) = disagreements(tmp_path, "bounded", entry.format("0.011", "0.025"), "attention")
    assert found == "2 * 0.011 - 0.025 = -0.003 is below 0 (a)"


@given(values=st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_rising_and_falling(tmp_path_factory: pytest.TempPathFactory, values: list[int]) -> None:
    """Figures rise if none is below the one before and the last is above the first; reversed, they fall."""
    folder = tmp_path_factory.mktemp("rows")
    entries = [f'{{value = {value}, where = "row {place}"}}' for place, value in enumerate(values)]
    rises = values == sorted(values) and values[0] < values[-1]
    assert (disagreements(folder, "rising", ", ".join(entries), "count") == []) == rises
    assert (disagreements(folder, "falling", ", ".join(entries[::-1]), "count") == []) == rises


def test_one_value(tmp_path: Path) -> None:
    """Values printed to different digits agree where rounding can make them one; each pair that does not is named."""
    same = '{value = 0.70, where = "a"}, {value = 0.699, where = "b"}'
    assert disagreements(tmp_path, "one_value", same) == []
    other = same + ', {value = 0.62, where = "c"}'
    assert disagreements(tmp_path, "one_value", other) == ["0.7 (a) is not 0.62 (c)", "0.699 (b) is not 0.62 (c)"]


@pytest.mark.parametrize(
    ("rule", "entries", "message"),
    [
        ("recomputed", '{value = 3, where = "a"}', "3 (a) has no of, k, n or items"),
        ("recomputed", '{value = 3, of = "1 + x", where = "a"}', "published 1: of: 'x' names no list"),
        ("bounded", '{value = 3, where = "a"}', "3 (a) has no low or high"),
        ("rising", '{value = 3, where = "a"}', "needs two published figures"),
        ("one_value", '{value = 3, where = "a"}', "needs two published entries"),
        ("one_value", '{value = "all", where = "a"}, {value = 3, where = "b"}', "'all' (a) is a text"),
    ],
)
def test_a_row_a_rule_cannot_read_is_refused(tmp_path: Path, rule: str, entries: str, message: str) -> None:
    """A row without what its rule needs is named in one line."""
    with pytest.raises(UserError) as caught:
        disagreements(tmp_path, rule, entries)
    assert message in str(caught.value)


def supported(*rules: str) -> list[Claim]:
    """The ledger's rows of these rules in which nothing disagrees."""
    rows = [claim for claim in ledger.rows(tier="arithmetic") if claim.experiment in rules]
    return [claim for claim in rows if not wrong_in(claim)]


def wrong_in(claim: Claim) -> list[str]:
    """What the rule of a row finds wrong in it."""
    found: list[str] = audit.rule(claim.experiment)(claim).detail["disagreements"]
    return found


def test_no_row_would_pass_whatever_was_printed() -> None:
    """In each supported row, any one figure more than doubled is a disagreement, and so is an order reversed."""
    for claim in supported("recomputed", "one_value"):
        for place, entry in enumerate(claim.published):
            if not isinstance(entry["value"], str):
                of = entry["of"] if claim.experiment == "recomputed" else None
                fault: Published = {**entry, "value": 2 * entry["value"] + 1, "of": of}
                planted = (*claim.published[:place], fault, *claim.published[place + 1 :])
                assert wrong_in(replace(claim, published=planted)), (claim.id, entry["where"])
    for claim in supported("rising", "falling"):
        assert wrong_in(replace(claim, published=claim.published[::-1])), claim.id


def test_every_arithmetic_row_has_its_rule() -> None:
    """Each arithmetic row of the ledger names a rule that is there and can read it."""
    rows: Any = ledger.rows(tier="arithmetic")
    assert len(audit.measure(rows)) == len(rows) > 0
