"""The part of the plugin that runs once: gathers verdicts, writes the report and shows the table."""

import itertools
import json
import shlex
import shutil
import sys
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from prolepsis.errors import UserError, unless_full
from prolepsis.notes import NOTE
from prolepsis.report import storage
from prolepsis.report.comparison import Comparison, compare, read_report
from prolepsis.report.figures import draw_figures
from prolepsis.report.history import keep_for_history
from prolepsis.report.pages import JSON, write_report
from prolepsis.report.pin_update import update_pins
from prolepsis.report.pins import key_of
from prolepsis.report.recording import RAISED, USER_ERROR, case_of
from prolepsis.report.rows import environment
from prolepsis.report.scheduler import by_subject, claim_and_subject
from prolepsis.report.state import FOLDER_INPUT, SEAT_INPUT, ClaimsRun, recorded
from prolepsis.report.store import DAMAGED, TAKEN_OVER
from prolepsis.report.table import COLOURS, Column, Row, counts, table

SCHEMA = 1
PAUSE = 30
"""Between two writings of an unfinished report, in units of what one takes."""
ASKING = ("--claims-subject", "--claims-model")
DOCTORS = ("--claims-preset", "--claims-device", "--claims-dtype")
"""Options that the doctor has too, without the prefix."""
STOPPED = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)


