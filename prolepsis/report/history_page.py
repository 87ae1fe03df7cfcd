"""The history of stored runs as one page that needs no network: a verdict matrix, and each value over the runs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from prolepsis.atomic import write_atomically
from prolepsis.errors import UserError
from prolepsis.report.history import Cell, History, Line, Stretch
from prolepsis.report.history_table import version_of
from prolepsis.report.table import VERDICT_LETTERS

WIDEST, NARROWEST, ROOM = 16.0, 4.0, 480.0
"""Width of a run's column, and of all of them while the columns are not at their narrowest; in pixels."""
STRIP, TRACE, PAD = 14, 36, 3
"""Heights of a strip of verdicts and of a trace of values, and what a trace leaves free; in pixels."""

Value = TypeVar("Value")


class Claim(NamedTuple):
    """A claim's part of the page: its anchor, its statement if the ledger has it, and its lines, drawn."""

    name: str
    anchor: str
    statement: str
    strip: str
    lines: Sequence[Mapping[str, Any]]


def write_page(path: Path, history: History) -> None:
    """Write the page; raises UserError where it cannot be written."""
    from jinja2 import Environment, FileSystemLoader

    from prolepsis import ledger

    statements = {claim.key: claim.statement for claim in ledger.rows()}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    text = environment.get_template("history.html").render(
        runs=history.runs,
        claims=list(drawn_claims(history, statements)),
        passed_over=history.passed_over,
        letters=VERDICT_LETTERS,
        step=_step(history),
    )
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UserError(f"{path}: no page can be written there ({error.strerror})") from None


def drawn_claims(history: History, statements: Mapping[tuple[str, str], str]) -> Iterator[Claim]:
    """Each claim and variant of the history with its drawings, in the order of the page."""
    step = _step(history)
    ordered = sorted(history.lines, key=lambda line: (line.variant, line.claim, line.about, line.first))
    for (claim, variant), group in groupby(ordered, key=lambda line: (line.claim, line.variant)):
        lines = list(group)
        yield Claim(
            f"{claim} {variant}",
            f"{claim}-{variant}",
            statements.get((claim, variant), ""),
            _summary(lines, len(history.runs), step),
            [_drawn(line, history, step) for line in lines],
        )


def _drawn(line: Line, history: History, step: float) -> Mapping[str, Any]:
    latest = line.stretches[-1].cell
    changes = ", ".join(history.runs[run].id for run in sorted(line.changes))
    told = f"{line.version.subject}: {latest.verdict} at last" + (
        f"; changed in {changes}" if changes else "; never changed"
    )
    return {
        "subject": line.version.subject,
        "version": version_of(line),
        "latest": latest,
        "unit": line.unit,
        "strip": _svg(_verdicts(line, step), len(history.runs) * step, STRIP, told),
        "trace": _trace(line, len(history.runs), step),
    }


def _step(history: History) -> float:
    return max(NARROWEST, min(WIDEST, ROOM / len(history.runs)))


def _svg(body: str, width: float, height: float, told: str) -> str:
    from markupsafe import Markup, escape

    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    # Names come from reports that others may have written; verdicts and numbers have been looked at.
    return Markup(f'<svg role="img" {size}><title>{escape(told)}</title>{body}</svg>')  # noqa: S704


def _verdicts(line: Line, step: float) -> str:
    """A box for each stretch of runs with one verdict; runs without one leave a gap."""
    boxes = []
    for verdict, start, stop in _joined((cell.verdict, start, stop) for cell, start, stop in line.stretches):
        width = (stop - start) * step
        boxes.append(f'<rect class="{verdict}" x="{start * step:g}" width="{width - 1:g}" height="{STRIP}"/>')
        if width >= WIDEST / 2:
            boxes.append(f'<text x="{start * step + 2:g}" y="{STRIP - 3}">{VERDICT_LETTERS[verdict]}</text>')
    return "".join(boxes)


