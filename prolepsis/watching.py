"""Loops that may take long say how far they are to whoever watches; nobody does unless :func:`shown_by` is entered."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

Item = TypeVar("Item")
Show = Callable[[Sequence[Any], str], Iterable[Any]]
"""Goes through items, called by what they are ("layers"), and shows how many are done."""

_show: ContextVar[Show | None] = ContextVar("show", default=None)


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Let ``show`` go through what :func:`watched` is given."""
    before = _show.set(show)
    try:
        yield
    finally:
        _show.reset(before)


def watched(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through ``items``; the outermost loop is shown, what is run inside it is not."""
    show = _show.get()
    if show is None or len(items) < 2:
        yield from items
        return
    _show.set(None)
    try:
        yield from show(items, what)
    finally:
        _show.set(show)


class Pace:
    """How many of how many things are done, and how long the others take if they take as long as these; in seconds."""

    def __init__(self, total: int) -> None:
        self.done, self.total = 0, total
        self._began = time.monotonic()

    @property
    def left(self) -> float | None:
        """Seconds that are left; None before the first is done."""
        return (time.monotonic() - self._began) / self.done * (self.total - self.done) if self.done else None

    def __str__(self) -> str:
        left = self.left
        return f"{self.done}/{self.total}" + ("" if left is None else f", {timedelta(seconds=round(left))} left")
