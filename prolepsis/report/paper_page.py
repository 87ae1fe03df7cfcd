"""The paper read against itself, as a page: what its printed figures say of each other, section by section.

Made from the rows of a report about the paper alone, and the ledger for what these rows leave out.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prolepsis.audit.controls import missing_controls, purpose
from prolepsis.ledger import Claim
from prolepsis.report.markdown_table import markdown_table
from prolepsis.subjects.source import PAPER

Row = Mapping[str, Any]

FILE = "paper.md"
TITLE = "What the paper says, and what follows from its own numbers"
SECTIONS = {
    "abstract": "Abstract",
    "§1": "§1 Introduction",
    "§2": "§2 Related work",
    "§3": "§3 Experimental setup",
    "§4": "§4 Q1: Can planning be observed without CLTs?",
    "§5": "§5 Q2: Does planning-site localization replicate?",
    "§6": "§6 Q3: How does the planning decision travel to the output?",
    "§7": "§7 Q4: What is the minimum depth for the planning circuit?",
    "§8": "§8 Q5: Is early commitment specific to planning?",
    "§9": "§9 Discussion and conclusion",
    "App. A": "Appendix A: Steering method details",
    "App. B": "Appendix B: Feature discovery protocol",
    "App. C": "Appendix C: Code and cooking",
    "App. D": "Appendix D: Full position sweep data",
    "App. E": "Appendix E: Attention routing, full head tables",
    "App. F": "Appendix F: Reproduction commands",
    "App. G": "Appendix G: Direct test of irrevocability",
    "": "Elsewhere",
}
"""What a place in the paper starts with → the section's title, in reading order."""
STANDS_IN = {"Table 1": "§5", "Table 2": "§7", "Table 3": "§8", "Figure 1": "§5", "Figure 2": "§6", "Figure 3": "§6"}
FINDINGS = {
    "inconsistent": "No:",
    "contradicted": "As the model is wired it cannot:",
    "vacuous": "As the model is wired nothing else could come out:",
}
"""Verdicts on the paper that are findings, the gravest first → how a sentence introduces what was found."""


def of_paper(rows: Sequence[Row]) -> list[Row]:
    """The rows about the paper alone."""
    return [row for row in rows if row["subject"] == PAPER.id]


def paper_page(rows: Sequence[Row], claims: Sequence[Claim]) -> str:
    """``paper.md`` for the ``claims`` rows of a report and the ledger they were made with."""
    found = _by_section(of_paper(rows), claims)
    lines = [f"# {TITLE}", "", *_summary(found), *_notation(rows)]
    for title, of_section in found.items():
        lines += [f"## {title}", "", *_section(of_section, {claim.key: claim for claim in claims})]
    return "\n".join([*lines, *_controls(claims)]) + "\n"


def section_of_report(rows: Sequence[Row], claims: Sequence[Claim]) -> Iterator[str]:
    """The page in short, for ``report.md``; nothing where no row is about the paper."""
    found = _by_section(of_paper(rows), claims)
    if found:
        yield from (f"## {TITLE}", "", *_summary(found), f"[Section by section]({FILE})", "")


def section_of(place: str) -> str:
    """The key in SECTIONS of the first section, appendix, table or figure that ``place`` names, "" for none.

    "ours, for §5 and §7" is §5, "Table 2b" stands in §7.
    """
    named = re.search(r"§\d|App\. [A-G]|(?:Table|Figure) \d|\babs(?:tract)?\b", place)
    if named is None:
        return ""
    found = "abstract" if named[0].startswith("abs") else named[0]
    section = STANDS_IN.get(found, found)
    return section if section in SECTIONS else ""


def _by_section(rows: Sequence[Row], claims: Sequence[Claim]) -> dict[str, list[Row]]:
    """Section titles in reading order → rows: findings first, the gravest before others, else in the ledger's order."""
    order = {claim.key: place for place, claim in enumerate(claims)}
    gravity = list(FINDINGS)

    def rank(row: Row) -> tuple[int, int]:
        grave = gravity.index(row["verdict"]) if row["verdict"] in FINDINGS else len(gravity)
        return grave, order.get((row["id"], row["variant"]), len(order))

    ranked = sorted(rows, key=rank)
    found = {title: [row for row in ranked if section_of(row["section"]) == key] for key, title in SECTIONS.items()}
    return {title: of_section for title, of_section in found.items() if of_section}