def _joined(stretches: Iterable[tuple[Value, int, int]]) -> Iterator[tuple[Value, int, int]]:
    """(value, first run, run after the last) for each stretch of consecutive runs with an equal value."""
    held: tuple[Value, int, int] | None = None
    for value, start, stop in stretches:
        if held is not None and (value, start) == (held[0], held[2]):
            held = value, held[1], stop
            continue
        if held is not None:
            yield held
        held = value, start, stop
    if held is not None:
        yield held


def _summary(lines: Sequence[Line], runs: int, step: float) -> str:
    """The verdicts of a claim on all its subjects: each run's column divided by how many got which."""
    boxes = []
    found: Sequence[tuple[str, int]] = ()
    for found, start, stop in _joined(_shares(lines)):
        top, unit = 0.0, STRIP / sum(count for _, count in found)
        for verdict, count in found:
            size = f'width="{(stop - start) * step - 1:g}" height="{count * unit:.4g}"'
            boxes.append(f'<rect class="{verdict}" x="{start * step:g}" y="{top:.4g}" {size}/>')
            top += count * unit
    latest = ", ".join(f"{count} {verdict}" for verdict, count in found)
    return _svg("".join(boxes), runs * step, STRIP, f"in the latest run: {latest}")


def _shares(lines: Sequence[Line]) -> Iterator[tuple[tuple[tuple[str, int], ...], int, int]]:
    """How many lines got which verdict, for each stretch of runs in which some did."""
    changes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for cell, start, stop in line.stretches:
            changes[start][cell.verdict] += 1
            changes[stop][cell.verdict] -= 1
    counts: Counter[str] = Counter()
    for start, stop in pairwise(sorted(changes)):
        counts.update(changes[start])
        if found := tuple((verdict, counts[verdict]) for verdict in VERDICT_LETTERS if counts[verdict]):
            yield found, start, stop


def _trace(line: Line, runs: int, step: float) -> str:
    """The value over the runs with its interval as a band, broken where a run has none."""
    stretches = [stretch for stretch in line.stretches if stretch.cell.value is not None]
    if not stretches:
        return ""
    numbers = [number for stretch in stretches for number in stretch.cell[1:] if number is not None]
    low, high = min(numbers), max(numbers)

    def y(value: float) -> str:
        share = (value - low) / (high - low) if high > low else 0.5
        return f"{TRACE - PAD - share * (TRACE - 2 * PAD):.4g}"

    body = []
    for together in _unbroken(stretches):
        corners: list[tuple[float, Cell]] = []
        for found, first, after in _joined((stretch.cell[1:], *stretch[1:]) for stretch in together):
            corners += [(x, Cell("", *found)) for x in dict.fromkeys([(first + 0.5) * step, (after - 0.5) * step])]
        band = [(x, cell.low, cell.high) for x, cell in corners if cell.low is not None and cell.high is not None]
        if band:
            edge = [f"{x:g},{y(high)}" for x, _, high in band] + [f"{x:g},{y(low)}" for x, low, _ in band[::-1]]
            body.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
        points = " ".join(f"{x:g},{y(cell.value)}" for x, cell in corners if cell.value is not None)
        body.append(f'<polyline class="value" points="{points}"/>')
        x, cell = corners[-1]
        body.append(f'<circle class="value" cx="{x:g}" cy="{y(cell.value or 0.0)}" r="2"/>')
    told = f"{line.version.subject}: between {low:.4g} and {high:.4g} {line.unit}, intervals included"
    return _svg("".join(body), runs * step, TRACE, told)


def _unbroken(stretches: Sequence[Stretch]) -> Iterator[Sequence[Stretch]]:
    """The stretches in groups that leave out no run."""
    breaks = [n for n, (before, now) in enumerate(pairwise(stretches), 1) if before.stop != now.start]
    for first, after in pairwise([0, *breaks, len(stretches)]):
        yield stretches[first:after]
