"""Forest plots: what the paper prints beside what was measured on real models, in one picture for each unit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.report.figures.chart import Series, figure, forest
from prolepsis.report.figures.scale import label
from prolepsis.report.html.strips import in_unit

Row = Mapping[str, Any]

Mark = tuple[float | None, tuple[float, float] | None]
"""A value and its interval."""
REAL = ("gpu", "archive")
"""Tiers of real models, which alone a printed figure can be held against."""


def forests(rows: Sequence[Row]) -> list[str]:
    """A figure for each subject and unit in which both are known, in the order of the rows; SVG."""
    together: dict[tuple[str, str], list[Row]] = {}
    for row in filter(_shown, rows):
        together.setdefault((row["subject"], row["measured"]["unit"]), []).append(row)
    return [_draw(subject, unit, of_unit) for (subject, unit), of_unit in together.items()]


def _shown(row: Row) -> bool:
    measured = row["measured"]
    return row["tier"] in REAL and measured is not None and bool(in_unit(row["published"], measured["unit"]))


def _draw(subject: str, unit: str, rows: Sequence[Row]) -> str:
    lines = [line for row in rows for line in _lines(row, unit)]
    names = [name for name, *_ in lines]
    published = Series("published", [value for _, (value, _), _ in lines], [span for _, (_, span), _ in lines])
    measured = Series("measured", [value for *_, (value, _) in lines], [span for *_, (_, span) in lines])
    said = "; ".join(
        f"{name}: {'' if printed is None else label(printed)}, {'' if found is None else label(found)}"
        for name, (printed, _), (found, _) in lines
    )
    return figure(
        f"Published and measured: {subject}, {unit}",
        f"What the paper prints and what was measured, with intervals, in {unit}. {said}.",
        forest(names, [published, measured], x_label=unit),
    )


def _lines(row: Row, unit: str) -> Iterator[tuple[str, Mark, Mark]]:
    """A line for each printed value of a claim, beside the one that was measured."""
    measured = row["measured"]
    for entry in in_unit(row["published"], unit):
        yield (
            f"{row['id']} {row['variant']}",
            (entry["value"], _span(entry["low"], entry["high"])),
            (measured["value"], _span(*(measured["ci"] or (None, None)))),
        )


def _span(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)
