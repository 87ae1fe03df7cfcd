"""Stored runs as one history: what each claim came to, run by run, on each version of a subject (imports no torch).

A line of the history is a claim on one *version* of a subject: its model, transcoder and their revisions, the digest of
its weights, the dtype, and the protocol it was measured by. Machines and times belong to the runs. Another version or
protocol begins another line, so that no value is traced across what measured something else.

Reports are large and never change, so what the history needs of each is kept beside them and made anew where a report
is not the one it was made from.
"""

import gc
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import compress, count, pairwise
from operator import ne
from pathlib import Path
from typing import Any, NamedTuple

from prolepsis.atomic import write_atomically
from prolepsis.errors import UserError
from prolepsis.report.comparison import Report, read_report
from prolepsis.report.table import VERDICT_LETTERS
from prolepsis.watching import watched

DIGESTS = ".history"
"""Where a folder of reports keeps what its history needs of each."""
FORM = 2
VERDICTS = {letter: verdict for verdict, letter in VERDICT_LETTERS.items()}
COLUMNS = ("verdicts", "value", "low", "high")
SUBJECT_FIELDS = ("id", "model", "revision", "transcoder", "transcoder_revision", "digest")


class Version(NamedTuple):
    """What a subject was when it was measured; None for what it has not, or for what was not on that machine."""

    subject: str
    model: str
    revision: str | None
    transcoder: str | None
    transcoder_revision: str | None
    digest: str | None
    dtype: str

    def __str__(self) -> str:
        if self.digest is None:
            return "not loaded"
        parts = [part[:8] for part in (self.revision, self.digest, self.transcoder_revision) if part is not None]
        return " ".join([*parts, self.dtype])


class Cell(NamedTuple):
    """What came out in one run."""

    verdict: str
    value: float | None
    low: float | None
    high: float | None


class Stretch(NamedTuple):
    """The same came out in each of the runs from ``start`` until before ``stop``."""

    cell: Cell
    start: int
    stop: int


@dataclass(frozen=True)
class Line:
    """A claim on one version of a subject by one protocol, and what came out, in the order of the runs.

    Runs seldom differ, so that stretches of them are far fewer than runs; those without a cell are in none.
    """

    claim: str
    variant: str
    tier: str
    version: Version
    protocol: str | None
    unit: str
    stretches: Sequence[Stretch]

    @cached_property
    def cells(self) -> Mapping[int, Cell]:
        """Run → what came out in it."""
        return {run: cell for cell, start, stop in self.stretches for run in range(start, stop)}

    @property
    def about(self) -> tuple[str, str, str, str]:
        """What the line shares with those of other versions: claim, variant, subject, tier."""
        return self.claim, self.variant, self.version.subject, self.tier

    @property
    def first(self) -> int:
        """The run this line begins with."""
        return self.stretches[0].start

    @cached_property
    def changes(self) -> frozenset[int]:
        """The runs whose verdict is not that of the run before them on this line."""
        return frozenset(
            now.start for before, now in pairwise(self.stretches) if now.cell.verdict != before.cell.verdict
        )


class Run(NamedTuple):
    """A stored run: its folder's name, when it began, whether it is whole, and the machine it ran on."""

    id: str
    started: str
    complete: bool
    environment: Mapping[str, Any]


@dataclass(frozen=True)
class History:
    """The runs of a folder in their order, their lines, and the folders that were passed over, each with the reason."""

    runs: Sequence[Run]
    lines: Sequence[Line]
    passed_over: Sequence[str]

    @cached_property
    def asked(self) -> Sequence[int]:
        """The runs in which some line has a cell."""
        return sorted({run for line in self.lines for _, start, stop in line.stretches for run in range(start, stop)})

    def of_claim(self, claim: str) -> "History":
        """The part about one claim; raises UserError where no run has it."""
        lines = [line for line in self.lines if line.claim == claim]
        if not lines:
            raise UserError(f"no stored run has a claim {claim!r}; prolepsis history without one shows those there are")
        return History(self.runs, lines, self.passed_over)


