"""What printed figures and printed lists give together: the expressions of the ledger's ``of`` (imports no torch).

A whole number is exact; a number with a decimal point or an exponent is known to half of its last digit, and so is
what is computed from it: "0.438 / 0.005" is 87.6, and may be anything from 79.5 to 97.4. Lists are called by name.

======================================  ==============================================================================
a + b, a - b, a * b, a / b              numbers
x & y, x | y, x - y                     what both lists name, what either names, what the first alone names
count(x)                                how many names
mean_layer(x) first_layer(x)            layers of a list of heads (L21:H5) or features (L22:10243), from 0 on
last_layer(x)
last_number(x)                          the largest number of a head or feature within its layer
numbered(x, 5)                          the heads or features of that number
in_layers(x, 24, 25)                    those from the first to the last of these layers
======================================  ==============================================================================
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import product
from statistics import fmean
from typing import NamedTuple


class Quantity(NamedTuple):
    """A number and the range that the rounding of its parts leaves open."""

    value: float
    low: float
    high: float


Names = tuple[str, ...]
Value = Quantity | Names

NUMBERS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LISTS: Mapping[type[ast.operator], Callable[[Names, Names], Names]] = {
    ast.BitAnd: lambda x, y: tuple(name for name in x if name in y),
    ast.BitOr: lambda x, y: tuple(dict.fromkeys(x + y)),
    ast.Sub: lambda x, y: tuple(name for name in x if name not in y),
}
PLACE = re.compile(r"\bL(\d+):H?(\d+)\b")


def evaluate(expression: str, lists: Mapping[str, Names]) -> Value:
    """The number or the list an expression gives; raises ValueError, with what is wrong, for one that gives none."""
    try:
        return _Reader(expression, lists).value(ast.parse(expression, mode="eval").body)
    except SyntaxError:
        raise ValueError(f"{expression!r} is no expression of numbers or lists") from None


def number(expression: str, lists: Mapping[str, Names]) -> Quantity:
    """The number an expression gives; raises ValueError where it gives none."""
    found = evaluate(expression, lists)
    if not isinstance(found, Quantity):
        raise ValueError(f"{expression!r} gives a list, no number; count it")
    return found


def names(expression: str, lists: Mapping[str, Names]) -> Names:
    """The list an expression gives; raises ValueError where it gives none."""
    found = evaluate(expression, lists)
    if isinstance(found, Quantity):
        raise ValueError(f"{expression!r} gives a number, no list; remove items")
    return found


def places(heads: Names) -> list[tuple[int, int]]:
    """(layer, number) of each head or feature in a list; raises ValueError for a name that has none."""
    found = []
    for name in heads:
        place = PLACE.search(name)
        if place is None:
            raise ValueError(f"{name!r} is no head or feature, as L21:H5 or L22:10243")
        found.append((int(place[1]), int(place[2])))
    return found


def _numbered(heads: Names, chosen: int) -> Names:
    return tuple(name for name, (_, place) in zip(heads, places(heads), strict=True) if place == chosen)


def _in_layers(heads: Names, first: int, last: int) -> Names:
    return tuple(name for name, (layer, _) in zip(heads, places(heads), strict=True) if first <= layer <= last)


MEASURES: Mapping[str, Callable[[Names], float]] = {
    "count": len,
    "mean_layer": lambda heads: fmean(layer for layer, _ in places(heads)),
    "first_layer": lambda heads: min(layer for layer, _ in places(heads)),
    "last_layer": lambda heads: max(layer for layer, _ in places(heads)),
    "last_number": lambda heads: max(place for _, place in places(heads)),
}
CHOICES: Mapping[str, tuple[int, Callable[..., Names]]] = {"numbered": (1, _numbered), "in_layers": (2, _in_layers)}
"""Name → how many whole numbers follow the list, and what it leaves of the list."""


class _Reader:
    """Reads the tree of one expression; every refusal is a ValueError that quotes the part it is about."""

    def __init__(self, text: str, lists: Mapping[str, Names]) -> None:
        self.text, self.lists = text, lists

    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=int() | float() as found) if not isinstance(found, bool):
                return self._literal(node, found)
            case ast.Name(id=name) if name in self.lists:
                return self.lists[name]
            case ast.Name(id=name):
                raise ValueError(f"{name!r} names no list of this row; known: {', '.join(self.lists) or 'none'}")
            case ast.BinOp(left, operation, right):
                return self._combined(node, self.value(left), type(operation), self.value(right))
            case ast.Call(func=ast.Name(id=name), args=[first, *rest], keywords=[]):
                return self._called(node, name, self.value(first), [self.value(one) for one in rest])
            case _:
                raise self._refused(node)

    def _literal(self, node: ast.expr, found: float) -> Quantity:
        if isinstance(found, int):
            return Quantity(found, found, found)
        digit = Decimal(ast.get_source_segment(self.text, node) or "").as_tuple().exponent
        half = 0.5 * 10.0**digit if isinstance(digit, int) else 0.0
        return Quantity(found, found - half, found + half)

    def _combined(self, node: ast.expr, left: Value, operation: type[ast.operator], right: Value) -> Value:
        if isinstance(left, Quantity) and isinstance(right, Quantity) and operation in NUMBERS:
            if operation is ast.Div and right.low <= 0 <= right.high:
                raise ValueError(f"{ast.unparse(node)!r} divides by what may be 0")
            calculate = NUMBERS[operation]
            corners = [calculate(*ends) for ends in product((left.low, left.high), (right.low, right.high))]
            return Quantity(calculate(left.value, right.value), min(corners), max(corners))
        if not isinstance(left, Quantity) and not isinstance(right, Quantity) and operation in LISTS:
            return LISTS[operation](left, right)
        raise self._refused(node)

    def _called(self, node: ast.expr, name: str, first: Value, rest: list[Value]) -> Value:
        if isinstance(first, Quantity):
            raise self._refused(node)
        if name in MEASURES and not rest:
            if not first and name != "count":
                raise ValueError(f"{ast.unparse(node)!r} is asked of an empty list")
            found = float(MEASURES[name](first))
            return Quantity(found, found, found)
        whole = [int(one.value) for one in rest if isinstance(one, Quantity) and one.value == int(one.value)]
        if name in CHOICES and len(whole) == len(rest) == CHOICES[name][0]:
            return CHOICES[name][1](first, *whole)
        raise self._refused(node)

    @staticmethod
    def _refused(node: ast.expr) -> ValueError:
        return ValueError(f"{ast.unparse(node)!r} is no expression of numbers or lists")
