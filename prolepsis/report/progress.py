"""What a long measurement is doing: one line on a terminal, and lines that stay."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Progress:
    """Called with a text, shows it on one line that the next text overwrites; silent unless a person is watching."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        # Only pytest's own reporter knows the true terminal: standard output is captured while a test runs.
        # A worker's reporter writes to nobody.
        self._reporter = None if hasattr(config, "workerinput") else reporter
        self._terminal = reporter if reporter is not None and reporter.isatty else None
        self._capture = config.pluginmanager.getplugin("capturemanager")
        self._shown = False

    def __call__(self, text: str) -> None:
        if self._terminal is None:
            return
        with self.uncaptured():
            if not self._shown:
                self._terminal.ensure_newline()
                self._shown = True
            width = self._terminal._tw.fullwidth - 1
            self._terminal.rewrite(text[:width], erase=True)
            self._terminal.flush()

    def clear(self) -> None:
        """Take the line away again."""
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
