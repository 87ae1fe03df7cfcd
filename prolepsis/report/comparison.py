"""Two runs side by side: which verdicts changed, which values moved, and what cannot be compared (imports no torch).

A row is compared with the row of the same claim, variant, subject and tier. Where the protocol, the subject's identity
or the dtype differ the two measured different things: such rows are set apart, never compared in silence.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prolepsis.claim import Claim
from prolepsis.counts import fisher_exact
from prolepsis.errors import UserError
from prolepsis.report.pins import Key, key_of

Report = Mapping[str, Any]
Row = Mapping[str, Any]
NOISE = 1e-5
"""Relative change of a value that another machine's order of summation makes in float32."""
ALPHA = 0.05
"""Two counts differ when Fisher's exact test, two-sided, rejects that they come of one rate at this level."""


class Failure(NamedTuple):
    """Which difference makes a comparison fail; ``share`` is the relative change of a value that is too much.

    ``tolerance`` asks of each value whether it moved by more than the ledger's tolerance of its claim; where the ledger
    gives none, as ``interval`` does.
    """

    kind: Literal["verdict", "interval", "tolerance", "value"]
    share: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Failure":
        """``verdict``, ``interval``, ``tolerance`` or ``value:5%``; raises UserError for anything else."""
        match text:
            case "verdict" | "interval" | "tolerance":
                return cls(text)
        share = re.fullmatch(r"value:(\d+(?:\.\d+)?)%", text)
        if share is None:
            raise UserError(f"a comparison cannot fail by {text!r}; write verdict, interval, tolerance or value:5%")
        return cls("value", float(share[1]) / 100)


@dataclass(frozen=True)
class Difference:
    """One row in which two runs differ: what kind of difference it is, and both sides in words.

    ``change`` is that of the value, as a share of the larger one; ``tolerated`` whether the claim's tolerance covers
    it, None where the claim has none.
    """

    key: Key
    kind: Literal["verdict", "interval", "value"]
    text: str
    change: float = 0.0
    tolerated: bool | None = None

    def fails(self, failure: Failure) -> bool:
        """Whether this is a difference of the kind asked for; a changed verdict always is."""
        if self.kind == "verdict":
            return True
        if failure.kind == "value":
            return self.change > failure.share
        if failure.kind == "tolerance" and self.tolerated is not None:
            return not self.tolerated
        return failure.kind != "verdict" and self.kind == "interval"


@dataclass(frozen=True)
class Comparison:
    """The rows of two runs: how many were compared, the differences, what was set apart and why, rows of one only."""

    compared: int
    differences: tuple[Difference, ...]
    apart: Mapping[Key, str]
    only_first: tuple[Key, ...]
    only_second: tuple[Key, ...]

    def failed(self, failure: Failure) -> bool:
        """Whether some difference is of the kind that is asked to fail, or there was nothing to see one in."""
        return not self.compared or any(difference.fails(failure) for difference in self.differences)

    def lines(self) -> list[str]:
        """The comparison in words: a line per row that differs, and per subject for rows that were not compared."""
        lines = [f"{difference.kind}: {' '.join(difference.key)}: {difference.text}" for difference in self.differences]
        reasons: dict[str, list[Key]] = {}
        for key, why in self.apart.items():
            reasons.setdefault(why, []).append(key)
        lines += [f"not compared: {rows}: {why}" for why, keys in reasons.items() for rows in _by_subject(keys)]
        for name, found in (("first", self.only_first), ("second", self.only_second)):
            lines += [f"only in the {name} run: {rows}" for rows in _by_subject(found)]
        verdicts = sum(difference.kind == "verdict" for difference in self.differences)
        values = len(self.differences) - verdicts
        if not self.compared:
            return [*lines, "nothing compared: no row of the two runs measured the same; name another run"]
        lines.append(f"{self.compared} rows compared: {verdicts} verdicts and {values} values changed")
        return lines


def _by_subject(keys: Sequence[Key]) -> list[str]:
    """Rows in words, those of a subject together where there are several."""
    subjects: dict[str, list[Key]] = {}
    for key in keys:
        subjects.setdefault(key.subject, []).append(key)
    return [" ".join(rows[0]) if len(rows) == 1 else f"{len(rows)} rows of {name}" for name, rows in subjects.items()]


