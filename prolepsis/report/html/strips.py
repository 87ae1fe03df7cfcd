"""Values and their intervals on an axis that all rows of a claim share: published, measured, and the controls."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.claim import Claim
from prolepsis.report.figures.scale import Scale, label

Row = Mapping[str, Any]

WIDTH, EDGE, LANE = 240, 12, 9
"""Of a strip in px, of the room at either end for the numbers of the axis, and height of a line in it."""
WIDEST = 2.0
"""An axis ends at this many times the size of the middle row's numbers at most; arrows say what lies beyond."""
MARKS = {"null": "n", "rival": "r", "positive": "p"}
"""Controls that are in the unit of the claim, by role, and the class of their marks."""
BOUNDED = {
    "proportion": (0.0, 1.0),
    "probability": (0.0, 1.0),
    "share": (0.0, 1.0),
    "AUROC": (0.0, 1.0),
    "rank correlation": (-1.0, 1.0),
}
"""Units a printed number must fit to be in the unit of the claim; some claims print a ratio or a count instead."""


def in_unit(published: Sequence[Mapping[str, Any]], unit: str) -> list[Mapping[str, Any]]:
    """The printed values that can be in the unit of the claim."""
    low, high = BOUNDED.get(unit, (float("-inf"), float("inf")))
    return [entry for entry in published if isinstance(entry["value"], int | float) and low <= entry["value"] <= high]


class Strips:
    """Draws strips for the ``rows`` of one claim on one axis; ``claim`` is its row of the ledger, if any."""

    def __init__(self, rows: Sequence[Row], claim: Claim | None) -> None:
        self.claim = claim
        self.drawn = any(row["measured"] is not None for row in rows)
        unit = next((row["measured"]["unit"] for row in rows if row["measured"] is not None), "")
        self.published = in_unit(rows[0]["published"], unit)
        self.unit = unit
        self.scale = self._scale(rows)

    def _scale(self, rows: Sequence[Row]) -> Scale:
        """An axis for most rows: few subjects far from all others would leave nothing to be seen of these."""
        of_rows = [[number for number in _numbers(row) if number is not None] for row in rows if row["measured"]]
        of_claim = [0.0 if self.claim is None else self.claim.theta0]
        of_claim += [
            number for e in self.published for number in (e["value"], e["low"], e["high"]) if number is not None
        ]
        sizes = sorted(max(map(abs, numbers)) for numbers in of_rows)
        most = max(WIDEST * sizes[len(sizes) // 2] if sizes else 0.0, *map(abs, of_claim))
        return Scale.linear([*of_claim, *(min(most, max(-most, number)) for numbers in of_rows for number in numbers)])

    def axis(self) -> str:
        """The axis with its numbers."""
        ticks = self.scale.ticks()
        lines = "".join(f"M{self._x(tick)} 15v5" for tick in ticks)
        names = "".join(f"<text x={self._x(tick)} y=11>{label(tick)}</text>" for tick in ticks)
        return _svg(20, f'{names}<path class=x d="M{EDGE} 15H{WIDTH - EDGE}{lines}"/>')

    def printed(self, entry: Mapping[str, Any]) -> str:
        """A published value, with its interval where one is printed; nothing for what is in another unit."""
        if entry not in self.published:
            return ""
        mark = self._mark(LANE, entry["value"], entry["low"], entry["high"], half=3)
        return _svg(2 * LANE, f'<path class=q d="{mark}"/>')

    def row(self, row: Row) -> str:
        """The measured value and its interval, and below it a line for each control in the same unit.

        A control that the value is compared with has the interval of the difference, put where the control is.
        """
        measured = row["measured"]
        if measured is None:
            return ""
        arms = [arm for arm in row["controls"] if arm["role"] in MARKS and arm["value"] is not None]
        height = LANE * (len(arms) + 2)
        marks = {"m": self._mark(LANE, measured["value"], *(measured["ci"] or (None, None)), half=3)}
        for line, arm in enumerate(arms, 2):
            low, high = arm["ci"] or (None, None)
            if arm["difference"] is not None and arm["ci"] is not None:
                middle = arm["value"] + arm["difference"]
                low, high = (None if end is None else middle - end for end in (high, low))
            role = MARKS[arm["role"]]
            marks[role] = marks.get(role, "") + self._mark(LANE * line, arm["value"], low, high)
        return _svg(height, "".join(f'<path class={role} d="{d}"/>' for role, d in marks.items()))

    def threshold(self) -> str:
        """How far from the left of every strip the claim's threshold is, as CSS has it."""
        return "-9px" if self.claim is None else f"{self._x(self.claim.theta0)}px"

    def _mark(self, y: int, value: float, low: float | None, high: float | None, *, half: int = 2) -> str:
        """A square of twice ``half`` at a value, with its interval; an arrow where the value is beyond the axis."""
        x = self._x(value)
        span = "" if low is None and high is None else f"M{self._x(low, -1)} {y}H{self._x(high, 1)}"
        mark = f"M{x - half} {y - half}h{2 * half}v{2 * half}h-{2 * half}z"
        if not self.scale.low <= value <= self.scale.high:
            mark = f"M{x} {y - 4}l{8 if value > self.scale.high else -8} 4L{x} {y + 4}z"
        return f"{span}{mark}"

    def _x(self, value: float | None, side: int = 0) -> int:
        """Where a value is; a bound that is not there, or lies beyond the axis, reaches the edge."""
        if value is None:
            return 0 if side < 0 else WIDTH
        place = self.scale.place(value)
        return round(EDGE + (WIDTH - 2 * EDGE) * place)


def _numbers(row: Row) -> Iterator[float | None]:
    """What is drawn of a row, less the intervals of its controls."""
    yield from (row["measured"]["value"], *(row["measured"]["ci"] or ()))
    for arm in row["controls"]:
        if arm["role"] in MARKS:
            yield arm["value"]


def _svg(height: int, body: str) -> str:
    """Beside text that says the same, so that it is kept from screen readers."""
    return f"<svg aria-hidden=true height={height}>{body}</svg>"
