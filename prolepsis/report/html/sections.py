"""A section for each claim: what is said, what was measured, by which reason, and how to measure it again."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prolepsis.claim import Claim
from prolepsis.report.criteria import criterion
from prolepsis.report.html.anchors import claim_anchor, row_anchor
from prolepsis.report.html.matrix import by_claim
from prolepsis.report.html.reversal import what_would_change
from prolepsis.report.html.strips import Strips
from prolepsis.report.markdown import claim_command, interval_text, number, published_text

Row = Mapping[str, Any]


class Drawn(NamedTuple):
    """A figure in the page, with the subject it is of."""

    anchor: str
    subject: str
    svg: str


class RowView(NamedTuple):
    """What a page says of one subject; texts in plain words."""

    anchor: str
    row: Row
    strip: str
    measured: str
    agrees: str
    reason: str
    changes: str
    controls: tuple[str, ...]
    protocol: str
    figures: tuple[tuple[str, str], ...]
    """Name and anchor of each figure this row has."""


class ClaimView(NamedTuple):
    """What a page says of one claim."""

    anchor: str
    name: str
    first: Row
    criterion: str
    published: tuple[tuple[str, str], ...]
    """Each published value in words, and its strip."""
    unit: str
    axis: str
    threshold: str
    rows: tuple[RowView, ...]
    drawn: Mapping[str, Sequence[Drawn]]
    """Kind of figure → the figures that no earlier claim has shown."""
    command: str
    seconds: str


def families(
    report: Mapping[str, Any], claims: Sequence[Claim], figures: Mapping[str, Any]
) -> dict[str, list[ClaimView]]:
    """Family → its claims; ``figures`` maps path → SVG, each shown once, with the first claim that has it."""
    ledger = {claim.key: claim for claim in claims}
    anchors = {path: f"figure-{place}" for place, path in enumerate(figures, 1)}
    shown: set[str] = set()
    found: dict[str, list[ClaimView]] = {}
    for key, rows in by_claim(report["claims"], claims).items():
        drawn: dict[str, list[Drawn]] = {}
        for row in rows:
            for path in row["figures"]:
                if path in figures and path not in shown:
                    shown.add(path)
                    name = _kind(path, row["subject"])
                    drawn.setdefault(name, []).append(Drawn(anchors[path], row["subject"], figures[path]))
        view = _claim(rows, ledger.get(key), drawn, anchors, report["environment"]["options"])
        found.setdefault(rows[0]["family"], []).append(view)
    return found


def _claim(
    rows: Sequence[Row],
    claim: Claim | None,
    drawn: Mapping[str, Sequence[Drawn]],
    anchors: Mapping[str, str],
    options: Sequence[str],
) -> ClaimView:
    from markupsafe import Markup

    first, strips = rows[0], Strips(rows, claim)
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    return ClaimView(
        anchor=claim_anchor(first["id"], first["variant"]),
        name=f"{first['id']} {first['variant']}",
        first=first,
        criterion="" if claim is None else criterion(claim),
        published=tuple(
            (published_text(entry), Markup(strips.printed(entry)) if strips.drawn else "")  # noqa: S704 — our own SVG
            for entry in first["published"]
        ),
        unit=strips.unit,
        axis=Markup(strips.axis()) if strips.drawn else "",  # noqa: S704
        threshold=strips.threshold(),
        rows=tuple(_row(row, claim, Markup(strips.row(row)), anchors) for row in rows),  # noqa: S704
        drawn=drawn,
        command=f"{claim_command(first['id'], first['variant'])} {shlex.join(_elsewhere(options))}".rstrip(),
        seconds=f"{sum(seconds):.3g} s" if seconds else "",
    )


def _elsewhere(options: Sequence[str]) -> list[str]:
    """The options a run is repeated with, less the subjects it was about."""
    kept = list(options)
    while "--claims-subject" in kept:
        at = kept.index("--claims-subject")
        del kept[at : at + 2]
    return kept


def _row(row: Row, claim: Claim | None, strip: str, anchors: Mapping[str, str]) -> RowView:
    return RowView(
        anchor=row_anchor(row),
        row=row,
        strip=strip,
        measured=_measured(row),
        agrees=row["agrees"] if row["published"] and row["measured"] else "",
        reason=row["reason"],
        changes="" if claim is None else what_would_change(row, claim),
        controls=tuple(_controls(row)),
        protocol=", ".join(_protocol(row)),
        figures=tuple((_kind(path, row["subject"]), anchors[path]) for path in row["figures"] if path in anchors),
    )


def _measured(row: Row) -> str:
    measured = row["measured"]
    if measured is None:
        return ""
    parts = [f"{number(measured['value'])} {measured['unit']}"]
    if measured["ci"] is not None:
        parts[0] += f" {interval_text(measured['ci'])}"
    if measured["k"] is not None:
        parts.append(f"{measured['k']} of {measured['n']}")
    elif measured["n"] is not None:
        parts.append(f"n {measured['n']}")
    if measured["clusters"] is not None:
        parts.append(f"{measured['clusters']} clusters")
    return ", ".join(parts)


def _controls(row: Row) -> Iterator[str]:
    """A line for each control that was measured, and one for all others."""
    yield from (_control(arm) for arm in row["controls"] if arm["value"] is not None)
    if absent := [arm["name"] for arm in row["controls"] if arm["value"] is None]:
        yield f"not measured: {', '.join(absent)}"


def _control(arm: Mapping[str, Any]) -> str:
    """A control on a line, with three digits: the files hold them all."""
    mark = "✓" if arm["passed"] else "✗"
    parts = [f"{mark} {arm['role']} {arm['name']}: {_short(arm['value'])}"]
    if arm["difference"] is not None:
        parts.append(f"Δ {_short(arm['difference'])}")
    if arm["ci"] is not None:
        parts[-1] += f" [{', '.join(map(_short, arm['ci']))}]"
    return ", ".join(parts)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _protocol(row: Row) -> Iterator[str]:
    if row["margin"] is not None:
        yield f"margin {_short(row['margin'])} standard errors"
    if row["measured"] is not None and row["measured"]["ci"] is not None:
        yield f"{row['measured']['ci_method']}, {row['measured']['sided']}"
    if row["protocol"] is not None:
        yield f"protocol {row['protocol']}"
    if row["seconds"] is not None:
        yield f"{row['seconds']:.3g} s"


def _kind(path: str, subject: str) -> str:
    """The kind of a figure, from its path."""
    stem = path.removeprefix("figures/").removesuffix(".svg")
    return stem.partition(f"-{subject.replace('/', '_')}")[0].replace("-", " ")
