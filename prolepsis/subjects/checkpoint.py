"""The weights of a model, got back without ever holding a second model: read again from the folder they came from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from prolepsis.watching import watched

BLOCK_BYTES = 1 << 26
"""What of a weight is on its way from the file to the device at a time, in float32 in the host's memory."""
INDEX = "model.safetensors.index.json"
"""Which file holds which weight, where there are several."""


class Checkpoint:
    """What ``parameters`` are now, to be had again however they are changed.

    A weight that the safetensors in ``folder`` give back bit for bit is read from there, a block of rows at a time from
    files that are mapped into memory, also where it has another name there. Any other waits in the host's memory: those
    that are ``copied``.
    """

    def __init__(self, folder: Path | None, parameters: Mapping[str, torch.Tensor]) -> None:
        self._parameters = {name: parameter.detach() for name, parameter in parameters.items()}
        self._stored = {} if folder is None else _stored(_files(folder), self._parameters)
        self._copies = {
            name: parameter.to("cpu", copy=True)
            for name, parameter in watched(list(self._parameters.items()), "weights compared")
            if not self._is_stored(name)
        }

    @property
    def copied(self) -> tuple[str, ...]:
        return tuple(self._copies)

    @torch.no_grad()
    def restore(self) -> None:
        """Give every parameter the value it had."""
        for name, parameter in watched(list(self._parameters.items()), "weights restored"):
            if name in self._copies:
                parameter.copy_(self._copies[name])
                continue
            for rows, read in self._blocks(name):
                rows.copy_(read)

    def _is_stored(self, name: str) -> bool:
        if name not in self._stored:
            return False
        return all(torch.equal(_bits(rows.cpu()), _bits(read)) for rows, read in self._blocks(name))

    def _blocks(self, name: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Some rows of a parameter, and what the file says they are, by way of float32 as when it was loaded.

        The latter are made in the host's memory: a device that has been measured on may have none to spare.
        """
        parameter, stored = self._parameters[name], self._stored[name]
        step = max(1, BLOCK_BYTES // (4 * parameter[:1].numel()))
        for start in range(0, len(parameter), step):
            read: torch.Tensor = stored[start : start + step]
            yield parameter[start : start + step], read.float().to(parameter.dtype)


def weight_files(folder: Path) -> list[str]:
    """The names of the safetensors files of a model folder, by its index if it has one; raises what reading it does."""
    index = folder / INDEX
    if not index.exists():
        return ["model.safetensors"]
    return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))


def _files(folder: Path) -> dict[str, Any]:
    """Weight → the open safetensors file of a model folder that holds it; empty where there are none to be read."""
    try:
        files: list[Any] = [safe_open(folder / name, framework="pt") for name in weight_files(folder)]
        return {name: file for file in files for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, ValueError, KeyError, SafetensorError):
        return {}


def _stored(files: Mapping[str, Any], parameters: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Parameter → what may be stored of it: under its name, else under the one of equal shape that ends most alike.

    Files of an older layout say ``language_model.model.layers…`` for ``model.language_model.layers…``, or ``embed_out``
    for ``lm_head``.
    """
    slices = {name: file.get_slice(name) for name, file in files.items()}
    shapes = {name: part.get_shape() for name, part in slices.items()}
    others = [name for name in files if name not in parameters]
    found = {}
    for name, parameter in parameters.items():
        shape = list(parameter.shape)
        named = [name] if name in slices else _most_alike(name, [other for other in others if shapes[other] == shape])
        if len(named) == 1 and shapes[named[0]] == shape:
            found[name] = slices[named[0]]
    return found


def _most_alike(name: str, others: Sequence[str]) -> list[str]:
    """Those of ``others`` that share the most parts with ``name``, from the end on; at least one."""
    alike = {other: _shared(name.split("."), other.split(".")) for other in others}
    most = max(alike.values(), default=0)
    return [other for other, shared in alike.items() if shared == most > 0]


def _shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many parts two names share, from the end on."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first[::-1], second[::-1], strict=False)))


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)
