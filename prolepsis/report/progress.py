"""What a long measurement is doing: one line on a terminal, and lines that stay."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from prolepsis.report.state import DOING_INPUT
from prolepsis.report.table import fit
from prolepsis.watching import Pace

PAUSE = 0.1
"""Seconds between two states of loops that are shown."""
LEAST_TEXT = 12
"""Columns of a text that is still worth its room."""
NOTHING = "", ""
"""What a worker says it is doing between two claims."""


class Progress:
    """Called with a text, shows it on one line that the next text overwrites; silent unless a person is watching.

    ``claims`` of them are to be verified; behind the text the line says how far that is, and a loop that is watched.
    """

    def __init__(self, config: pytest.Config, claims: int) -> None:
        self.claims = Pace(claims)
        self._text, self._loop, self._drawn = "", "", 0.0
        reporter = config.pluginmanager.getplugin("terminalreporter")
        worker = getattr(config, "workerinput", None)
        # Only pytest's own reporter knows the true terminal: standard output is captured while a test runs.
        # A worker's reporter writes to nobody; who hands out the tests shows what workers do.
        self._reporter = None if worker is not None else reporter
        self._terminal = reporter if reporter is not None and reporter.isatty else None
        self._told: Callable[[tuple[str, str]], None] | None = None
        if worker is not None and DOING_INPUT in worker:
            self._told = worker[DOING_INPUT].send
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._shown = False

    def __call__(self, text: str) -> None:
        self._text = text
        self._draw()

    def watch(self, items: Sequence[Any], what: str) -> Iterator[Any]:
        """Go through ``items`` and show how many are done, and how long the others will take."""
        pace = Pace(len(items))
        try:
            for item in items:
                if time.monotonic() - self._drawn >= PAUSE:
                    self._loop = f"{what} {pace}"
                    self._draw()
                yield item
                pace.done += 1
        finally:
            self._loop = ""

    def _draw(self) -> None:
        if self._told is not None:
            self._told((self._text, self._loop))
            self._drawn = time.monotonic()
        if self._terminal is None:
            return
        with self.uncaptured():
            if not self._shown:
                self._terminal.ensure_newline()
                self._shown = True
            width = self._terminal._tw.fullwidth - 1
            self._terminal.rewrite(line(self._text, self._loop, f"claims {self.claims}", width), erase=True)
            self._terminal.flush()
        self._drawn = time.monotonic()

    def clear(self) -> None:
        """Take the line away again."""
        if self._told is not None:
            self._told(NOTHING)
        if self._terminal is not None and self._shown:
            with self.uncaptured():
                self._terminal.rewrite("", erase=True)
                self._terminal.rewrite("")
            self._shown = False

    def say(self, text: str) -> None:
        """Leave a line standing, on a terminal or not; a worker, whose output is not its own, uses standard error."""
        self.clear()
        with self.uncaptured():
            if self._reporter is None:
                print(text, file=sys.stderr, flush=True)
                return
            self._reporter.ensure_newline()
            self._reporter.write_line(text)
            self._reporter.flush()

    @contextmanager
    def uncaptured(self) -> Iterator[None]:
        """While active, what a library shows of its progress is seen."""
        with self._capture.global_and_fixture_disabled():
            yield


def line(text: str, loop: str, claims: str, width: int) -> str:
    """What is done, how far its loop is and how far the run, in at most ``width`` columns.

    Where there is no room for all of it the run's part is left out first, then the middle of the text, then all of it.
    """
    numbers = " | ".join(part for part in (loop, claims) if part)
    if loop and len(numbers) > width - LEAST_TEXT:
        numbers = loop
    behind = f" | {numbers}" if numbers else ""
    room = width - len(behind)
    return f"{text if len(text) <= room else fit(text, room)}{behind}" if room > LEAST_TEXT else numbers[:width]