class Reporting:
    """Registered in pytest's own process, which is the controller when workers run the tests."""

    def __init__(self, run: ClaimsRun, config: pytest.Config) -> None:
        self.run = run
        self.config = config
        self.started = datetime.now(UTC)
        self.planned: set[str] = set()
        self.seats: dict[str, tuple[tuple[str | None, ...], int]] = {}
        self.next_write = 0.0
        self.records: dict[str, dict[str, Any]] = {}
        self.raised: set[tuple[str, str, str]] = set()
        self.crashed = False
        self.user_errors: dict[str, None] = {}
        self.notes = [f"--claims-archive: {line}" for line in run.settings.skipped]
        self.told: dict[str, None] = {}
        self.taken_over: set[str] = set()
        self.report: dict[str, Any] | None = None
        self.changes: Comparison | None = None

    def pytest_sessionstart(self) -> None:
        """Open the run's folder before anything is measured, so that an unwritable one costs no time."""
        if self.config.option.collectonly:
            return
        try:
            self.run.folder = storage.new_run_folder(self.run.settings.reports, self.started)
        except UserError as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._plan([item.nodeid for item in session.items if case_of(item)])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        known = {(claim.id, source.id) for claim in self.run.claims for source in self.run.settings.subjects}
        self._plan([nodeid for nodeid in ids if claim_and_subject(nodeid) in known])

    def _plan(self, nodeids: Sequence[str]) -> None:
        """Note which tests will be claims; from here on there is an unfinished report to be found."""
        if nodeids and not self.planned and self.run.folder is not None:
            with unless_full(self._unwritten):
                self._write(complete=False)
            if self.user_errors:
                # Nothing is measured yet, and all of it would be lost.
                raise pytest.UsageError(self.user_errors.popitem()[0])
        self.planned.update(nodeids)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[FOLDER_INPUT] = str(self.run.folder or "")
        # Seats are counted on each machine, and one that takes the place of a dead worker takes its GPU, too.
        spec = node.gateway.spec
        machine = spec.via, spec.ssh, spec.socket
        seat = next(seat for seat in itertools.count() if (machine, seat) not in self.seats.values())
        self.seats[node.gateway.id] = machine, seat
        node.workerinput[SEAT_INPUT] = seat

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.seats.pop(node.gateway.id, None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        return by_subject(config, log)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Take in what a test recorded, before room is made for what pytest says of it."""
        if report.nodeid in self.planned:
            self._take_in(report)
        yield

    def _take_in(self, report: pytest.TestReport) -> None:
        """Keep what a test recorded; a failure without a verdict of its own is an error."""
        # The reports of a test's phases repeat its properties: the last ones are the longest list.
        record = recorded(report.user_properties)
        if record is not None and self.records.get(report.nodeid) != record:
            self._keep(report.nodeid, record)
            # The whole report is written each time, which must not cost more than a small part of the run.
            if time.monotonic() >= self.next_write:
                began = time.monotonic()
                with unless_full(self._unwritten):
                    self._write(complete=False)
                self.next_write = time.monotonic() + PAUSE * (time.monotonic() - began)
        self.raised.update(tuple(json.loads(text)) for text in _properties(report, RAISED))
        self.user_errors.update(dict.fromkeys(_properties(report, USER_ERROR)))
        for full in _properties(report, storage.UNWRITTEN):
            self._unwritten(full)
        self.told.update(dict.fromkeys([*_properties(report, DAMAGED), *_properties(report, NOTE)]))
        self.taken_over.update(_properties(report, TAKEN_OVER))
        # A report about a worker that died knows nothing but the test's name.
        self.crashed |= report.failed and not report.user_properties

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: pytest.TestReport | pytest.CollectReport) -> Generator[None, Any, Any]:
        """Say the verdict in the verbose word; categories and letters stay pytest's own."""
        category, letter, word = yield
        if not isinstance(report, pytest.TestReport) or report.when != "call":
            return category, letter, word
        if _properties(report, USER_ERROR):
            return "user error", "U", ("USER ERROR", {"red": True})
        record = recorded(report.user_properties)
        if record is None or _properties(report, RAISED):
            return category, letter, word
        verdict = record["row"]["verdict"]
        return category, letter, (f"FAILED {verdict}" if report.failed else verdict, COLOURS[verdict])

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the report, or leave no trace of a run without a record; then set the exit code."""
        if "hypothesis" not in sys.modules:
            # Its plugin would import all of it, which takes longer than the audit, to say that it has nothing to say.
            session.config.pluginmanager.unregister(name="hypothesispytest")
        if self.run.folder is None:
            return
        self._take_in_journals(self.run.folder)
        if self.records:
            self._finish(exitstatus)
        else:
            # What nothing is in would be the latest run, to which the next one is compared.
            storage.discard_run_folder(self.run.folder)
            self.run.folder = self.report = None
        if exitstatus in STOPPED:
            return
        if self.user_errors:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self.run.settings.asked and not self._measured_what_was_asked():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self.notes.append(f"nothing was measured although {self.run.settings.asked} was asked for{self._cure()}")
        elif self.changes is not None and self.changes.failed(self.run.settings.compare_fail):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _cure(self) -> str:
        """What helps where a real model could not be measured: the doctor, asked for what this run was asked for."""
        settings = self.run.settings
        if not any(record["row"]["tier"] == "gpu" for record in self.records.values()):
            return ""
        given = list(zip(settings.repeat[::2], settings.repeat[1::2], strict=True))
        real = {source.id for source in settings.subjects if source.tier == "gpu"}
        asked = [value for name, value in given if name in ASKING and Path(value).name in real]
        brought = any(name == "--claims-model" and value in asked for name, value in given)
        for name, value in given:
            if name in DOCTORS or (brought and name == "--claims-transcoder"):
                asked += [name.replace("--claims-", "--"), value]
        return f"; `{shlex.join(['prolepsis', 'doctor', *asked])}` says what is missing"

    def _measured_what_was_asked(self) -> bool:
        return any(record["measurement"] is not None for record in self.records.values())

    def _finish(self, exitstatus: int) -> None:
        """Store what was recorded, and pin it where that was asked for."""
        assert self.run.folder is not None
        complete = not (exitstatus in STOPPED or self.crashed or self.raised) and self.planned <= set(self.records)
        with unless_full(self._unwritten):
            self._write(complete=complete, final=True)
            storage.point_latest(self.run.folder)
            if self.report is not None:
                keep_for_history(self.run.folder, self.report)
            if complete:
                storage.remove_journals(self.run.folder)
        if self.run.settings.compare is not None and self.report is not None:
            self.changes = compare(read_report(self.run.settings.compare), self.report, self.run.claims)
            self.notes += [f"since {self.run.settings.compare.name}: {line}" for line in self.changes.lines()]
        if self.run.settings.update_expected:
            with unless_full(self._unwritten):
                rows = [record["row"] for record in self.records.values()]
                unpinned = update_pins(self.run.settings.expected, rows)
                self.notes += [f"not pinned, margin below 2: {' '.join(key)}" for key in unpinned]

    def _unwritten(self, full: str) -> None:
        """Let the run end as a user error: something of it could not be written, and is shown alone."""
        self.user_errors[f"{self.run.settings.reports}: {full} with --claims-report"] = None

    def _take_in_journals(self, folder: Path) -> None:
        """Add what a worker wrote down and then died before it could report it."""
        reported = {key_of(record["row"]) for record in self.records.values()}
        for record in storage.read_journals(folder):
            if (key := key_of(record["row"])) not in reported:
                self._keep(" ".join(key), record)

    def _keep(self, name: str, record: dict[str, Any]) -> None:
        """Take a record into the report, store its measurement and draw it."""
        assert self.run.folder is not None
        self.records[name] = record
        row = record["row"]
        row["figures"] = []
        with unless_full(self._unwritten):
            row["figures"] = draw_figures(self.run.folder, row["subject"], record["measurement"])
            if record["measurement"] is not None:
                path = self.run.folder / "measurements" / f"{row['measurement']}.json"
                storage.write_json(path, record["measurement"])

    def _write(self, *, complete: bool, final: bool = False) -> None:
        """Write the report's JSON, and at the end the pages made from it."""
        assert self.run.folder is not None
        records = sorted(self.records.values(), key=lambda record: _order(record["row"]))
        settings = self.run.settings
        self.report = {
            "schema": SCHEMA,
            "run": {
                "id": self.run.folder.name,
                "started": self.started.isoformat(timespec="seconds"),
                "seconds": (datetime.now(UTC) - self.started).total_seconds(),
                "command": shlex.join(["pytest", *map(str, self.config.invocation_params.args)]),
                "complete": complete,
            },
            "environment": environment(settings.device, settings.dtype, settings.repeat),
            "subjects": list({record["subject"]["id"]: record["subject"] for record in records}.values()),
            "claims": [record["row"] for record in records],
        }
        if final:
            write_report(self.run.folder, self.report, self.run.claims)
        else:
            storage.write_json(self.run.folder / JSON, self.report)

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None]:
        """Everything else first; the table is what a run ends with."""
        result = yield
        rows = [] if self.report is None else self.report["claims"]
        anything = bool(rows or self.raised)
        if anything or self.notes:
            terminalreporter.section("claims")
        if anything:
            self._show_table(terminalreporter, rows)
        for text in self.user_errors:
            terminalreporter.write_line(f"user error: {text}", red=True)
        for note in (*self.told, *self.notes):
            terminalreporter.write_line(note)
        if self.taken_over:
            told = f"{len(self.taken_over)} of {len(self.records)} measurements taken over from earlier runs"
            terminalreporter.write_line(f"{told}; --claims-fresh makes them anew")
        if anything:
            self._show_counts(terminalreporter, rows)
        return result

    def _show_table(self, terminal: pytest.TerminalReporter, rows: Sequence[Row]) -> None:
        cells = [(Column(variant, claim), subject) for claim, variant, subject in sorted(self.raised)]
        for line in table(rows, cells, shutil.get_terminal_size().columns):
            for piece in line:
                terminal.write(piece.text, **COLOURS.get(piece.verdict or "", {}))
            terminal.line("")

    def _show_counts(self, terminal: pytest.TerminalReporter, rows: Sequence[Row]) -> None:
        terminal.write_line(f"verdicts: {counts(rows)}")
        terminal.write_line(f"changed since {self.run.settings.expected.name}: {sum(row['changed'] for row in rows)}")
        terminal.write_line(f"report: {self.run.folder or 'none, since nothing was recorded'}")


def _order(row: Row) -> tuple[str, ...]:
    return row["variant"], row["id"], row["subject"]


def _properties(report: pytest.TestReport, name: str) -> list[str]:
    return [str(value) for key, value in report.user_properties if key == name]