@contextmanager
def _no_collecting() -> Iterator[None]:
    """Leave out the search for garbage while very many objects are made that stay, and for these also later."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.freeze()
            gc.enable()


@_no_collecting()
def read_history(root: Path) -> History:
    """The history of the runs in ``root``; raises UserError where there is no such folder, or no run in it."""
    runs: list[Run] = []
    versions: dict[str, Version] = {}
    passed_over, gathered = [], _Lines()
    for folder in watched(_folders(root), "runs read"):
        try:
            found = _digest_of(folder)
        except UserError as error:
            passed_over.append(f"passed over: {error}")
            continue
        gathered.add(len(runs), found["lines"], zip(*(found[name] for name in COLUMNS), strict=True))
        versions |= {key: Version(*fields) for key, fields in found["versions"].items()}
        runs.append(Run(folder.name, *found["run"]))
    if not runs:
        raise UserError(f"{root}: no stored run there; {'; '.join(passed_over) or 'pytest claims writes one'}")
    lines = [_line(key, versions, found) for key, found in gathered.until(len(runs)).items()]
    return History(runs, lines, passed_over)


class _Lines:
    """Gathers what came out on each line, run after run.

    Run after run asks the same and gets the same: texts are taken apart, and rows gone through one by one, only where
    they are not those of the run before.
    """

    def __init__(self) -> None:
        self._stretches: dict[str, list[Stretch]] = {}
        self._lines = ""
        self._on: list[list[Stretch]] = []
        self._rows: list[tuple[Any, ...]] = []
        self._starts: list[int] = []

    def add(self, run: int, lines: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take in a run's rows, one for each of its ``lines``."""
        new = list(rows)
        if lines != self._lines:
            self.until(run)
            self._lines = lines
            self._on = [self._stretches.setdefault(key, []) for key in lines.split("\n") if key]
            self._rows, self._starts = new, [run] * len(new)
        for number in compress(count(), map(ne, new, self._rows)):
            self._close(number, run)
            self._starts[number] = run
        self._rows = new

    def until(self, stop: int) -> Mapping[str, Sequence[Stretch]]:
        """Each line's stretches, given that the last run was the one before ``stop``."""
        for number in range(len(self._rows)):
            self._close(number, stop)
        return self._stretches

    def _close(self, number: int, stop: int) -> None:
        (letter, *numbers), on, start = self._rows[number], self._on[number], self._starts[number]
        cell = Cell(VERDICTS[letter], *numbers)
        if on and on[-1].stop == start and on[-1].cell == cell:
            start = on.pop().start
        on.append(Stretch(cell, start, stop))


def keep_for_history(folder: Path, report: Report) -> None:
    """Keep beside a run that was just stored what its history needs of it."""
    _keep(folder, _stamp(folder), _digest(report))


def _keep(folder: Path, stamp: Sequence[int], digest: Mapping[str, Any]) -> None:
    kept = _kept(folder)
    # Reports may lie where nothing can be written; then they are read each time.
    with suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        text = json.dumps({"form": FORM, "of": stamp, **digest}, ensure_ascii=False, separators=(",", ":"))
        write_atomically(kept, f"{_checksum(text)}\n{text}")


def _folders(root: Path) -> list[Path]:
    """What could be a run, in the order of their numbers; others come last."""
    try:
        found = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink() and path.name[0] != "."]
    except OSError as error:
        raise UserError(f"{root}: no folder of stored runs ({error.strerror}); name one with --report") from None
    numbers = {path: re.match(r"\d+", path.name) for path in found}
    return sorted(found, key=lambda path: (int(number[0]) if (number := numbers[path]) else math.inf, path.name))


def _digest_of(folder: Path) -> Mapping[str, Any]:
    """What the history needs of a run: as it was kept, else made from its report; raises UserError for a broken one."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        checksum, _, text = _kept(folder).read_text(encoding="utf-8").partition("\n")
        if checksum == _checksum(text):
            kept: Mapping[str, Any] = json.loads(text)
            if kept["form"] == FORM and kept["of"] == _stamp(folder):
                return kept
    try:
        # Taken first: a run that is not over yet may write its report again at any moment.
        stamp = _stamp(folder)
        digest = _digest(read_report(folder))
    except OSError as error:
        raise UserError(f"{folder}: holds no report ({error.strerror})") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{folder}: its report is not what a claims run writes") from None
    _keep(folder, stamp, digest)
    return digest


def _kept(folder: Path) -> Path:
    return folder.parent / DIGESTS / f"{folder.name}.json"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stamp(folder: Path) -> list[int]:
    """By what a report is known to be the same: its size, and when it was written."""
    found = (folder / "report.json").stat()
    return [found.st_size, found.st_mtime_ns]


def _digest(report: Report) -> dict[str, Any]:
    """What the history needs of a report, in columns: a row each, the lines by a text that is the same in every run."""
    dtype = report["environment"]["dtype"]
    versions = {
        row["id"]: Version._make([*(row[name] for name in SUBJECT_FIELDS), dtype]) for row in report["subjects"]
    }
    keys = {name: hashlib.sha256(json.dumps(version).encode()).hexdigest()[:12] for name, version in versions.items()}
    rows = report["claims"]
    measured = [row["measured"] or {"value": None, "unit": "", "ci": None} for row in rows]
    bounds = [found["ci"] or (None, None) for found in measured]
    run = report["run"]
    return {
        "run": (run["started"], run["complete"], report["environment"]),
        "versions": {keys[name]: version for name, version in versions.items()},
        # Long texts are read much faster than long lists.
        "lines": "\n".join(
            "\t".join(
                (row["id"], row["variant"], row["tier"], keys[row["subject"]], row["protocol"] or "", found["unit"])
            )
            for row, found in zip(rows, measured, strict=True)
        ),
        "verdicts": "".join(VERDICT_LETTERS[row["verdict"]] for row in rows),
        "value": [_shown(found["value"]) for found in measured],
        "low": [_shown(low) for low, _ in bounds],
        "high": [_shown(high) for _, high in bounds],
    }


def _shown(number: float | None) -> float | None:
    """A number to the digits that a history can show."""
    return None if number is None else float(f"{number:.6g}")


def _line(key: str, versions: Mapping[str, Version], stretches: Sequence[Stretch]) -> Line:
    claim, variant, tier, version, protocol, unit = key.split("\t")
    return Line(claim, variant, tier, versions[version], protocol or None, unit, stretches)
