"""The subject × claim matrix of verdicts: claims down, by family; subjects across, by tier."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis.claim import Claim
from prolepsis.report.html.anchors import claim_anchor, row_anchor
from prolepsis.report.table import AGREES
from prolepsis.subjects.source import PAPER

Row = Mapping[str, Any]


class Cell(NamedTuple):
    """A verdict in one letter, with marks for agreement and change, and where its row is."""

    anchor: str
    verdict: str
    text: str


class Line(NamedTuple):
    """A claim and its cells, None where a subject was not asked."""

    name: str
    anchor: str
    statement: str
    cells: tuple[Cell | None, ...]


class Matrix(NamedTuple):
    """A part of the matrix: subjects by tier, and lines by family."""

    title: str
    tiers: Mapping[str, Sequence[str]]
    families: Mapping[str, Sequence[Line]]


LETTERS = {
    "supported": "S",
    "contradicted": "C",
    "vacuous": "V",
    "inconclusive": "I",
    "inconsistent": "X",
    "untested": "U",
}


def matrices(rows: Sequence[Row], claims: Sequence[Claim]) -> list[Matrix]:
    """The matrix of subjects, and that of the paper alone, which would leave most of the first one empty."""
    parts = {
        "Subjects": [row for row in rows if row["subject"] != PAPER.id],
        "The paper alone": [row for row in rows if row["subject"] == PAPER.id],
    }
    return [_matrix(title, of_part, claims) for title, of_part in parts.items() if of_part]


def _matrix(title: str, rows: Sequence[Row], claims: Sequence[Claim]) -> Matrix:
    tiers: dict[str, dict[str, None]] = {}
    for row in rows:
        tiers.setdefault(row["tier"], {})[row["subject"]] = None
    tiers = {tier: dict.fromkeys(sorted(of_tier)) for tier, of_tier in tiers.items()}
    columns = {column: place for place, column in enumerate((t, s) for t, of_tier in tiers.items() for s in of_tier)}
    lines: dict[str, list[Line]] = {}
    for (claim, variant), of_claim in by_claim(rows, claims).items():
        cells: list[Cell | None] = [None] * len(columns)
        for row in of_claim:
            cells[columns[row["tier"], row["subject"]]] = _cell(row)
        line = Line(f"{claim} {variant}", claim_anchor(claim, variant), of_claim[0]["statement"], tuple(cells))
        lines.setdefault(of_claim[0]["family"], []).append(line)
    return Matrix(title, {tier: list(of_tier) for tier, of_tier in tiers.items()}, lines)


def by_claim(rows: Sequence[Row], claims: Sequence[Claim]) -> dict[tuple[str, str], list[Row]]:
    """(Id, variant) → its rows, in the order of the ledger, families together; what it lacks comes last."""
    order = {claim.key: place for place, claim in enumerate(claims)}
    first: dict[str, int] = {}
    for row in rows:
        place = order.get((row["id"], row["variant"]), len(order))
        first[row["family"]] = min(place, first.get(row["family"], place))

    def rank(row: Row) -> tuple[Any, ...]:
        key = (row["id"], row["variant"])
        return first[row["family"]], row["family"], order.get(key, len(order)), key, row["tier"], row["subject"]

    found: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=rank):
        found.setdefault((row["id"], row["variant"]), []).append(row)
    return found


def _cell(row: Row) -> Cell:
    agrees = AGREES[row["agrees"]] if row["published"] and row["measured"] and row["agrees"] != "cannot tell" else ""
    mark = "!" if row["changed"] else ""
    return Cell(row_anchor(row), row["verdict"], f"{LETTERS[row['verdict']]}{agrees}{mark}")
