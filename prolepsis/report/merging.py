"""Several runs that each measured a part, put together as one run (imports no torch)."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prolepsis import ledger
from prolepsis.atomic import write_atomically
from prolepsis.errors import UserError
from prolepsis.report import storage
from prolepsis.report.comparison import Report, read_report
from prolepsis.report.history import keep_for_history
from prolepsis.report.pages import write_report
from prolepsis.report.pins import key_of
from prolepsis.watching import watched


def merge(runs: Sequence[Path], root: Path) -> Path:
    """Store the rows and measurements of ``runs`` as a new run in ``root``; its folder.

    The rows are those an undivided run would have, in the same order. Raises UserError when a row stands in two of the
    runs, or when they were not made in the same environment.
    """
    reports = [read_report(run) for run in runs]
    _check(runs, reports)
    started = min(datetime.fromisoformat(report["run"]["started"]) for report in reports)
    folder = storage.new_run_folder(root, datetime.now(UTC))
    rows = [row for report in reports for row in report["claims"]]
    subjects = {subject["id"]: subject for report in reports for subject in report["subjects"]}
    merged = {
        "schema": reports[0]["schema"],
        "run": {
            "id": folder.name,
            "started": started.isoformat(timespec="seconds"),
            "seconds": sum(report["run"]["seconds"] for report in reports),
            "command": " + ".join(report["run"]["command"] for report in reports),
            "complete": all(report["run"]["complete"] for report in reports),
        },
        "environment": reports[0]["environment"],
        "subjects": list(subjects.values()),
        "claims": sorted(rows, key=lambda row: (row["variant"], row["id"], row["subject"])),
    }
    names = ("measurements/*.json", "figures/*.svg")
    files = [(run, path) for run in runs for name in names for path in sorted(run.glob(name))]
    for run, path in watched(files, "files copied"):
        copy = folder / path.relative_to(run)
        copy.parent.mkdir(exist_ok=True)
        write_atomically(copy, path.read_text(encoding="utf-8"))
    write_report(folder, merged, ledger.rows())
    storage.point_latest(folder)
    keep_for_history(folder, merged)
    return folder


def _check(runs: Sequence[Path], reports: Sequence[Report]) -> None:
    seen: dict[Any, Path] = {}
    for run, report in zip(runs, reports, strict=True):
        if report["environment"] != reports[0]["environment"]:
            ours, theirs = (json.dumps(r["environment"], sort_keys=True) for r in (reports[0], report))
            raise UserError(f"{run}: was made in another environment than {runs[0]}: {theirs}, not {ours}")
        for row in report["claims"]:
            key = key_of(row)
            if key in seen:
                raise UserError(f"{run}: {' '.join(key)} is in {seen[key]} already; merge parts of one run")
            seen[key] = run
