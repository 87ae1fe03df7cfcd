"""The files of a transcoder: safetensors read by name and slice, and their headers checked."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prolepsis.errors import Untested, UserError

Shapes = dict[str, list[int]]

_DTYPES = ("F16", "BF16", "F32")


class Files(ABC):
    """The files of a transcoder by their names, wherever they lie; ``folder`` is where those on this machine do.

    ``revision`` is the commit of the repository they are from, None where they are from none.
    """

    folder: Path
    revision: str | None = None

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether all there is of the transcoder is here, so that what is not here is missing."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all files, sorted, those in folders with slashes."""

    @abstractmethod
    def at(self, name: str) -> str:
        """A file as messages name it."""

    @abstractmethod
    def path(self, name: str) -> Path:
        """The file on this machine; raises Untested when it has to be fetched first."""

    @abstractmethod
    def header(self, name: str) -> Shapes | None:
        """Shape of every tensor in a safetensors file; None when it cannot be known without fetching the file."""

    @abstractmethod
    def read(self, name: str, tensor: str, dtype: torch.dtype, index: Any = slice(None)) -> Tensor:
        """A slice of a tensor, which only that part of the file is read for; raises Untested as :meth:`path` does."""

    def rows(self, name: str, tensor: str, dtype: torch.dtype, indices: Sequence[int]) -> Tensor:
        """Rows of a tensor along its first axis, [n, …]; raises as :meth:`read` does."""
        return torch.stack([self.read(name, tensor, dtype, index) for index in indices])


@dataclass(frozen=True)
class Folder(Files):
    """A plain folder, which holds the whole transcoder."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)

    @property
    def whole(self) -> bool:
        return True

    def names(self) -> list[str]:
        # As deep as layouts go, and no deeper: it may be any folder.
        found = {path for pattern in ("*", "*/*", "*/*/*", "layer_*/**/*") for path in self.folder.glob(pattern)}
        return sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file())

    def at(self, name: str) -> str:
        return str(self.folder / name)

    def path(self, name: str) -> Path:
        return self.folder / name

    def header(self, name: str) -> Shapes:
        return header(self.folder / name)

    def read(self, name: str, tensor: str, dtype: torch.dtype, index: Any = slice(None)) -> Tensor:
        return read(self.folder / name, tensor, dtype, index)

    def rows(self, name: str, tensor: str, dtype: torch.dtype, indices: Sequence[int]) -> Tensor:
        return read_rows(self.folder / name, tensor, dtype, indices)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open; raises UserError when it is missing, truncated or no safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; download it") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: truncated or no safetensors file ({error}); download it again") from None


def read(path: Path, name: str, dtype: torch.dtype, index: Any = slice(None)) -> Tensor:
    """A slice of the tensor ``name``, which only that part of the file is read for."""
    with opened(path) as file:
        # The copy keeps what is returned apart from the mapped file, which may be written anew.
        return finite(path, name, file.get_slice(name)[index].to(dtype, copy=True))


def read_rows(path: Path, name: str, dtype: torch.dtype, indices: Sequence[int]) -> Tensor:
    """Rows of the tensor ``name`` along its first axis, [n, …]; the file is opened once for all of them."""
    with opened(path) as file:
        part = file.get_slice(name)
        return finite(path, name, torch.stack([part[index] for index in indices]).to(dtype))


def finite(path: Path | str, name: str, tensor: Tensor) -> Tensor:
    """The tensor; raises UserError when it holds NaN or infinities."""
    if not bool(torch.isfinite(tensor).all()):
        raise UserError(f"{path}: {name} holds NaN or infinite values; download it again")
    return tensor


def header(path: Path) -> Shapes:
    """Shape of every tensor in a file; raises UserError for a stored type that is not read."""
    with opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        for name, part in slices.items():
            if part.get_dtype() not in _DTYPES:
                raise UserError(f"{path}: {name} is stored as {part.get_dtype()}; supported: {', '.join(_DTYPES)}")
        return {name: part.get_shape() for name, part in slices.items()}


def known_headers(files: Files, names: Iterable[str]) -> dict[str, Shapes]:
    """Name → header, of those whose header is known; raises Untested when none is."""
    headers = {name: files.header(name) for name in names}
    known = {name: shapes for name, shapes in headers.items() if shapes is not None}
    if not known:
        raise Untested(f"{files}: none of its files is here; fetch one")
    return known


def check_shapes(path: str, found: Shapes, wanted: Shapes) -> None:
    """Raises UserError for a tensor that is unknown, missing or misshapen."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise UserError(f"{path}: unknown tensor {name}; this layout has {', '.join(wanted)}")
        if name not in found:
            raise UserError(f"{path}: tensor {name} is missing; download it again")
        if found[name] != wanted[name]:
            raise UserError(f"{path}: {name} has shape {found[name]}, expected {wanted[name]}")


def named_layers(files: Files, pattern: str) -> dict[int, list[str]]:
    """Layer → the names of all files that ``pattern``, whose first group is a layer, stands for."""
    found: dict[int, list[str]] = {}
    for name in files.names():
        if match := re.fullmatch(pattern, name):
            found.setdefault(int(match[1]), []).append(name)
    return found


def one_of_each(files: Files, by_layer: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
    """The file of each layer from 0 on; raises UserError for a layer that is missing, or there more than once."""
    check_layers(files, by_layer)
    for layer, found in by_layer.items():
        if len(found) > 1:
            raise UserError(
                f"{files}: layer {layer} is there {len(found)} times ({', '.join(found)}); keep one of each layer"
            )
    return tuple(by_layer[layer][0] for layer in range(len(by_layer)))


def check_layers(files: Files, layers: Collection[int]) -> None:
    """Raises UserError naming the layers missing between 0 and the last one that is there."""
    missing = sorted(set(range(max(layers) + 1)) - set(layers))
    if missing:
        raise UserError(f"{files}: no file of layer {', '.join(map(str, missing))}; download all layers")


def check_strangers(files: Files, layers: Collection[str]) -> None:
    """Raises UserError for safetensors files beside those of the layers of a per-layer layout."""
    stored = {name for name in files.names() if re.fullmatch(r"[^/]*\.safetensors", name)}
    if strangers := sorted(stored - set(layers)):
        raise UserError(f"{files}: {', '.join(strangers)} do not belong to a per-layer transcoder; remove them")


def configuration(files: Files, fixed: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """config.yaml, which has to name a model and say what ``fixed`` says; raises UserError naming the file."""
    path = files.path("config.yaml")
    try:
        config = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; a transcoder folder needs it, download it") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML ({type(error).__name__}); download it again") from None
    if not isinstance(config, dict) or not isinstance(config.get("model_name"), str):
        raise UserError(f"{path}: names no model_name; download it again")
    for key, wanted in fixed.items():
        if config.get(key) != wanted:
            raise UserError(f"{path}: {key} is {config.get(key)!r}; only {wanted!r} is supported")
    return config
