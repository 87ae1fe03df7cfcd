"""How many rows a subject's device takes at once: what its free memory allows, and half of that after running out."""

from collections.abc import Callable
from typing import TypeVar

import torch

from prolepsis.errors import NoMemory, UntilFull
from prolepsis.notes import note
from prolepsis.subject import Subject
from prolepsis.watching import watched

Part = TypeVar("Part")

# Rows are run in chunks of about this many tokens: larger ones leave the caches of a CPU, smaller ones starve a GPU.
TOKENS_PER_BATCH = {"cpu": 512, "cuda": 16384}
MOST_BYTES = {"cpu": 1 << 30, "cuda": 3 << 30}
"""What a batch may take beside the weights, however much is free: more makes nothing faster."""
OF_FREE = 0.5
"""The part of a GPU's free memory that is planned with; results and fragments of earlier batches need the rest."""


class AtOnce:
    """How many ``bytes`` a subject's device takes at once; fewer after running out of memory."""

    def __init__(self, subject: Subject) -> None:
        self.bytes = _planned(subject)


def row_bytes(subject: Subject, n_tokens: int, *, n_logits: int = 1, n_streams: int = 0, cached: bool = False) -> int:
    """Bytes a row of ``n_tokens`` takes while it is run.

    With its rows of logits, ``n_streams`` residual streams that are kept, and if ``cached`` its keys and values.
    """
    size, width = subject.size, int(subject.dtype.itemsize)
    kept = n_streams * size.d_model * width + cached * size.cache_bytes(width)
    return size.row_bytes(n_tokens, n_logits, width) + n_tokens * kept


def rows_at_once(subject: Subject, n_rows: int, each: int) -> int:
    """How many of ``n_rows`` that take ``each`` bytes are run at once; at least one."""
    return max(1, min(n_rows, subject.once(AtOnce).bytes // each))


def in_batches(
    subject: Subject, n_rows: int, each: int, run: Callable[[range], Part], most: int | None = None
) -> list[Part]:
    """``run`` on ``n_rows`` rows batch by batch, as :func:`halving` has them."""
    return halving(subject, n_rows, each, lambda batches: [run(rows) for rows in watched(batches, "batches")], most)


def halving(
    subject: Subject, n_rows: int, each: int, run: Callable[[list[range]], Part], most: int | None = None
) -> Part:
    """``run`` on batches of ``n_rows`` rows, so many at once as fit at ``each`` bytes, ``most`` of them if given.

    Out of memory it begins again with half as many, says so once and remembers it, so that runs that are compared are
    run alike. Raises NoMemory where not even one row fits; what is run after that is planned anew.
    """
    while True:
        size = rows_at_once(subject, n_rows if most is None else min(n_rows, most), each)
        with UntilFull():
            return run([range(first, min(first + size, n_rows)) for first in range(0, n_rows, size)])
        torch.cuda.empty_cache()
        if size == 1:
            del subject.known[AtOnce]
            raise NoMemory(
                f"{subject.id}: {subject.device} has no memory for a single row; free some, or use "
                "--claims-dtype bfloat16 or --claims-device cpu"
            )
        subject.once(AtOnce).bytes = each * (size // 2)
        note(f"{subject.id}: out of memory with {size} rows at once, going on with {size // 2}")


def _planned(subject: Subject) -> int:
    """Bytes a batch may take at first."""
    most = MOST_BYTES[subject.device.type]
    if subject.device.type != "cuda":
        return most
    free = torch.cuda.mem_get_info(subject.device)[0]
    unused = torch.cuda.memory_reserved(subject.device) - torch.cuda.memory_allocated(subject.device)
    planned = min(most, int(OF_FREE * (free + unused)))
    if planned < most:
        gib = f"{planned / 2**30:.1f} of {(free + unused) / 2**30:.1f} GiB"
        note(f"{subject.id}: batches take up to {gib} that are free on {subject.device}")
    return planned
