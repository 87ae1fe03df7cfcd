"""How many operations a device is told to start, each of which takes a while however little it computes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Has every operation pass by here."""

    def __init__(self, start: Callable[[], object]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.start = start

    def __torch_dispatch__(self, function: Any, _: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if not function.is_view:
            self.start()
        return function(*args, **(kwargs or {}))


@contextmanager
def each_start(call: Callable[[], object]) -> Iterator[None]:
    """Call ``call`` for every operation that is started inside, by this thread; views start nothing."""
    with _Mode(call):
        yield
