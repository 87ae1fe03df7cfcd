"""Where a run's report lives on disk: numbered folders, files that are whole or absent, journals of workers."""

import itertools
import json
import re
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from prolepsis.atomic import write_atomically
from prolepsis.errors import UserError
from prolepsis.report.rows import plain

UNWRITTEN = "claims-unwritten"
"""The property in which a test says why something of it could not be written."""


def new_run_folder(root: Path, started: datetime) -> Path:
    """Create ``NNNN-<utc>`` in ``root`` with a number no other run has, even one that starts at the same moment.

    Raises UserError when nothing can be written there.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(_highest_number(root) + 1):
            # Holding this file is holding the number: folder names differ in their time, so mkdir alone would not do.
            claim = root / f".{number:04d}"
            try:
                claim.touch(exist_ok=False)
            except FileExistsError:
                continue
            try:
                if number > _highest_number(root):
                    folder = root / f"{number:04d}-{started:%Y%m%dT%H%M%SZ}"
                    (folder / "measurements").mkdir(parents=True)
                    return folder
            finally:
                claim.unlink()
    except OSError as error:
        raise UserError(
            f"{root}: no report can be written there ({error.strerror}); choose another folder with --claims-report"
        ) from None
    raise AssertionError("the numbers never end")


def discard_run_folder(folder: Path) -> None:
    """Remove a run folder in which nothing was recorded."""
    shutil.rmtree(folder)


def _highest_number(root: Path) -> int:
    numbers = (re.match(r"(\d{4,})-", path.name) for path in root.iterdir())
    return max((int(match[1]) for match in numbers if match), default=0)


def point_latest(folder: Path) -> None:
    """Let ``latest`` beside ``folder`` be a relative link to it."""
    link = folder.parent / f".latest-{folder.name}"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")


def write_json(path: Path, value: Any) -> None:
    """Write plain JSON, non-finite numbers as null."""
    write_atomically(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def append_journal(folder: Path, worker: str, line: str) -> None:
    """Add one JSON line to the worker's journal; what is written survives the death of the process."""
    with (folder / f"journal-{worker}.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def read_journals(folder: Path) -> list[dict[str, Any]]:
    """Every whole line of the journals in a run folder; a line cut short by a kill or a full disk is left out."""
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.glob("journal-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
            with suppress(ValueError):
                entries.append(json.loads(line))
    return entries


def remove_journals(folder: Path) -> None:
    """Remove the journals of a run whose report holds all they say."""
    for path in folder.glob("journal-*.jsonl"):
        path.unlink()
