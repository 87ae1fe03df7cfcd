"""What the experiment commands share: the subject that is asked, and an answer as table, plot and JSON."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Literal

from prolepsis.commands.bars import bars
from prolepsis.commands.command import OK, Command, columns
from prolepsis.errors import Untested, UserError, within_memory
from prolepsis.report.subjects import DTYPES, known_subjects, open_subject, select_subjects
from prolepsis.subjects.source import SubjectSource
from prolepsis.watching import watched

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from prolepsis.subject import Subject

PLOTS = (".svg", ".png", ".pdf")
OPTIONS = re.compile(r"--claims-subject \S+ (?P<downloads>downloads)|--claims-(?P<option>\w+)")
"""Pytest's options where a message names them."""
GAP = 3
"""Columns between two of a table; its edges are one each."""
FOLDED = 24
"""Columns that a cell has on a line of its own: what is longer, lists and lines of text, is folded where it must."""
PACKAGES = ("torch", "transformers", "scipy.stats")
"""Those that take seconds to be imported, and that loading a subject would import unseen."""


@dataclass(frozen=True)
class Answer:
    """What a command found: a table to read with notes under it, the same as plain JSON, and how it is drawn."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    plain: Mapping[str, object]
    draw: Callable[["Figure"], None]


Ask = Callable[["Subject", argparse.Namespace], Answer]


def experiment_command(
    name: str,
    summary: str,
    epilog: str,
    arguments: Callable[[argparse.ArgumentParser], None],
    ask: Ask,
    *,
    transcoder: bool = False,
    opened: "Callable[[argparse.Namespace], Subject] | None" = None,
) -> Command:
    """A command that asks one subject; ``transcoder`` says that it cannot do without one, ``opened`` loads it."""

    def all_arguments(parser: argparse.ArgumentParser) -> None:
        _subject_arguments(parser)
        arguments(parser)
        parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found as JSON")
        parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it; .svg, .png or .pdf")

    def run(chosen: argparse.Namespace) -> int:
        check_files(chosen)
        asked, device = chosen.subject, chosen.device
        with _own_options(chosen), within_memory(asked, device), bars(f"loading {asked}") as doing:
            subject = (opened or open_asked)(chosen)
            if transcoder:
                _needs_transcoder(subject)
            doing(f"{name}: {subject.id}")
            answer = ask(subject, chosen)
        _write(chosen, name, subject, answer)
        print_answer(answer)
        return OK

    return Command(name, summary, epilog, all_arguments, run)


def _subject_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--subject", required=True, metavar="ID", help="a bundled organism, a preset's id or a folder")
    parser.add_argument("--transcoder", type=Path, metavar="PATH", help="use the transcoder in this folder")
    parser.add_argument("--preset", metavar="FILE", help="a TOML file of more subjects")
    parser.add_argument("--device", default="cpu", help="where the subject is loaded (default cpu)")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="state dtype (default float32)")


def source_of(chosen: argparse.Namespace) -> SubjectSource:
    """Where the subject asked for lies; raises UserError for one that is not known or has no weights."""
    known = known_subjects(chosen.preset, None, None, None, Path())
    models = {name: source for name, source in known.items() if source.tier in ("organism", "gpu")}
    (source,) = select_subjects(models, [chosen.subject], Path())
    return source


def open_asked(chosen: argparse.Namespace, **changes: Any) -> "Subject":
    """Load the subject asked for, with the transcoder asked for; ``changes`` are to its source."""
    source = replace(source_of(chosen), **changes)
    for package in watched(PACKAGES, "packages imported"):
        import_module(package)
    from prolepsis.transcoder import Transcoder

    if chosen.transcoder is None:
        return open_subject(source, chosen.device, chosen.dtype)
    subject = open_subject(replace(source, transcoder=None), chosen.device, chosen.dtype)
    return replace(subject, transcoder=Transcoder.open(chosen.transcoder, subject.n_layers, subject.d_model))


def _needs_transcoder(subject: "Subject") -> None:
    from prolepsis.subject import transcoder_of

    transcoder_of(subject)


@contextmanager
def _own_options(chosen: argparse.Namespace) -> Iterator[None]:
    """Messages name pytest's options; those of a command are called the same, without the prefix.

    What pytest alone does is said with its command: it downloads what it is asked for, a command nothing.
    """
    try:
        yield
    except (UserError, Untested) as error:
        words = ["--claims-preset", chosen.preset] if chosen.preset else []
        run = shlex.join(["python", "-m", "pytest", "claims", *words, "--claims-subject", chosen.subject])

        def own(found: re.Match[str]) -> str:
            return f"`{run}` downloads" if found["downloads"] else f"--{found['option']}"

        raise type(error)(OPTIONS.sub(own, str(error))) from None


def check_files(chosen: argparse.Namespace) -> None:
    """Raises UserError for a file that could not be written, before anything is measured."""
    for option in ("json", "plot"):
        path = getattr(chosen, option)
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"--{option} {path}: a folder; name the file to write in it")
        if not path.parent.is_dir():
            raise UserError(f"--{option} {path}: there is no folder {path.parent}; make it first")
        try:
            TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise UserError(f"--{option} {path}: cannot be written ({error.strerror}); choose another folder") from None
    if chosen.plot is not None and chosen.plot.suffix not in PLOTS:
        raise UserError(f"--plot {chosen.plot}: give a name that ends in {', '.join(PLOTS[:-1])} or {PLOTS[-1]}")


def _write(chosen: argparse.Namespace, name: str, subject: "Subject", answer: Answer) -> None:
    from prolepsis.report.storage import write_json

    if chosen.json is not None:
        about = {"command": name, "subject": subject.id, "digest": subject.digest, "dtype": chosen.dtype}
        write_json(chosen.json, {**about, **answer.plain})
    if chosen.plot is not None:
        draw(answer, chosen.plot)


def draw(answer: Answer, path: Path) -> None:
    """Draw an answer; the format is the suffix."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Tokens are drawn as they are: a dollar sign would begin a formula.
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        figure.suptitle(answer.title, x=0.01, ha="left", fontsize=10)
        answer.draw(figure)
        figure.savefig(path, format=path.suffix[1:])


