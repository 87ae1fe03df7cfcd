"""The ways a run can stop short of a verdict; everything else that is raised is a bug of ours."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line naming it and the cure (exit code 4)."""


class Untested(Exception):
    """Weights, licence, hardware or data are missing; the message says what to get and how large it is."""


class NoMemory(Untested):
    """A device's memory is full: another time, or elsewhere, it may be measured."""


class HarnessFault(Exception):
    """The instrument itself failed (a sham arm moved, a value is not a number); never turned into a verdict."""


def let_go(error: BaseException) -> None:
    """Drop the tracebacks of ``error`` and of what it came from.

    Their frames hold on to all that ran there, models and tensors among it, for as long as the error is kept.
    """
    errors: list[BaseException | None] = [error]
    for one in errors:
        if one is not None:
            one.__traceback__ = None
            errors += [origin for origin in (one.__cause__, one.__context__) if origin not in errors]


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where a disk, a quota or the size allowed of a file is used up."""


def no_room(error: BaseException) -> str | None:
    """What to say of an error that says there is no room to write, None for any other."""
    if not isinstance(error, OSError) or error.errno not in NO_ROOM:
        return None
    return f"no room to write ({error.strerror}); free some, or write elsewhere"


@contextmanager
def unless_full(say: Callable[[str], object]) -> Iterator[None]:
    """A block that is left where there is no room to write; ``say`` is then called with what to say of it."""
    try:
        yield
    except OSError as error:
        if (full := no_room(error)) is None:
            raise
        say(full)


FULL = (
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "STATUS_ALLOC_FAILED",
    # torch asks NVML what to say of memory that is full, and stumbles where a container has none.
    "NVML_SUCCESS ==",
    # A library that finds no room for its workspace says no more than this.
    "CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",
)
"""What CUDA and its libraries say of a device whose memory is full."""


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that a device's memory is full, in torch's words or in those of CUDA and its libraries."""
    from torch import OutOfMemoryError

    return isinstance(error, OutOfMemoryError) or any(words in str(error) for words in FULL)


class UntilFull:
    """A block that is left where a device's memory is full; behind it no error holds what ran inside."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        return isinstance(error, RuntimeError) and is_out_of_memory(error)


@contextmanager
def within_memory(subject: str, device: object) -> Iterator[None]:
    """Raises NoMemory where the device's memory is full."""
    with UntilFull():
        yield
        return
    raise NoMemory(
        f"{subject}: {device} has no memory for it; free some, or use --claims-dtype bfloat16 or --claims-device cpu; "
        "`prolepsis doctor` says what it takes"
    )
