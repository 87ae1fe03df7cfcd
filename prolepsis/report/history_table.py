"""The history of stored runs in the terminal: a line per claim, a column per run, the newest that have room."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from prolepsis.report.history import History, Line, Run
from prolepsis.report.table import COLOURS, VERDICT_LETTERS, VERDICT_SHORT, Piece, fit, short_names

CHANGED, OTHERWISE, NOTHING = "!", "~", "·"
NARROWEST = 5  # of a column: a run's number, a space
MARKS = f"{CHANGED} a verdict is not that of the run before, {OTHERWISE} measured otherwise than before"

Cells = Mapping[tuple[int, int], Piece]
"""(number of the line, run) → what stands there."""


def overview(history: History, width: int) -> list[list[Piece]]:
    """Every claim: in how many subjects each verdict came out, run by run."""
    groups: dict[str, list[Line]] = {}
    for line in sorted(history.lines, key=lambda line: (line.variant, line.claim)):
        groups.setdefault(f"{line.claim} {line.variant}", []).append(line)
    began = first_runs(history.lines)
    cells = {}
    # More runs than this cannot have room.
    runs = history.asked[-(width // NARROWEST) :]
    for number, lines in enumerate(groups.values()):
        for run in runs:
            found = [line for line in lines if run in line.cells]
            counts = Counter(line.cells[run].verdict for line in found)
            text = " ".join(
                f"{counts[verdict]}{letter}" for verdict, letter in VERDICT_LETTERS.items() if counts[verdict]
            )
            only = next(iter(counts)) if len(counts) == 1 else None
            cells[number, run] = Piece(text + _marks(found, run, began) or NOTHING, only)
    legend = ", ".join(f"{letter} {verdict}" for verdict, letter in VERDICT_LETTERS.items())
    return [*_grid(list(groups), history, cells, width), [Piece("")], *_wrapped(f"{legend}; {MARKS}", width)]


def of_claim(history: History, width: int) -> list[list[Piece]]:
    """One claim: verdict and value on each version of each subject, run by run, and what the versions were."""
    began = first_runs(history.lines)
    cells, names, notes = {}, list[str](), list[str]()
    lines = sorted(history.lines, key=lambda line: (line.about, line.first))
    for number, line in enumerate(lines):
        name = f"{line.version.subject} {line.variant}"
        same = [other for other in lines if f"{other.version.subject} {other.variant}" == name]
        if len(same) > 1:
            name += f" [{same.index(line) + 1}]"
            notes.append(f"{name}: {version_of(line)}")
        names.append(name)
        for run, cell in line.cells.items():
            value = "" if cell.value is None else f" {cell.value:.3g}"
            cells[number, run] = Piece(
                f"{VERDICT_SHORT[cell.verdict]}{value}{_marks([line], run, began)}", cell.verdict
            )
    legend = f"{short_names(piece.verdict or '' for piece in cells.values())}; {MARKS}"
    told = [line for text in (*notes, legend) for line in _wrapped(text, width)]
    return [*_grid(names, history, cells, width), [Piece("")], *told]


def version_of(line: Line) -> str:
    """What makes a line its own: tier, revisions and digests by their first characters, dtype and protocol."""
    protocol = "" if line.protocol is None else f", protocol {line.protocol[:6]}"
    return f"{line.tier}, {line.version}{protocol}"


def first_runs(lines: Sequence[Line]) -> Mapping[tuple[str, str, str, str], int]:
    """The first run in which a claim was asked of a subject, whatever version of it."""
    found: dict[tuple[str, str, str, str], int] = {}
    for line in lines:
        found[line.about] = min(found.get(line.about, line.first), line.first)
    return found


def _marks(lines: Sequence[Line], run: int, began: Mapping[tuple[str, str, str, str], int]) -> str:
    """What is to be said of these lines in ``run``: that a verdict changed, that another version begins."""
    changed = CHANGED if any(run in line.changes for line in lines) else ""
    otherwise = any(line.first == run > began[line.about] for line in lines)
    return changed + (OTHERWISE if otherwise else "")


def _grid(names: Sequence[str], history: History, cells: Cells, width: int) -> list[list[Piece]]:
    """The table, no line longer than ``width``: as many of the newest runs as fit, and what each of them was."""
    runs, shown = history.runs, list(history.asked[-(width // NARROWEST) :])
    numbers = {run: runs[run].id.split("-")[0] for run in shown}
    widths = {run: len(numbers[run]) + 1 for run in shown}
    for (_, run), piece in cells.items():
        if run in widths:
            widths[run] = max(widths[run], len(piece.text) + 1)
    # At least one run is shown, and half of the width is left to the names at most.
    room = min(max(map(len, names)), max(width // 2, width - sum(widths.values())), width - widths[shown[-1]])
    while len(shown) > 1 and room + sum(widths[run] for run in shown) > width:
        del shown[0]
    lines = [[Piece(" " * room), *(Piece(f" {numbers[run]:<{widths[run] - 1}}") for run in shown)]]
    for number, name in enumerate(names):
        found = [(run, cells.get((number, run), Piece(NOTHING))) for run in shown]
        body = [Piece(f" {piece.text:<{widths[run] - 1}}", piece.verdict) for run, piece in found]
        lines.append([Piece(fit(name, room)), *body])
    earlier = len(history.asked) - len(shown)
    told = [f"earlier runs that have no room here: {earlier}; --html shows them all"] if earlier else []
    told += [_about(runs[run]) for run in shown]
    return [*lines, [Piece("")], *(line for text in told for line in _wrapped(text, width))]


def _about(run: Run) -> str:
    parts = [run.id, run.started[:16].replace("T", " "), f"torch {run.environment.get('torch')}"]
    parts += [f"on {run.environment.get('device')}"]
    return ", ".join(parts + ([] if run.complete else ["not complete"]))


def _wrapped(text: str, width: int) -> list[list[Piece]]:
    return [[Piece(line)] for line in textwrap.wrap(text, width)]


def colours(piece: Piece) -> str:
    """The style of a piece, as rich names it."""
    return " ".join(COLOURS.get(piece.verdict or "", {}))
