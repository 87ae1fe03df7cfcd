"""Stored measurements judged again, by the ledger as it stands now and without any weights (imports no torch)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prolepsis.errors import Untested, UserError
from prolepsis.ledger import Claim
from prolepsis.measurement import Measurement
from prolepsis.report.comparison import read_report
from prolepsis.watching import watched

if TYPE_CHECKING:
    from prolepsis.judge import Verdict

Row = Mapping[str, Any]


class Rejudged(NamedTuple):
    """A row of a stored run, and the verdict its measurement gets now."""

    row: Row
    verdict: "Verdict"

    @property
    def changed(self) -> bool:
        return bool(self.row["verdict"] != self.verdict.verdict)

    def __str__(self) -> str:
        row = self.row
        return f"{row['id']} {row['variant']} {row['subject']}: was {row['verdict']}, now {self.verdict}"


def judge_again(run: Path, claims: Sequence[Claim]) -> tuple[Rejudged, ...]:
    """The verdict of every stored row by its row of the ledger, each family and subject judged together.

    Rows of a family that the run measured and did not store, because its tests were not selected, count by the p-values
    that the stored ones kept. What was not measured stays untested; rows of claims that are none any more are left out.
    Raises UserError for a run that cannot be read, and for a measurement that is missing or damaged.
    """
    # Judging needs scipy, which takes longer to import than reading a report.
    from prolepsis.judge import judge_family

    by_key = {claim.key: claim for claim in claims}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in read_report(run)["claims"]:
        if (claim := by_key.get((row["id"], row["variant"]))) is not None:
            groups.setdefault((row["subject"], claim.family), []).append(row)
    found = []
    for (_, family), rows in watched(list(groups.items()), "families judged"):
        asked = [by_key[row["id"], row["variant"]] for row in rows]
        measured = {claim.key: _measurement(run, row) for claim, row in zip(asked, rows, strict=True)}
        executable = [claim for claim in asked if not claim.untested]
        members = {claim.key for claim in claims if claim.family == family and not claim.untested}
        beside = {key: p for row in rows for key, p in _p_values(run, row).items() if key in members}
        verdicts = judge_family(executable, measured, beside=beside)
        found += [
            Rejudged(row, verdicts[claim.key]) for claim, row in zip(asked, rows, strict=True) if claim.key in verdicts
        ]
    return tuple(found)


def _p_values(run: Path, row: Row) -> dict[tuple[str, str], float]:
    """The p-values of the family a row was judged with, by (id, variant)."""
    try:
        kept = row["p_values"].items()
    except KeyError:
        raise UserError(f"{run}: stored without the p-values that levels follow from; run the claims anew") from None
    return {(claim, variant): p for key, p in kept for claim, variant in [key.split(" ")]}


def _measurement(run: Path, row: Row) -> Measurement | Untested:
    if row["measurement"] is None:
        return Untested(row["reason"])
    path = run / "measurements" / f"{row['measurement']}.json"
    try:
        return Measurement.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such measurement; name the folder of a whole run") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a measurement ({type(error).__name__}: {error}); run the claims anew") from None
