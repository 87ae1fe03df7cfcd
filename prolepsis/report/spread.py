"""How far a run is that is spread over workers: a line beneath pytest's own, where a person is watching."""

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from prolepsis.watching import Pace

ERASE_BELOW = "\x1b[J"


class Spread:
    """Registered in the process that hands out the tests; it sees what is finished, not how far workers are in it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pace: Pace | None = None
        self._drawn = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Begin with the first worker that knows what there is to do."""
        self._pace = self._pace or Pace(len(ids))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None]:
        """Make room for what pytest says of a test that begins."""
        self._erase()
        yield
        self._draw()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None]:
        """Make room for what pytest says of a test that is over."""
        self._erase()
        yield
        self._draw()

    def pytest_runtest_logfinish(self) -> None:
        """Count one more."""
        if self._pace is not None:
            self._pace.done += 1
            self._draw()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Leave nothing behind, also when the run is interrupted, before pytest says that all is done."""
        try:
            return (yield)
        finally:
            self._erase()
            self._pace = None

    def _draw(self) -> None:
        writer = self._terminal()
        if self._pace is None or writer is None:
            return
        # Up again to where pytest goes on writing; it scrolls by itself where this is the last line.
        column = max(0, writer.width_of_current_line)
        back = "\x1b[A\r" + (f"\x1b[{column}C" if column else "")
        self._write(f"\r\n{ERASE_BELOW}{f'claims {self._pace}'[: writer.fullwidth - 1]}{back}")
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._write(ERASE_BELOW)
            self._drawn = False

    def _write(self, text: str) -> None:
        """Write past what pytest counts as its line."""
        writer = self._terminal()
        assert writer is not None
        writer._file.write(text)
        writer.flush()

    def _terminal(self) -> Any:
        """What pytest writes on; None where that is no terminal that can erase."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        return reporter._tw if reporter is not None and reporter.isatty and reporter.hasmarkup else None
