"""``report.html``: one file that needs no network, made from the report's JSON, the ledger and the drawn figures."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prolepsis.claim import Claim
from prolepsis.report.figures.chart import style, style_sheet
from prolepsis.report.html.disagreements import disagreements
from prolepsis.report.html.forests import forests
from prolepsis.report.html.known_answers import known_answers
from prolepsis.report.html.matrix import LETTERS, matrices
from prolepsis.report.html.sections import families
from prolepsis.report.table import counts

HERE = Path(__file__).parent

MEANINGS = {
    "supported": "the criterion holds, beyond every null, by at least the smallest difference worth the name",
    "contradicted": "the interval excludes the criterion, or a rival does as well, or the wiring rules it out",
    "vacuous": "the outcome is forced by the wiring or the protocol, or a null gives as much; the reason names which",
    "inconclusive": "too few clusters or detectable cases, a dead positive control, a broken guard, or an interval "
    "that holds both readings",
    "inconsistent": "the paper's own numbers do not add up (arithmetic only)",
    "untested": "weights, licence, hardware or data are missing; the reason says what to get and how large it is",
}


def html(report: Mapping[str, Any], claims: Sequence[Claim], folder: Path) -> str:
    """``report.html`` for the contents of a ``report.json``; ``folder`` is the run's, in which figures lie."""
    # Jinja takes longer to import than any command that does without it takes altogether.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    rows = report["claims"]
    paths = dict.fromkeys(path for row in rows for path in row["figures"])
    drawn = {path: _inline(folder / path) for path in paths}
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html.jinja").render(
        report=report,
        counts=counts(rows),
        changed=sum(row["changed"] for row in rows),
        meanings=MEANINGS,
        letters=LETTERS,
        matrices=matrices(rows, claims),
        families=families(report, claims, {path: Markup(svg) for path, svg in drawn.items() if svg is not None}),  # noqa: S704 — our own SVG
        forests=[Markup(_compact(svg)) for svg in forests(rows)],  # noqa: S704 — our own SVG
        known=known_answers(rows, claims),
        disagreements=disagreements(rows, claims),
        subjects=list(dict.fromkeys(row["subject"] for row in rows)),
        tiers=list(dict.fromkeys(row["tier"] for row in rows)),
        style=Markup(style_sheet() + (HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),  # noqa: S704
    )
    return f"{page}\n"


def _inline(path: Path) -> str | None:
    """A figure as a page takes it in, None where its file is gone."""
    try:
        return _compact(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _compact(svg: str) -> str:
    """The page has the style sheet already, and HTML needs neither the namespace nor quotes around a plain word."""
    bare = svg.replace(style(), "").replace(' xmlns="http://www.w3.org/2000/svg"', "")
    return re.sub(r'="([\w.-]+)"(?=[ >])', r"=\1", bare)
