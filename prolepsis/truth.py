"""The truth table: what has to come out on subjects whose answer is known beforehand (imports no torch).

``claims/truth.toml`` is a list of ``[[truth]]`` tables: claim, variant, subjects (a list of bundled ids), verdict, and
because, the reason in a phrase. It is written from how the subjects were made, not from what was measured on them.
"not supported" stands where no more than that is known, and is met by every verdict but one.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

from prolepsis.errors import UserError
from prolepsis.ledger import LEDGER, Variant
from prolepsis.organisms import BUNDLED
from prolepsis.toml_tables import read_tables

TRUTH = LEDGER.parent / "truth.toml"
FIELDS = {"claim": str, "variant": str, "subjects": list, "verdict": str, "because": str}
VERDICTS = ("supported", "contradicted", "vacuous", "inconclusive", "not supported")


class Asked(NamedTuple):
    """A claim as it is asked of a subject."""

    claim: str
    variant: str
    subject: str


@dataclass(frozen=True)
class Answer:
    """The verdict that has to come out, and why."""

    verdict: str
    because: str

    def met_by(self, verdict: str) -> bool:
        """Whether ``verdict`` is what has to come out."""
        if self.verdict == "not supported":
            return verdict not in ("supported", "untested")
        return verdict == self.verdict


@dataclass(frozen=True)
class Comparison:
    """How verdicts stand against the table.

    ``false`` are decided verdicts other than the true one, ``missed`` those that came out inconclusive, or not at all,
    where something was to be seen; one line each.
    """

    compared: int
    false: tuple[str, ...]
    missed: tuple[str, ...]

    def __str__(self) -> str:
        # scipy takes longer to import than any command that does without it takes altogether.
        from prolepsis.statistics import clopper_pearson

        wrong = len(self.false) + len(self.missed)
        high = clopper_pearson(wrong, self.compared, sided=1)[1] if self.compared else 1.0
        return (
            f"{self.compared} verdicts compared: {len(self.false)} false, {len(self.missed)} missed; "
            f"error rate at most {high:.3f} (exact, one-sided 95 %)"
        )


def read_truth(path: Path, claims: Collection[tuple[str, str]]) -> dict[Asked, Answer]:
    """The table in ``path``; ``claims`` are the (id, variant) pairs of the ledger.

    Raises UserError of the form ``file:line: what is wrong``.
    """
    try:
        tables = read_tables(path, "truth", str(path))
    except OSError:
        raise UserError(f"{path}: no such file; the truth table lies in claims/ of a checkout") from None
    truth: dict[Asked, Answer] = {}
    for line, entry in tables:
        problem = _problem(entry, claims)
        if problem is not None:
            raise UserError(f"{path}:{line}: {problem}")
        for subject in entry["subjects"]:
            asked = Asked(entry["claim"], entry["variant"], subject)
            if asked in truth:
                raise UserError(f"{path}:{line}: {' '.join(asked)} has an answer already")
            truth[asked] = Answer(entry["verdict"], entry["because"])
    return truth


def _problem(entry: Mapping[str, Any], claims: Collection[tuple[str, str]]) -> str | None:
    """What is wrong with an entry, None when nothing is."""
    for name, kind in FIELDS.items():
        if not isinstance(entry.get(name), kind) or not entry[name]:
            return f"{name} is missing or not a {'list' if kind is list else 'text'}"
    if unknown := sorted(set(entry) - set(FIELDS)):
        return f"unknown key {unknown[0]!r}; known: {', '.join(FIELDS)}"
    if entry["verdict"] not in VERDICTS:
        return f"verdict {entry['verdict']!r} is not one of {', '.join(VERDICTS)}"
    if entry["variant"] not in get_args(Variant) or (entry["claim"], entry["variant"]) not in claims:
        return f"no claim {entry['claim']} ({entry['variant']}) in the ledger"
    if strangers := [subject for subject in entry["subjects"] if subject not in BUNDLED]:
        return f"subject {strangers[0]!r} is not bundled"
    return None


def compare(truth: Mapping[Asked, Answer], found: Mapping[Asked, tuple[str, str]]) -> Comparison:
    """Verdicts ``found`` (verdict, reason) against the whole of ``truth``; what is not in ``found`` is missed."""
    false: list[str] = []
    missed: list[str] = []
    for asked, answer in truth.items():
        verdict, reason = found.get(asked, ("untested", "was not measured"))
        if answer.met_by(verdict):
            continue
        line = f"{' '.join(asked)}: {verdict}, must be {answer.verdict} ({answer.because}): {reason}"
        (missed if verdict in ("inconclusive", "untested") else false).append(line)
    return Comparison(len(truth), tuple(false), tuple(missed))


def found_in(rows: Iterable[Mapping[str, Any]]) -> dict[Asked, tuple[str, str]]:
    """The verdicts in the ``claims`` rows of a report."""
    return {
        Asked(row["id"], row["variant"], row["subject"]): (row["verdict"], row["reason"])
        for row in rows
        if row["tier"] == "organism"
    }
