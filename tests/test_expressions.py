"""Expressions of printed numbers and printed lists: what they give, and how far rounding lets it be off."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prolepsis.expressions import Quantity, evaluate, names, number

HEADS = ("L21:H5", "L20:H6", "L17:H4", "L23:H5")
LISTS = {"top": HEADS, "other": ("L23:H5", "L25:H5"), "words": ("found (L25:6000)", "round (L24:15683)"), "none": ()}


@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 999)), min_size=1, max_size=6), st.integers(0, 999))
def test_whole_numbers_have_the_value_python_gives_them(steps: list[tuple[str, int]], first: int) -> None:
    """Sums and products of whole numbers are computed with the usual precedence, and are exact."""
    text = str(first) + "".join(f" {sign} {number}" for sign, number in steps)
    assert evaluate(text, {}) == (eval(text),) * 3


@given(
    printed=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    digits=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    sign=st.sampled_from("+-*/"),
)
def test_what_was_rounded_lies_in_the_range(
    printed: tuple[int, int], digits: tuple[int, int], shift: tuple[float, float], sign: str
) -> None:
    """Whatever two numbers were before they were rounded as printed, their result lies in the range that is given."""
    texts = [f"{whole / 10**digit:.{digit}f}" for whole, digit in zip(printed, digits, strict=True)]
    before = [(whole + move) / 10**digit for whole, move, digit in zip(printed, shift, digits, strict=True)]
    true = eval(f"{before[0]!r} {sign} {before[1]!r}")
    found = number(f"{texts[0]} {sign} {texts[1]}", {})
    slack = 1e-9 * (1 + abs(true))
    assert found.low - slack <= true <= found.high + slack
    assert found.low <= found.value <= found.high


def test_ranges_meet_hand_computed_ones() -> None:
    """0.438 / 0.005 lies between .4375 / .0055 and .4385 / .0045; trailing zeros and exponents count as digits."""
    assert number("0.438 / 0.005", {}) == pytest.approx((87.6, 0.4375 / 0.0055, 0.4385 / 0.0045))
    assert number("8.0e-10", {}) == pytest.approx((8e-10, 7.95e-10, 8.05e-10))
    assert number("0.50", {}) == pytest.approx((0.5, 0.495, 0.505))
    assert number("3 / 4", {}) == Quantity(0.75, 0.75, 0.75)


@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_lists_are_sets_in_their_order(one: set[int], other: set[int]) -> None:
    """&, | and - of two lists are those of the sets they name, and name nothing twice."""
    lists = {"x": tuple(map(str, sorted(one, reverse=True))), "y": tuple(map(str, sorted(other)))}
    for sign, expected in (("&", one & other), ("|", one | other), ("-", one - other)):
        found = names(f"x {sign} y", lists)
        assert set(found) == {str(name) for name in expected}
        assert number(f"count(x {sign} y)", lists).value == len(found) == len(expected)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count(top)", 4),
        ("count(none)", 0),
        ("mean_layer(top)", (21 + 20 + 17 + 23) / 4),
        ("first_layer(top)", 17),
        ("last_layer(top | other)", 25),
        ("last_number(words)", 15683),
        ("(26 - first_layer(top)) / 26", 9 / 26),
        ("count(in_layers(top, 20, 21))", 2),
    ],
)
def test_lists_have_layers_and_numbers(text: str, value: float) -> None:
    """Counts, layers and numbers of heads and features are those of their names, wherever in the name they stand."""
    assert number(text, LISTS).value == pytest.approx(value)


def test_lists_are_chosen_from_by_number_and_layer() -> None:
    """numbered() and in_layers() leave the names of that number, or of those layers, first and last included."""
    assert names("numbered(top | other, 5)", LISTS) == ("L21:H5", "L23:H5", "L25:H5")
    assert names("in_layers(top, 17, 20)", LISTS) == ("L20:H6", "L17:H4")
    assert names("in_layers(words, 25, 25)", LISTS) == ("found (L25:6000)",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "is no expression"),
        ("2 ** 9", "'2 ** 9' is no expression"),
        ("x + 1", "'x' names no list of this row; known: top, other, words, none"),
        ("1 / 0", "'1 / 0' divides by what may be 0"),
        ("1 / 0.00", "divides by what may be 0"),
        ("1 / (0.2 - 0.1)", "divides by what may be 0"),
        ("True + 1", "'True' is no expression"),
        ("", "'' is no expression"),
        ("(1, 2)", "is no expression"),
        ("top + other", "'top + other' is no expression"),
        ("top & 1", "'top & 1' is no expression"),
        ("count(3)", "is no expression"),
        ("count(top, 3)", "is no expression"),
        ("numbered(top)", "is no expression"),
        ("numbered(top, 5.5)", "is no expression"),
        ("median(top)", "is no expression"),
        ("mean_layer(none)", "is asked of an empty list"),
        ("top", "gives a list, no number; count it"),
    ],
)
def test_what_gives_no_number_is_refused(text: str, message: str) -> None:
    """Anything but numbers, lists and the functions of lists is refused with the part that is wrong."""
    with pytest.raises(ValueError, match=re.escape(message)):
        number(text, LISTS)


def test_a_name_without_a_layer_has_none() -> None:
    """Layers are asked of heads and features alone; a number is no list."""
    with pytest.raises(ValueError, match="'round' is no head or feature, as L21:H5"):
        number("mean_layer(x)", {"x": ("round",)})
    with pytest.raises(ValueError, match="gives a number, no list"):
        names("count(x)", {"x": ("round",)})
