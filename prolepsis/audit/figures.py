"""Whether printed figures follow from the figures they are made of, and whether what is printed twice is one value."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import combinations

from prolepsis.audit.counts import audited
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Published
from prolepsis.measurement import Measurement
from prolepsis.statistics import grim

OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
PER_CENT = -2
"""A proportion is printed to whole per cent at least; TOML keeps no trailing zeros, so 0.70 is read that way."""


def recomputed(claim: Claim) -> Measurement:
    """Each figure is what the figures it is made of give, to its last printed digit.

    An entry with ``of`` has to be that expression's value, one with k and n that ratio, and one with n alone the ratio
    of some whole number to n (Brown & Heathers 2017). Raises UserError where an entry has none of them.
    """
    wrong, detail = [], {}
    for entry in claim.published:
        value = _value(claim, entry)
        made_of, found = _made_of(claim, entry, value)
        detail[f"{entry['where']}: {made_of}"] = found
        if not _agrees(entry, value, found, half_digit(value, claim.scale)):
            wrong.append(f"{value:g} ({entry['where']}): {made_of} gives {found:.4g}")
    return audited(claim, wrong, {"recomputed": detail})


def one_value(claim: Claim) -> Measurement:
    """All entries print one value, as far as their last digits tell."""
    values = [_value(claim, entry) for entry in claim.published]
    if len(values) < 2:
        raise UserError(f"claim {claim.id}: rule one_value needs two published entries or more")
    slack = {value: half_digit(value, claim.scale) for value in values}
    wrong = [
        f"{one:g} ({first['where']}) is not {other:g} ({second['where']})"
        for (one, first), (other, second) in combinations(zip(values, claim.published, strict=True), 2)
        if abs(one - other) > (slack[one] + slack[other]) * (1 + 1e-9)
    ]
    return audited(claim, wrong, {"values": {entry["where"]: entry["value"] for entry in claim.published}})


def half_digit(value: float, scale: str) -> float:
    """Half of the last digit a value is printed with: what rounding can hide."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    digit = exponent if isinstance(exponent, int) else 0
    if scale == "count":
        digit = min(digit, 0)
    return 0.5 * 10.0 ** (min(digit, PER_CENT) if scale == "proportion" else digit)


def evaluate(expression: str) -> float:
    """The value of a sum, product or quotient of numbers; raises ValueError for anything else."""
    try:
        return _evaluate(ast.parse(expression, mode="eval").body)
    except (SyntaxError, ZeroDivisionError):
        raise ValueError(f"{expression!r} is no expression of numbers with + - * /") from None


def _evaluate(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    raise ValueError(f"{ast.unparse(node)!r} is no expression of numbers with + - * /")


def _agrees(entry: Published, value: float, found: float, slack: float) -> bool:
    """Whether ``found`` rounds to ``value``; where only n is known, whether any count of n does."""
    if entry["of"] is None and entry["k"] is None and entry["n"] is not None:
        decimals = round(-math.log10(2 * slack))
        return grim(100 * value, entry["n"], decimals + PER_CENT)
    return abs(found - value) <= slack * (1 + 1e-9)


def _made_of(claim: Claim, entry: Published, value: float) -> tuple[str, float]:
    """What an entry is made of, in words, and what that gives."""
    of, k, n = entry["of"], entry["k"], entry["n"]
    if of is not None:
        try:
            return of, evaluate(of)
        except ValueError as error:
            raise UserError(f"claim {claim.id}: {error}") from None
    if n is None:
        raise UserError(f"claim {claim.id}: {value:g} ({entry['where']}) has no of, k or n to recompute it from")
    if k is not None:
        return f"{k} of {n}", k / n
    nearest = round(value * n)
    return f"the nearest count, {nearest} of {n},", nearest / n


def _value(claim: Claim, entry: Published) -> float:
    value = entry["value"]
    if isinstance(value, str):
        raise UserError(f"claim {claim.id}: {value!r} ({entry['where']}) is a text; {claim.experiment} needs numbers")
    return value