def _summary(found: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    every = [row for rows in found.values() for row in rows]
    counted = Counter(row["verdict"] for row in every)
    said = [f"**{counted['inconsistent']} do not hold**"]
    if counted["contradicted"]:
        said.append(f"{counted['contradicted']} cannot be, as the models are wired")
    if counted["vacuous"]:
        said.append(f"{counted['vacuous']} could not have come out otherwise, as they are wired")
    said.append(f"{counted['supported']} agree")
    yield (
        f"{len(every)} statements that the paper makes, or needs for what it says, were checked with nothing but the "
        f"paper: {', '.join(said)}. Where two printed figures disagree, this does not tell which one is right."
    )
    yield ""
    counts = {title: sum(row["verdict"] in FINDINGS for row in rows) for title, rows in found.items()}
    yield from markdown_table(
        ["section", "checked", "findings"],
        [[title, str(len(rows)), str(counts[title] or "–")] for title, rows in found.items()],
    )


def _notation(rows: Sequence[Row]) -> Iterator[str]:
    yield "The code that ends a line names the check: `prolepsis claims show B09` tells all about it."
    if any(row["verdict"] in ("contradicted", "vacuous") for row in rows):
        yield "L21@23 is layer 21 at token 23, L21:H5 is head 5 of layer 21."
    yield ""


def _section(rows: Sequence[Row], claims: Mapping[tuple[str, str], Claim]) -> Iterator[str]:
    for row in rows:
        if row["verdict"] in FINDINGS:
            yield from _finding(row, claims.get((row["id"], row["variant"])))
    if agreeing := [row for row in rows if row["verdict"] not in FINDINGS]:
        yield f"In agreement: {' '.join(_with_id(row) for row in agreeing)}"
        yield ""


def _with_id(row: Row) -> str:
    return f"{row['statement'].rstrip('.')} ({row['id']})."


def _finding(row: Row, claim: Claim | None) -> Iterator[str]:
    """What should hold, the printed figures unless the rest repeats them, and what follows from them."""
    scale = "" if claim is None else claim.scale
    follows = re.sub(r"^(?:forced|impossible): .*? come out: ", "", row["reason"])
    parts = [f"**{row['statement']}**"]
    if any(entry["where"] not in row["reason"] for entry in row["published"]):
        parts.append(f"Printed: {'; '.join(_figure(entry, scale) for entry in row['published'])}.")
    parts.append(
        f"{FINDINGS[row['verdict']]} {_in_per_cent(follows) if scale == 'proportion' else follows} ({row['id']})."
    )
    yield f"* {' '.join(parts)}"
    yield ""


def _figure(entry: Mapping[str, Any], scale: str) -> str:
    """A printed figure as the paper has it, and where: "62.1 %, 164 of 264 (App. D.2)"."""
    parts = [_value(entry["value"], scale)]
    if entry["k"] is not None:
        parts.append(f"{entry['k']} of {entry['n']}")
    elif entry["n"] is not None:
        parts[0] += f" of {entry['n']}"
    if entry["low"] is not None and entry["high"] is not None:
        parts.append(f"interval {_value(entry['low'], scale)} to {_value(entry['high'], scale)}")
    if entry["of"] is not None and re.fullmatch(r"[-\d.e +*/()]+", entry["of"]):
        parts.append(f"said to be {entry['of'].replace('*', '×')}")
    return f"{', '.join(parts)} ({entry['where']})"


def _value(value: float | str, scale: str) -> str:
    if isinstance(value, str):
        return value
    if scale == "proportion":
        return f"{100 * value:.4g} %"
    return f"{value:,.10g}" if 1 <= abs(value) < 1e12 else f"{value:.4g}"


def _in_per_cent(text: str) -> str:
    """A sentence about proportions, with its decimal fractions as per cent; p-values stay as they are."""
    return re.sub(
        r"(?<![\d.])(?<!p = )0(?:\.\d+)?(?![\d.]| *%| of\b)(?= |;|,|$)",
        lambda match: _value(float(match[0]), "proportion"),
        text,
    )


def _controls(claims: Sequence[Claim]) -> Iterator[str]:
    """What each argument of the paper would need beside its figures, and the paper does not report."""
    lacking = [claim for claim in claims if not claim.source and missing_controls(claim)]
    if not lacking:
        return
    yield "## What the arguments need and the paper does not report"
    yield ""
    yield (
        "An effect bears out a claim only if it is larger than what comes out without its cause. These are the "
        "comparisons that each claim needs for that and the paper does not give. An untrained twin is the same model "
        "with random weights."
    )
    yield ""
    rows = []
    for claim in sorted(lacking, key=lambda claim: list(SECTIONS).index(section_of(claim.section))):
        purposes: dict[str, list[str]] = {}
        for control in missing_controls(claim):
            purposes.setdefault(purpose(claim, control), []).append(control.label)
        said = ". ".join(f"{what.capitalize()}: {'; '.join(labels)}" for what, labels in purposes.items())
        rows.append([claim.section, f"{claim.statement} ({claim.id})", f"{said}."])
    yield from markdown_table(["where", "claim", "not reported"], rows)
