"""Safetensors files larger than memory, written piece by piece."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch

from prolepsis.watching import watched

Tensor = torch.Tensor
Fill = Callable[[int, int], Tensor]
"""Gives rows ``start`` to ``stop`` of a tensor, [stop - start, …]."""

PIECE = 1 << 24
"""Values drawn at a time."""
_STORED = torch.bfloat16
_BYTES = 2


@dataclass(frozen=True)
class Stored:
    """A bfloat16 tensor to be stored: its shape, and its rows as they are asked for.

    Of the second axis only the ``last`` entries are written where a number is given, and ``fill`` gives no others: the
    rest of the file is a hole, which reads as zeros.
    """

    shape: tuple[int, ...]
    fill: Fill
    last: int | None = None


def write_tensors(path: Path, tensors: Mapping[str, Stored]) -> None:
    """Write a safetensors file that holds ``tensors``; no more than a piece of one is ever in memory."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + prod(tensor.shape) * _BYTES
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in watched(list(tensors.values()), "weights written"):
            _write(file, tensor)
        file.truncate(8 + len(text) + end)


def overwrite_row(path: Path, name: str, index: int, row: Tensor) -> None:
    """Put ``row`` in the place of row ``index`` of a tensor that is stored already."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[name]
        file.seek(8 + length + entry["data_offsets"][0] + index * prod(entry["shape"][1:]) * _BYTES)
        file.write(_bytes(row))


def _write(file: BinaryIO, tensor: Stored) -> None:
    n_rows, per_row = tensor.shape[0], prod(tensor.shape[1:])
    step = max(1, PIECE // per_row)
    for start in range(0, n_rows, step):
        values = tensor.fill(start, min(start + step, n_rows))
        if tensor.last is None:
            file.write(_bytes(values))
            continue
        skipped = (per_row - prod(values.shape[1:])) * _BYTES
        for row in values.cpu():
            file.seek(skipped, 1)
            file.write(_bytes(row))


def _bytes(values: Tensor) -> bytes:
    data: bytes = values.to(_STORED).contiguous().cpu().view(torch.uint8).numpy().tobytes()
    return data
