"""The rows of the last target layer of a cross-layer decoder file, picked out of the file as it passes by.

A vocabulary scan reads nothing else of the decoders, and a file of many target layers is many times as large.
"""

import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

from prolepsis.errors import UserError
from prolepsis.hub import ranges
from prolepsis.hub.refusals import plainly
from prolepsis.hub.repository import Repository

_CHUNK = 4 << 20
_TRIES = 5
"""Broken transfers in a row without any progress."""


def kept_last(repository: Repository, name: str) -> Path | None:
    """Where the last rows of a decoder file are kept; None when they are not, or not all."""
    path = _path(repository, name)
    return path if path.is_file() else None


def kept_bytes(header: ranges.Header) -> int | None:
    """What the last rows of a decoder file take, None when it has one target layer alone."""
    tensor = header.decoder()
    if tensor is None or len(header.tensors[tensor]["shape"]) != 3 or header.tensors[tensor]["shape"][1] == 1:
        return None
    features, targets, _ = header.tensors[tensor]["shape"]
    return int(features * header.row_bytes(tensor) // targets)


def fetch_last(repository: Repository, name: str) -> None:
    """Read a decoder file from the hub and keep its last rows; goes on where an earlier transfer stopped.

    What is kept bears its name once it is whole. Raises what asking the hub raises.
    """
    utils: Any = import_module("huggingface_hub.utils")
    path, header = _path(repository, name), ranges.header(repository, name)
    part = path.with_name(f"{path.name}.incomplete")
    with plainly(repository.id, repository.asked):
        path.parent.mkdir(parents=True, exist_ok=True)
        with utils.WeakFileLock(str(path.with_name(f"{path.name}.lock"))):
            if path.is_file():
                return
            with part.open("r+b" if part.exists() else "w+b") as file:
                _fill(repository, name, header, file)
            part.replace(path)


def _fill(repository: Repository, name: str, header: ranges.Header, file: BinaryIO) -> None:
    """Write head and last rows to ``file``, from where its content ends."""
    import numpy as np

    tensor = header.decoder()
    assert tensor is not None
    features, targets, width = header.tensors[tensor]["shape"]
    row = header.row_bytes(tensor)
    last = row // targets
    head = ranges.small_file(header, tensor, [features, width], features * last)
    done = max(0, file.seek(0, 2) - len(head)) // last
    file.seek(0)
    file.write(head)
    file.truncate(len(head) + done * last)
    file.seek(len(head) + done * last)
    first = header.start + header.tensors[tensor]["data_offsets"][0]
    utils: Any = import_module("huggingface_hub.utils")
    with utils.tqdm(
        total=features * row, initial=done * row, desc=name, unit="B", unit_scale=True, disable=None
    ) as bar:
        rest = b""
        for chunk in _chunks(repository, name, first + done * row, first + features * row):
            rest += chunk
            whole = len(rest) // row
            rows = np.frombuffer(rest, np.uint8, whole * row).reshape(whole, row)
            file.write(rows[:, -last:].tobytes())
            rest = rest[whole * row :]
            bar.update(len(chunk))
    if file.tell() != len(head) + features * last:
        raise UserError(f"{repository}/{name}: truncated; choose another revision")


def _chunks(repository: Repository, name: str, begin: int, end: int) -> Iterator[bytes]:
    """The bytes [begin, end) of a file as they arrive; a broken transfer is taken up again."""
    errors: Any = import_module("huggingface_hub.errors")
    tries = 0
    while begin < end:
        try:
            with ranges.response_to(repository, name, begin, end) as response:
                passed = 0 if response.status_code == 206 else -begin
                for chunk in _pieces(response):
                    wanted = chunk[max(0, -passed) :][: end - begin]
                    passed += len(chunk)
                    if wanted:
                        tries, begin = 0, begin + len(wanted)
                        yield wanted
            return
        except errors.HfHubHTTPError:
            raise
        except (OSError, errors.HTTPError):
            tries += 1
            if tries == _TRIES:
                raise
            time.sleep(1)


def _pieces(response: Any) -> Iterator[bytes]:
    pieces: Iterator[bytes] = (response.iter_content if hasattr(response, "raw") else response.iter_bytes)(_CHUNK)
    return pieces


def _path(repository: Repository, name: str) -> Path:
    return repository.kept / "last" / name