def count_on(*axes: "Axis") -> None:
    """Let these axes have ticks at whole numbers alone: they count layers or other things."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True))


def print_answer(answer: Answer) -> None:
    """Print title, table and notes as wide as the terminal; a pipe gets whole rows.

    A table that is wider goes on below itself, each part with the first column, so that no cell is cut.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=columns(), highlight=False)
    console.print(Text(answer.title, style="bold"))
    cells = [[row[number] for row in answer.rows] for number in range(len(answer.columns))]
    for part in _parts(answer.columns, cells, console.width):
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, width in part.items():
            justify: Literal["left", "right"] = "right" if _is_numeric(cells[number]) else "left"
            table.add_column(answer.columns[number], justify=justify, width=width, overflow="fold")
        for row in answer.rows:
            table.add_row(*(Text(row[number]) for number in part))
        console.print(table)
    for note in answer.notes:
        console.print(Text(note))


def _parts(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[dict[int, int | None]]:
    """The columns of each part of a table, with their widths; None where a column has what its texts take.

    Heads are broken between words, and long cells where they must be; other cells stay on their line.
    """
    widest = [max(map(_width, [head, *column])) for head, column in zip(heads, cells, strict=True)]
    if sum(widest) + GAP * len(widest) <= width + 1:
        return [dict.fromkeys(range(len(heads)))]
    least = [min(FOLDED, max(map(_width, [*head.split(), *column]))) for head, column in zip(heads, cells, strict=True)]
    parts: list[dict[int, int | None]] = []
    left = 0
    for number in range(1, len(heads)):
        needed = min(least[number], width + 1 - 2 * GAP - least[0])
        if not parts or left < needed + GAP:
            parts.append({0: least[0]})
            left = width + 1 - GAP - least[0]
        # A long text takes what the others leave.
        parts[-1][number] = None if widest[number] > FOLDED and max(map(_width, cells[number])) > FOLDED else needed
        left -= needed + GAP
    return parts


def _width(text: str) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, text.splitlines()), default=0)


def _is_numeric(cells: Iterable[str]) -> bool:
    return all(not cell or cell[0] in "+-–0123456789" for cell in cells)


def token_text(subject: "Subject", token: int) -> str:
    """A token as it reads in a table: quoted, so that spaces and line breaks show."""
    return repr(subject.decode([token]))


def prompt_text(given: str) -> str:
    r"""A prompt as it was typed, with ``\n`` for a line break; raises UserError for an empty one."""
    if not given:
        raise UserError("a prompt is empty; give one of a token at least")
    return given.replace(r"\n", "\n")


def position_of(given: int | None, n_tokens: int) -> int:
    """The position asked for, the last one where none was; raises UserError for one that is not in the prompt."""
    if given is None:
        return n_tokens - 1
    if not 0 <= given < n_tokens:
        raise UserError(f"position {given} is out of range; the prompt has tokens 0 to {n_tokens - 1}")
    return given
