"""What a run's folder holds for readers: ``report.json`` and the pages made from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prolepsis.atomic import write_atomically
from prolepsis.ledger import Claim
from prolepsis.report import paper_page, storage
from prolepsis.report.html import html
from prolepsis.report.markdown import markdown
from prolepsis.report.paper_page import of_paper

JSON, PAGE = "report.json", "report.html"


def write_report(folder: Path, report: Mapping[str, Any], claims: Sequence[Claim]) -> None:
    """Write ``report.json`` and the pages made from it; figures lie in ``folder`` already."""
    storage.write_json(folder / JSON, report)
    write_pages(folder, report, claims)


def write_pages(folder: Path, report: Mapping[str, Any], claims: Sequence[Claim]) -> None:
    """Write ``report.md`` and ``report.html``, and the page about the paper where some row is about it."""
    write_atomically(folder / "report.md", markdown(report, claims))
    write_atomically(folder / PAGE, html(report, claims, folder))
    if of_paper(report["claims"]):
        write_atomically(folder / paper_page.FILE, paper_page.paper_page(report["claims"], claims))
