"""A transcoder of a repository, as far as it is here: whole files from the cache, rows of others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prolepsis.errors import Untested
from prolepsis.hub import ranges
from prolepsis.hub.last_rows import kept_last
from prolepsis.hub.remote import in_words
from prolepsis.hub.repository import Repository
from prolepsis.layouts.files import Files, Shapes, header, read, read_rows


class HubFiles(Files):
    """The files of ``repository``; what is not here is read from the hub if ``online`` and it is small.

    Headers and single rows are; they are kept, so that the next time no network is needed. ``lacking`` says why other
    files could not be fetched, where that was tried.
    """

    whole = False

    def __init__(self, repository: Repository, *, online: bool, lacking: str | None = None) -> None:
        self.repository = repository
        self.folder = repository.snapshot
        self.revision = repository.commit
        self._ranges = online
        self._lacking = lacking

    def __str__(self) -> str:
        return str(self.repository)

    def names(self) -> list[str]:
        return sorted(self.repository.entries)

    def at(self, name: str) -> str:
        return f"{self.repository}/{name}"

    def path(self, name: str) -> Path:
        if not self.repository.linked(name):
            raise self._not_here(name)
        return self.folder / name

    def header(self, name: str) -> Shapes | None:
        if self.repository.linked(name):
            return header(self.folder / name)
        about = ranges.kept_header(self.repository, name)
        if about is None and self._ranges and name in self.repository.entries:
            about = self._asked(name)
        return None if about is None else {tensor: list(each["shape"]) for tensor, each in about.tensors.items()}

    def read(self, name: str, tensor: str, dtype: torch.dtype, index: Any = slice(None)) -> Tensor:
        if self.repository.linked(name):
            return read(self.folder / name, tensor, dtype, index)
        if isinstance(index, int):
            self._fetch_rows(name, tensor, [index])
            path = ranges.kept_row(self.repository, name, tensor, index)
            index = slice(None)
        else:
            path = self._last(name, tensor, index)
            index = index[0] if isinstance(index, tuple) else index
        if path is None:
            raise self._not_here(name)
        return read(path, tensor, dtype, index)

    def rows(self, name: str, tensor: str, dtype: torch.dtype, indices: Sequence[int]) -> Tensor:
        if self.repository.linked(name):
            return read_rows(self.folder / name, tensor, dtype, indices)
        self._fetch_rows(name, tensor, indices)
        return super().rows(name, tensor, dtype, indices)

    def _fetch_rows(self, name: str, tensor: str, indices: Sequence[int]) -> None:
        """Read the rows that are not kept from the hub, if it may be asked and knows ranges."""
        if self._ranges:
            try:
                ranges.fetch_rows(self.repository, name, tensor, indices)
            except ranges.NoRangesError:
                self._ranges = False

    def _last(self, name: str, tensor: str, index: Any) -> Path | None:
        """The rows of the last target layer, where they are asked for and kept."""
        about = ranges.kept_header(self.repository, name)
        if about is None or not isinstance(index, tuple) or index[1] != about.tensors[tensor]["shape"][1] - 1:
            return None
        return kept_last(self.repository, name)

    def _asked(self, name: str) -> ranges.Header | None:
        try:
            return ranges.header(self.repository, name)
        except ranges.NoRangesError:
            self._ranges = False
            return None

    def _not_here(self, name: str) -> Untested:
        about = self.repository
        size = about.entries[name].size if name in about.entries else None
        how = self._lacking or f"get it with `hf download {about.id} {name} --revision {about.commit}`"
        return Untested(
            f"not on this machine: {name}{'' if size is None else f' ({in_words(size)})'} of {about}; {how}"
        )
