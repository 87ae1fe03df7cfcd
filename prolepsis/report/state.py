"""What one claims run knows about itself, in every process that takes part in it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prolepsis import ledger
from prolepsis.errors import unless_full
from prolepsis.ledger import Claim
from prolepsis.report.options import Settings
from prolepsis.report.pins import Key, Pins, read_pins
from prolepsis.report.rows import claim_row, plain
from prolepsis.report.storage import UNWRITTEN, append_journal
from prolepsis.report.subjects import is_asked
from prolepsis.subjects.source import SubjectSource

if TYPE_CHECKING:
    from prolepsis.report.measuring import Outcome

FOLDER_INPUT, SEAT_INPUT, DOING_INPUT = "claims_run_folder", "claims_seat", "claims_doing"
"""What a worker is given: the run's folder, its number on its machine, and where it says what it is doing, if asked."""
RECORD = "claims-record"


@dataclass(frozen=True)
class Case:
    """One claim to be met by one subject: the parameter of a claim test."""

    claim: Claim
    source: SubjectSource

    def __str__(self) -> str:
        return f"{self.claim.id}-{self.source.id}"

    @property
    def pin_key(self) -> Key:
        return Key(self.claim.id, self.claim.variant, self.source.id, self.source.tier)


@dataclass
class ClaimsRun:
    """The settings, ledger and pins of a run, and the folder it writes to (None until one is opened)."""

    settings: Settings
    claims: Sequence[Claim]
    pins: Pins
    worker: str
    folder: Path | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> "ClaimsRun":
        """The run this process takes part in; raises UserError when an option, the ledger or a pin is broken."""
        settings = Settings.of(config)
        claims = ledger.load(config.rootpath / "claims" / "ledger.toml")
        given: Mapping[str, Any] = getattr(config, "workerinput", {})
        return cls(
            settings=settings,
            claims=claims,
            pins=read_pins(settings.expected, {claim.key for claim in claims}),
            worker=given.get("workerid", "main"),
            folder=_folder_here(given),
        )

    def cases(self, ids: Sequence[str], family: str, variant: str) -> list[Case]:
        """The cases a test function stands for: rows of the family and variant (or just ``ids``) × subjects."""
        rows = [claim for claim in self.claims if claim.family == family and claim.variant == variant]
        rows = sorted((row for row in rows if not ids or row.id in ids), key=lambda row: row.id)
        return [Case(row, source) for source in self.settings.subjects for row in rows if is_asked(row, source)]

    def family(self, case: Case) -> list[Claim]:
        """Every row judged together with ``case``: those of its family that its subject is asked."""
        return [row for row in self.claims if row.family == case.claim.family and is_asked(row, case.source)]

    def executable(self, case: Case) -> list[Claim]:
        """Those of its family that something can measure."""
        return [row for row in self.family(case) if not row.untested]

    def experiments(self, cases: Iterable[Case]) -> set[str]:
        """What is measured to meet ``cases``: the experiments of every row of their families that can be run."""
        families = {case.claim.family: case for case in cases}
        return {row.experiment for case in families.values() for row in self.executable(case)}

    def record(self, item: pytest.Item, case: Case, outcome: "Outcome") -> None:
        """Keep the outcome of ``case`` with its test, and write it down at once, where there is room."""
        pin = self.pins.get(case.pin_key)
        expected = None if pin is None else pin.verdict
        row = claim_row(case.claim, case.source, outcome.verdict, outcome.measurement, expected)
        contents = None if outcome.measurement is None else json.loads(outcome.measurement.to_json())
        line = json.dumps(plain({"row": row, "subject": outcome.subject, "measurement": contents}), allow_nan=False)
        item.user_properties.append((RECORD, line))
        if self.folder is not None:
            with unless_full(lambda full: item.user_properties.append((UNWRITTEN, full))):
                append_journal(self.folder, self.worker, line)


def _folder_here(given: Mapping[str, Any]) -> Path | None:
    """The run's folder as a worker finds it; one on another machine has none, and its results travel only."""
    folder = Path(given[FOLDER_INPUT]) if given.get(FOLDER_INPUT) else None
    return folder if folder is not None and folder.is_dir() else None


def recorded(user_properties: Sequence[tuple[str, object]]) -> dict[str, Any] | None:
    """The record a test left in its properties, None when it left none."""
    lines = [str(value) for name, value in user_properties if name == RECORD]
    record: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return record


RUN = pytest.StashKey[ClaimsRun]()
