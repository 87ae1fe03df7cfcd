"""``prolepsis history``: what each claim came to, over the stored runs (imports no torch)."""

import argparse
from pathlib import Path

from prolepsis.commands.bars import bars
from prolepsis.commands.command import OK, Command
from prolepsis.commands.runs import REPORTS


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("claim", nargs="?", metavar="CLAIM", help="the id of one claim, for verdicts and values")
    parser.add_argument(
        "--report", type=Path, default=REPORTS, metavar="ROOT", help=f"folder of the runs (default {REPORTS}/)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write it as a page, with every value traced")


def _run(chosen: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.text import Text

    from prolepsis.report.history import read_history
    from prolepsis.report.history_table import colours, of_claim, overview

    with bars(f"reading {chosen.report}"):
        history = read_history(chosen.report)
    if chosen.claim is not None:
        history = history.of_claim(chosen.claim)
    console = Console(highlight=False, soft_wrap=True)
    for line in (overview if chosen.claim is None else of_claim)(history, console.width):
        console.print(Text.assemble(*((piece.text, colours(piece)) for piece in line)))
    for text in history.passed_over:
        print(text)
    if chosen.html is not None:
        from prolepsis.report.history_page import write_page

        write_page(chosen.html, history)
        print(f"page: {chosen.html}")
    return OK


HISTORY = Command(
    "history",
    "Say what each claim came to in the stored runs, over the versions of its subjects.",
    "A subject of other weights, revision, transcoder or dtype, and another protocol, begin a line of their own.\n\n"
    "prolepsis history                        every claim, how many subjects got which verdict\n"
    "prolepsis history B06                    one claim, verdict and value on each subject\n"
    "prolepsis history --html history.html    all of it as one page",
    _arguments,
    _run,
)
