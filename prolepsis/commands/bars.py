"""How far a command is: one line on standard error where a person watches it, with the time left."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any

from prolepsis.watching import shown_by

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 0.5
"""Seconds before the line comes: what is done by then has none."""
NARROWEST, NUMBERS = 8, 26
"""Columns that are left to the words at least, and that the bar with its numbers has."""


@contextmanager
def bars(doing: str) -> Iterator[Callable[[str], None]]:
    """While active, a person who watches standard error sees how far the loops are that are ``watched``.

    Between them the line says what is being ``doing``; what is given changes that. Nothing is to be printed meanwhile.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    progress = _progress()
    between = progress.add_task(doing, total=None)

    def show(items: Sequence[Any], what: str) -> Iterator[Any]:
        progress.update(between, visible=False)
        loop = progress.add_task(what, total=len(items))
        # A first measurement of the time, so that what is left is known once one item is done.
        progress.advance(loop, 0)
        try:
            for item in items:
                yield item
                progress.advance(loop)
        finally:
            progress.remove_task(loop)
            progress.update(between, visible=True)

    timer = Timer(PATIENCE, progress.start)
    timer.start()
    try:
        with shown_by(show):
            yield lambda now: progress.update(between, description=now)
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


def _progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class Count(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text() if task.total is None else super().render(task)

    console = Console(stderr=True)
    # On a narrow terminal words are cut, and numbers are not.
    room = max(NARROWEST, console.width - NUMBERS)
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=room)),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),
        Count(),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        transient=True,
        # Steps may take minutes each, and the command's own output is none of this line's.
        speed_estimate_period=float("inf"),
        redirect_stdout=False,
    )
