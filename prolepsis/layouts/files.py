"""Safetensors files read by name and slice, and their headers checked."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prolepsis.errors import UserError

Shapes = dict[str, list[int]]

_DTYPES = ("F16", "BF16", "F32")


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


def finite(path: Path, name: str, tensor: Tensor) -> Tensor:
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


def check_shapes(path: Path, found: Shapes, wanted: Shapes) -> None:
    """Raises UserError for a tensor that is unknown, missing or misshapen."""
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            raise UserError(f"{path}: unknown tensor {name}; this layout has {', '.join(wanted)}")
        if name not in found:
            raise UserError(f"{path}: tensor {name} is missing; download it again")
        if found[name] != wanted[name]:
            raise UserError(f"{path}: {name} has shape {found[name]}, expected {wanted[name]}")


def check_layers(folder: Path, layers: Collection[int]) -> None:
    """Raises UserError naming the layers missing between 0 and the last one that is there."""
    missing = sorted(set(range(max(layers) + 1)) - set(layers))
    if missing:
        raise UserError(f"{folder}: no file of layer {', '.join(map(str, missing))}; download all layers")


def configuration(folder: Path, fixed: Mapping[str, str]) -> dict[str, Any]:
    """config.yaml, which has to name a model and say what ``fixed`` says; raises UserError naming the file."""
    path = folder / "config.yaml"
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
