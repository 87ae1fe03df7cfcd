"""How far a run is that is spread over workers: lines beneath pytest's own, where a person is watching."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from shutil import get_terminal_size
from threading import RLock
from typing import Any

import pytest

from prolepsis.report.progress import NOTHING, line
from prolepsis.report.state import DOING_INPUT
from prolepsis.watching import Pace

ERASE_BELOW = "\x1b[J"


class Spread:
    """Registered in the process that hands out the tests: counts what is finished, and shows what workers say."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._pace: Pace | None = None
        self._doing: dict[str, tuple[str, str]] = {}
        self._drawn = False
        # What workers say arrives in threads of its own, and must not be written into what pytest writes.
        self._writing = RLock()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let a worker say what it is doing, where there is somebody to see it."""
        if self._terminal() is not None:
            channel = node.gateway.newchannel()
            channel.setcallback(partial(self._told, node.gateway.id))
            node.workerinput[DOING_INPUT] = channel

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._told(node.gateway.id, NOTHING)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Begin with the first worker that knows what there is to do."""
        self._pace = self._pace or Pace(len(ids))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None]:
        """Make room for what pytest says of a test that begins."""
        with self._aside():
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None]:
        """Make room for what pytest says of a test that is over."""
        with self._aside():
            yield

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logfinish(self) -> Generator[None]:
        """Count one more."""
        with self._aside():
            yield
            if self._pace is not None:
                self._pace.done += 1

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Leave nothing behind, also when the run is interrupted, before pytest says that all is done."""
        try:
            return (yield)
        finally:
            with self._writing:
                self._erase()
                self._pace = None

    def _told(self, worker: str, doing: tuple[str, str]) -> None:
        """Show what a worker does now and how far its loop is."""
        with self._aside():
            if doing == NOTHING:
                self._doing.pop(worker, None)
            else:
                self._doing[worker] = doing

    @contextmanager
    def _aside(self) -> Generator[None]:
        """While active, nothing stands where pytest writes."""
        with self._writing:
            self._erase()
            yield
            self._draw()

    def _draw(self) -> None:
        writer = self._terminal()
        if self._pace is None or writer is None:
            return
        width = writer.fullwidth - 1
        doing = [line(f"{worker}: {text}", loop, "", width) for worker, (text, loop) in sorted(self._doing.items())]
        beneath = [f"claims {self._pace}"[:width], *doing[: get_terminal_size().lines // 2]]
        # Up again to where pytest goes on writing; it scrolls by itself where this is the last line.
        column = max(0, writer.width_of_current_line)
        back = f"\x1b[{len(beneath)}A\r" + (f"\x1b[{column}C" if column else "")
        self._write("\r\n" + ERASE_BELOW + "\r\n".join(beneath) + back)
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
