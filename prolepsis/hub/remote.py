"""Files that are needed of repositories, and how large they are (imports no torch)."""

from collections.abc import Iterable
from dataclasses import dataclass

MAIN = "main"
"""The branch that is read where no revision is pinned."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that is needed, and whether it is here; ``size`` in bytes, None where the hub was never asked.

    A ``name`` such as ``W_dec_22.safetensors row 10243`` is a single row, which alone is read of its file. Of one such
    as ``W_dec_0.safetensors last rows`` all is transferred, but no more than ``kept`` bytes stay on the disk.
    """

    repo: str
    revision: str
    name: str
    size: int | None
    present: bool
    kept: int | None = None


def total(files: Iterable[RemoteFile], *, kept: bool = False) -> int:
    """The bytes of ``files`` whose size is known: those that are transferred, or those that are kept."""
    return sum((file.size if file.kept is None or not kept else file.kept) or 0 for file in files)


def in_words(size: int) -> str:
    """A number of bytes in the largest binary unit that leaves one before the point."""
    value, units = float(size), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    for larger in units:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
