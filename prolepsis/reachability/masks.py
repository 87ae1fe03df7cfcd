"""Mask rules: which earlier tokens a token may see, beyond causality and sliding windows (numpy only, no torch).

A rule is called with ``query`` and ``key``, integer arrays of positions that broadcast against each other, and
``tokens``, the whole sequence of token ids; it returns a boolean array, True where the query may see the key. A rule
looks only at tokens up to and including the query, so that it can be used while generating with a cache.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from prolepsis.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IntArray: TypeAlias = "npt.NDArray[np.int64]"
BoolArray: TypeAlias = "npt.NDArray[np.bool_]"


class MaskRule(Protocol):
    """A predicate on (query, key, tokens); True where the query position may see the key position."""

    def __call__(self, query: IntArray, key: IntArray, tokens: IntArray) -> BoolArray: ...

    def describe(self) -> dict[str, Any]:
        """The rule as plain JSON types, the inverse of :func:`mask_rule`."""
        ...


@dataclass(frozen=True)
class CoupletBarrier:
    """Hides line 1 from line 2, and a person's first name from all but the last name that follows it.

    Positions after the first ``newline`` token see neither position 1 nor any other position before it, except
    position 0 (BOS). A token in ``first_names`` is visible to itself and to the next position only.
    """

    newline: int
    first_names: tuple[int, ...] = ()

    def __call__(self, query: IntArray, key: IntArray, tokens: IntArray) -> BoolArray:
        import numpy as np

        positions = np.flatnonzero(tokens == self.newline)
        line_end = int(positions[0]) if len(positions) else len(tokens)
        hidden = (query > line_end) & (key < line_end) & (key > 0)
        name = np.isin(tokens, self.first_names)[key] & (query > key + 1)
        return np.asarray(~(hidden | name))

    def describe(self) -> dict[str, Any]:
        return {"kind": "couplet-barrier", "newline": self.newline, "first_names": list(self.first_names)}


def mask_rule(description: Mapping[str, Any] | None) -> MaskRule | None:
    """The rule a JSON description names, None for None; raises UserError for a kind that is not known."""
    if description is None:
        return None
    if description.get("kind") == "couplet-barrier":
        return CoupletBarrier(int(description["newline"]), tuple(int(i) for i in description["first_names"]))
    raise UserError(f"mask rule {description.get('kind')!r} is not known; known: couplet-barrier")