def read_report(run: Path) -> Report:
    """The report of a run folder, or of a ``report.json``; raises UserError when there is none that can be read."""
    path = run if run.suffix == ".json" else run / "report.json"
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
        if report["schema"] != 1 or not isinstance(report["claims"], list):
            raise UserError(f"{path}: a report of schema {report['schema']}; this version reads schema 1")
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: no report can be read there; name a folder that a claims run wrote") from None
    return report


def latest_whole(root: Path) -> Path | None:
    """The folder of the latest run in ``root`` that is complete and measured something, None where there is none."""
    numbers = {folder: int(match[0]) for folder in root.glob("*") if (match := re.match(r"\d+(?=-)", folder.name))}
    for folder in sorted(numbers, key=numbers.__getitem__, reverse=True):
        # Others are no business of this run; the history names those that are broken.
        with suppress(UserError):
            report = read_report(folder)
            if report["run"]["complete"] and any(row["verdict"] != "untested" for row in report["claims"]):
                return folder
    return None


def compare(first: Report, second: Report, claims: Sequence[Claim] = ()) -> Comparison:
    """What changed from the first run to the second; ``claims`` is a ledger, which gives values their tolerances."""
    tolerances = {claim.key: claim.tolerance for claim in claims}
    before = {key_of(row): row for row in first["claims"]}
    after = {key_of(row): row for row in second["claims"]}
    common = [key for key in before if key in after]
    apart = {key: why for key in common if (why := _apart(first, before[key], second, after[key]))}
    compared = [key for key in common if key not in apart]
    differences = [_difference(key, before[key], after[key], tolerances.get(key[:2])) for key in compared]
    return Comparison(
        compared=len(compared),
        differences=tuple(difference for difference in differences if difference is not None),
        apart=apart,
        only_first=tuple(key for key in before if key not in after),
        only_second=tuple(key for key in after if key not in before),
    )


def _apart(first: Report, before: Row, second: Report, after: Row) -> str | None:
    """Why two rows measure different things, None when they measure the same."""
    if "untested" in (before["verdict"], after["verdict"]):
        return f"untested in the {'first' if before['verdict'] == 'untested' else 'second'} run"
    if before["protocol"] != after["protocol"]:
        return f"protocol {before['protocol']} and {after['protocol']}"
    versions = [str(_digest(report, row))[:8] for report, row in ((first, before), (second, after))]
    if versions[0] != versions[1]:
        return (
            f"other weights, task or transcoder under the same name ({versions[0]} and {versions[1]}); "
            "`prolepsis history` shows what came out on each"
        )
    dtypes = [report["environment"]["dtype"] for report in (first, second)]
    return None if dtypes[0] == dtypes[1] else f"dtype {dtypes[0]} and {dtypes[1]}"


def _digest(report: Report, row: Row) -> str | None:
    found = [subject["digest"] for subject in report["subjects"] if subject["id"] == row["subject"]]
    return found[0] if found else None


def _difference(key: Key, before: Row, after: Row, tolerance: float | None) -> Difference | None:
    """The gravest difference of two rows: of verdict, of value beyond both intervals, or of value alone."""
    if before["verdict"] != after["verdict"]:
        return Difference(key, "verdict", f"{before['verdict']} → {after['verdict']}: {after['reason']}")
    one, other = before["measured"], after["measured"]
    if one is None or other is None:
        return None
    scale = max(abs(one["value"]), abs(other["value"]))
    change = abs(one["value"] - other["value"]) / scale if scale else 0.0
    if change <= NOISE:
        return None
    text = f"{one['value']:.4g} → {other['value']:.4g} {other['unit']}"
    kind: Literal["interval", "value"] = "interval" if _beyond(one, other) else "value"
    tolerated = None if tolerance is None else abs(one["value"] - other["value"]) <= tolerance
    if tolerated is not None:
        text += f", {'within' if tolerated else 'beyond'} the claim's tolerance of {tolerance:g}"
    return Difference(key, kind, text, change, tolerated)


def _beyond(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two measured values differ: counts by an exact test, else each outside the other's interval."""
    counts = [value["k"] is not None and value["n"] is not None for value in (one, other)]
    if all(counts):
        return fisher_exact(one["k"], one["n"], other["k"], other["n"]) < ALPHA
    return _outside(one["value"], other["ci"]) and _outside(other["value"], one["ci"])


def _outside(value: float, interval: list[float | None] | None) -> bool:
    if interval is None:
        return True
    low, high = interval
    return (low is not None and value < low) or (high is not None and value > high)
