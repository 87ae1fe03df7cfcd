"""Printed figures against what they are made of, and against themselves in other places."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis import audit, ledger
from prolepsis.audit.figures import evaluate, half_digit
from prolepsis.errors import UserError
from prolepsis.ledger import Claim

ROW = """
[[claim]]
id = "B99"
variant = "published"
section = "5"
statement = "The figures agree."
kind = "arithmetic"
population = "the paper"
scale = "{scale}"
family = "arithmetic"
published = [{entries}]
experiment = "{rule}"
tiers = ["arithmetic"]
"""


def claim(folder: Path, rule: str, entries: str, scale: str = "proportion") -> Claim:
    """An arithmetic claim with these published entries."""
    path = folder / f"{abs(hash((rule, entries, scale)))}.toml"
    path.write_text(ROW.format(rule=rule, entries=entries, scale=scale))
    (row,) = ledger.load(path)
    return row


def disagreements(folder: Path, rule: str, entries: str, scale: str = "proportion") -> list[str]:
    """What a rule finds wrong in these entries."""
    found = audit.rule(rule)(claim(folder, rule, entries, scale)).detail["disagreements"]
    assert isinstance(found, list)
    return found


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 99)), min_size=1, max_size=6), st.integers(0, 99))
def test_an_expression_has_the_value_python_gives_it(steps: list[tuple[str, int]], first: int) -> None:
    """Sums and products of printed numbers, here all below 2^53, are computed with the usual precedence."""
    text = str(first) + "".join(f" {sign} {number}" for sign, number in steps)
    assert evaluate(text) == eval(text)


@pytest.mark.parametrize(
    "text", ["__import__('os')", "2 ** 9", "x + 1", "1 / 0", "True + 1", "", "(1, 2)", "'12'", "1j"]
)
def test_an_expression_of_anything_else_is_refused(text: str) -> None:
    """Only numbers with + - * / are computed."""
    with pytest.raises(ValueError, match="is no expression of numbers"):
        evaluate(text)


@pytest.mark.parametrize(
    ("value", "scale", "half"),
    [(0.621, "proportion", 0.0005), (0.7, "proportion", 0.005), (136.0, "count", 0.5), (140.0, "count", 0.5),
     (160000.0, "fold", 5000.0), (3.4e11, "fold", 0.5e10), (8.0e-10, "probability", 0.5e-10)],
)  # fmt: skip
def test_rounding_hides_half_of_the_last_digit(value: float, scale: str, half: float) -> None:
    """A figure is known to half of its last printed digit: a count exactly, a proportion to a per cent at least."""
    assert half_digit(value, scale) == pytest.approx(half)


@pytest.mark.parametrize(
    ("entries", "scale", "wrong"),
    [
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


def test_one_value(tmp_path: Path) -> None:
    """Values printed to different digits agree where rounding can make them one; each pair that does not is named."""
    same = '{value = 0.70, where = "a"}, {value = 0.699, where = "b"}'
    assert disagreements(tmp_path, "one_value", same) == []
    other = same + ', {value = 0.62, where = "c"}'
    assert disagreements(tmp_path, "one_value", other) == ["0.7 (a) is not 0.62 (c)", "0.699 (b) is not 0.62 (c)"]


@pytest.mark.parametrize(
    ("rule", "entries", "message"),
    [
        ("recomputed", '{value = 3, where = "a"}', "3 (a) has no of, k or n"),
        ("recomputed", '{value = 3, of = "1 + x", where = "a"}', "'x' is no expression"),
        ("one_value", '{value = 3, where = "a"}', "needs two published entries"),
        ("one_value", '{value = "all", where = "a"}, {value = 3, where = "b"}', "'all' (a) is a text"),
    ],
)
def test_a_row_a_rule_cannot_read_is_refused(tmp_path: Path, rule: str, entries: str, message: str) -> None:
    """A row without what its rule needs is named in one line."""
    with pytest.raises(UserError) as caught:
        disagreements(tmp_path, rule, entries)
    assert message in str(caught.value)


def test_every_arithmetic_row_has_its_rule() -> None:
    """Each arithmetic row of the ledger names a rule that is there and can read it."""
    rows: Any = ledger.rows(tier="arithmetic")
    assert len(audit.measure(rows)) == len(rows) > 0
