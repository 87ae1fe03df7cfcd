"""The report as Markdown, made from the report's JSON and the ledger its claims stand in."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from prolepsis.ledger import Claim
from prolepsis.report.markdown_table import markdown_table
from prolepsis.report.paper_page import section_of_report
from prolepsis.report.side_by_side import side_by_side
from prolepsis.report.table import counts, short, short_names
from prolepsis.subjects.source import PAPER

Row = Mapping[str, Any]


def markdown(report: Mapping[str, Any], claims: Sequence[Claim]) -> str:
    """``report.md`` for the contents of a ``report.json``; ``claims`` is the ledger."""
    rows = report["claims"]
    between = section_of_report(rows, claims), side_by_side(rows, claims)
    return "\n".join([*_head(report), *matrix(rows), *chain(*between), *_claims(report)]) + "\n"


def _head(report: Mapping[str, Any]) -> Iterator[str]:
    run, environment = report["run"], report["environment"]
    yield f"# Claims run {run['id']}"
    yield ""
    if not run["complete"]:
        yield "**Not complete**: the run was interrupted, or a test raised instead of measuring; see the terminal."
        yield ""
    yield f"Started {run['started']}, {run['seconds']:.0f} s. Command: `{run['command']}`"
    yield ""
    yield ", ".join(f"{name} {value}" for name, value in environment.items() if isinstance(value, str))
    yield ""
    changed = sum(row["changed"] for row in report["claims"])
    yield f"Verdicts: {counts(report['claims'])}. Changed since the pins: {changed}."
    yield ""


def matrix(rows: Sequence[Row]) -> Iterator[str]:
    """Subjects by claims, those about the paper apart, and what the cells mean."""
    for paper in (False, True):
        yield from _subjects_by_claims([row for row in rows if (row["subject"] == PAPER.id) == paper])
    if rows:
        yield f"{short_names(row['verdict'] for row in rows)}."
        yield ""
    yield "`=` our number agrees with the published one, `≠` it does not, `?` cannot tell, `!` differs from the pin."
    yield ""


def _subjects_by_claims(rows: Sequence[Row]) -> Iterator[str]:
    columns = sorted({(row["variant"], row["id"]) for row in rows})
    cells = {(row["variant"], row["id"], row["subject"]): short(row) for row in rows}
    if not rows:
        return
    yield from markdown_table(
        ["subject", *(f"{claim} {variant}" for variant, claim in columns)],
        [
            [subject, *(cells.get((*column, subject), "") for column in columns)]
            for subject in dict.fromkeys(row["subject"] for row in rows)
        ],
    )


def _claims(report: Mapping[str, Any]) -> Iterator[str]:
    rows: Sequence[Row] = report["claims"]
    for variant, claim in sorted({(row["variant"], row["id"]) for row in rows}):
        of_claim = [row for row in rows if (row["variant"], row["id"]) == (variant, claim)]
        first = of_claim[0]
        yield f"## {claim} ({variant}) · {first['section']}"
        yield ""
        yield f"{first['statement']}"
        yield ""
        yield f"Population: {first['population']}."
        yield ""
        for published in first["published"]:
            yield f"* published: {published_text(published)}"
        yield ""
        for row in of_claim:
            yield from _row(row, report["environment"])


def _row(row: Row, environment: Mapping[str, Any]) -> Iterator[str]:
    changed = f" (pinned: {row['expected']})" if row["changed"] else ""
    yield f"### {row['subject']}: {row['verdict']}{changed}"
    yield ""
    yield f"{row['reason']}"
    yield ""
    if row["measured"] is not None:
        yield f"* measured: {_measured(row['measured'])}, {environment['dtype']} on {environment['device']}"
        yield f"* agrees with the published value: {row['agrees'] if row['published'] else 'none was published'}"
    if row["margin"] is not None:
        yield f"* margin: {number(row['margin'])} standard errors"
    if row["reach"] is not None:
        yield f"* reach: {row['reach']['answer']}"
    if row["measurement"] is not None:
        yield f"* values: `measurements/{row['measurement']}.json`, protocol {row['protocol']}"
    for figure in row["figures"]:
        yield f"* figure: [{figure}]({figure})"
    yield f"* again: `{rerun_command(row, environment['options'])}`"
    yield ""
    if row["controls"]:
        yield from markdown_table(
            ["control", "role", "value", "difference", "interval", "passed"],
            [_control(control) for control in row["controls"]],
        )


def _control(arm: Mapping[str, Any]) -> list[str]:
    numbers = number(arm["value"]), number(arm["difference"]), interval_text(arm["ci"])
    return [arm["name"], arm["role"], *numbers, {True: "yes", False: "no", None: "–"}[arm["passed"]]]


def rerun_command(row: Row, options: Sequence[str]) -> str:
    """The command that measures this claim on this subject, and nothing else."""
    return f"{claim_command(row['id'], row['variant'], row['subject'])} {shlex.join(options)}".rstrip()


def claim_command(claim: str, variant: str, subject: str | None = None) -> str:
    """The command that measures one claim, on one subject or on all that are asked it."""
    of_subject = "" if subject is None else f", subject='{subject}'"
    return f"python -m pytest claims -m \"claim(id='{claim}', variant='{variant}'{of_subject})\""


def published_text(value: Mapping[str, Any]) -> str:
    """A published value on one line: what it is, of what count, within what interval, and where it stands."""
    parts = [number(value.get("value"))]
    if value.get("of"):
        parts.append(f"said to be {value['of']}")
    if value.get("n") is not None:
        parts.append(f"{value['k']} of {value['n']}" if value.get("k") is not None else f"n = {value['n']}")
    if value.get("low") is not None or value.get("high") is not None:
        parts.append(interval_text([value.get("low"), value.get("high")]))
    if value.get("where"):
        parts.append(str(value["where"]))
    return ", ".join(parts)


def _measured(value: Mapping[str, Any]) -> str:
    parts = [f"{number(value['value'])} {value['unit']}"]
    if value["ci"] is not None:
        parts.append(f"{interval_text(value['ci'])} ({value['ci_method']}, {value['sided']})")
    for name, text in (("k", "k"), ("n", "n"), ("clusters", "clusters")):
        if value[name] is not None:
            parts.append(f"{text} = {value[name]}")
    return ", ".join(parts)


def interval_text(bounds: Sequence[float | None] | None) -> str:
    """An interval in brackets."""
    return "–" if bounds is None else f"[{', '.join(number(bound) for bound in bounds)}]"


def number(value: float | str | None) -> str:
    """A number with four digits, text as it is."""
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:.4g}"
