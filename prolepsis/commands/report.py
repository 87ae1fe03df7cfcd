"""``prolepsis report``: the pages of a stored run, written anew (imports no torch)."""

import argparse
import json
import webbrowser
from pathlib import Path
from typing import Any

from prolepsis import ledger
from prolepsis.commands.bars import bars
from prolepsis.commands.command import OK, Command
from prolepsis.commands.runs import LATEST
from prolepsis.errors import UserError
from prolepsis.report.comparison import read_report
from prolepsis.watching import watched


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=Path, default=LATEST, help=f"folder of a run (default {LATEST})")
    parser.add_argument("--open", action="store_true", help="show the page in a browser")


def _run(chosen: argparse.Namespace) -> int:
    from prolepsis.report.figures import draw_figures, remove_figures
    from prolepsis.report.pages import PAGE, write_pages

    folder: Path = chosen.run
    report = read_report(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: name the run's folder; the pages are written there")
    remove_figures(folder)
    with bars(f"writing the pages of {folder}"):
        rows = [
            {**row, "figures": draw_figures(folder, row["subject"], _measurement(folder, row))}
            for row in watched(report["claims"], "rows drawn")
        ]
        write_pages(folder, {**report, "claims": rows}, ledger.rows())
    page = folder.resolve() / PAGE
    print(f"report: {folder / PAGE}")
    if chosen.open:
        webbrowser.open(page.as_uri())
    return OK


def _measurement(folder: Path, row: dict[str, Any]) -> dict[str, Any] | None:
    """What the row was judged by; None where nothing was measured, or it is not stored any more."""
    path = folder / "measurements" / f"{row['measurement']}.json"
    if row["measurement"] is None or not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it to write the pages without it") from None
    return found


REPORT = Command(
    "report",
    "Write the pages of a stored run anew: report.html, report.md and the figures; no model is loaded.",
    "The verdicts stay those that were stored; `prolepsis judge` judges them again.",
    _arguments,
    _run,
)
