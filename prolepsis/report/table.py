"""The claims × subjects table: one line per subject, one column per claim, narrow enough for any terminal."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis.subjects.source import PAPER

Row = Mapping[str, Any]
AGREES = {"yes": "=", "no": "≠", "cannot tell": "?"}
CELL = 7  # four letters of the verdict, two marks, a space

COLOURS: Mapping[str, Mapping[str, bool]] = {
    "supported": {"green": True},
    "contradicted": {"red": True},
    "vacuous": {"yellow": True},
    "inconclusive": {"cyan": True},
    "inconsistent": {"red": True},
    "untested": {"blue": True},
    "error": {"red": True, "bold": True},
}


VERDICT_LETTERS: Mapping[str, str] = {
    "supported": "s",
    "contradicted": "c",
    "vacuous": "v",
    "inconclusive": "i",
    "inconsistent": "x",
    "untested": "u",
}
"""How a verdict is called where there is room for one letter."""


VERDICT_SHORT: Mapping[str, str] = {
    "supported": "supp",
    "contradicted": "cont",
    "vacuous": "vacu",
    "inconclusive": "incl",
    "inconsistent": "incs",
    "untested": "unte",
}
"""How a verdict is called where there is room for four letters."""


class Piece(NamedTuple):
    """Some text of a line, and the verdict whose colour it takes, None for plain text."""

    text: str
    verdict: str | None = None


class Column(NamedTuple):
    """A claim, as the table heads it."""

    variant: str
    claim: str


def short(row: Row) -> str:
    """A cell: four letters of the verdict, whether our number agrees with the published one, ``!`` when changed."""
    mark = AGREES[row["agrees"]] if row["published"] and row["measured"] else ""
    return f"{VERDICT_SHORT[row['verdict']]}{mark}{'!' if row['changed'] else ''}"


def table(rows: Sequence[Row], errors: Iterable[tuple[Column, str]], width: int) -> list[list[Piece]]:
    """Lines of the table; ``errors`` are the (claim, subject) cells whose test raised; no line exceeds ``width``.

    Claims that do not fit beside each other go into further blocks below, and so do those about the paper alone.
    """
    cells = {(Column(row["variant"], row["id"]), row["subject"]): Piece(short(row), row["verdict"]) for row in rows}
    for column, subject in errors:
        cells.setdefault((column, subject), Piece("ERROR", "error"))
    subjects = list(dict.fromkeys(subject for _, subject in cells))
    longest = max((len(name) for name in [*subjects, *(column.variant for column, _ in cells)]), default=0)
    room = min(longest, width - 2 * CELL)
    per_block = max(1, (width - room) // CELL)
    lines: list[list[Piece]] = []
    of_paper = {column for column, subject in cells if subject == PAPER.id}
    for variant in sorted({column.variant for column, _ in cells}):
        columns = sorted({column for column, _ in cells if column.variant == variant})
        for together in ([c for c in columns if c not in of_paper], [c for c in columns if c in of_paper]):
            for start in range(0, len(together), per_block):
                lines += _block(variant, together[start : start + per_block], subjects, cells, room)
    legend = "; ".join(filter(None, (short_names(row["verdict"] for row in rows), MARKS)))
    return lines + [[Piece(line)] for line in textwrap.wrap(legend, width)] if lines else []


def short_names(verdicts: Iterable[str]) -> str:
    """What the four letters of those ``verdicts`` mean that occur."""
    found = set(verdicts)
    return ", ".join(f"{cut} {verdict}" for verdict, cut in VERDICT_SHORT.items() if verdict in found)


MARKS = "= agrees with the published value, ≠ does not, ? cannot tell, ! differs from the pinned verdict"


def _block(
    variant: str,
    columns: Sequence[Column],
    subjects: Sequence[str],
    cells: Mapping[tuple[Column, str], Piece],
    room: int,
) -> list[list[Piece]]:
    head = [Piece(fit(variant, room)), *(Piece(f" {column.claim:<{CELL - 1}.{CELL - 1}}") for column in columns)]
    lines = [head]
    for subject in subjects:
        found = [cells.get((column, subject), Piece("·")) for column in columns]
        if any(piece.text != "·" for piece in found):
            body = [Piece(f" {piece.text:<{CELL - 1}}", piece.verdict) for piece in found]
            lines.append([Piece(fit(subject, room)), *body])
    return [*lines, [Piece("")]]


def fit(text: str, room: int) -> str:
    """``text`` in exactly ``room`` characters; what is too long loses its middle, where ids differ least."""
    if len(text) <= room:
        return text.ljust(room)
    tail = (room - 1) // 2
    return text[: room - 1 - tail] + "…" + text[len(text) - tail :]


def counts(rows: Iterable[Row]) -> str:
    """``2 supported, 1 vacuous``, in the order of the verdicts; ``none`` for no rows."""
    found = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{found[verdict]} {verdict}" for verdict in COLOURS if found[verdict]) or "none"
