"""A watcher that writes down what it is shown."""

from collections.abc import Iterator, Sequence
from typing import Any


class Seen:
    """Writes down what it is shown, and how far each loop came."""

    def __init__(self) -> None:
        self.loops: list[tuple[str, int]] = []

    def __call__(self, items: Sequence[Any], what: str) -> Iterator[Any]:
        self.loops.append((what, 0))
        for done, item in enumerate(items, 1):
            yield item
            self.loops[-1] = (what, done)
