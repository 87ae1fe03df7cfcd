"""Parts of a safetensors file that lies on the hub: its header and single rows, kept as whole small files.

Such a file begins with eight bytes that give the length of its header, then the header as JSON, then the values.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prolepsis.errors import UserError
from prolepsis.hub.refusals import plainly
from prolepsis.hub.repository import Repository, keep

_FIRST = 4096
"""Bytes that are read first: as a rule they hold the whole header."""
_LONGEST = 100 << 20
_GAP, _AT_ONCE = 256 << 10, 16 << 20
"""Bytes between two rows that are read along, fewer than come while a request is answered, and of one request."""
_SIDE_BY_SIDE = 8
"""Requests at a time."""


class NoRangesError(Exception):
    """The server sends whole files only."""


@dataclass(frozen=True)
class Header:
    """Where the values of a file begin, and tensor → dtype, shape and data_offsets from there."""

    start: int
    tensors: dict[str, dict[str, Any]]

    def decoder(self) -> str | None:
        """The tensor whose rows are what features write, by its name; None where there is none."""
        return next((name for name in self.tensors if re.fullmatch(r"(?i)w_dec(_\d+)?", name)), None)

    def row_bytes(self, tensor: str) -> int:
        """What one row along the first axis takes."""
        first, last = self.tensors[tensor]["data_offsets"]
        return int(last - first) // int(self.tensors[tensor]["shape"][0])


def kept_header(repository: Repository, name: str) -> Header | None:
    """The header of a file as it was once read, without any network; None when it never was."""
    try:
        return Header(**json.loads(_header_path(repository, name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def header(repository: Repository, name: str) -> Header:
    """The header of a file, as kept or else read from the hub.

    Raises NoRangesError, UserError for a file that is no safetensors file, and what asking the hub raises.
    """
    found = kept_header(repository, name)
    if found is None:
        begin = _read(repository, name, 0, _FIRST)
        length = int.from_bytes(begin[:8], "little")
        if len(begin) < 8 or not 2 <= length <= _LONGEST:
            raise UserError(f"{repository}/{name}: no safetensors file; choose another revision")
        if 8 + length > len(begin):
            begin += _read(repository, name, len(begin), 8 + length)
        try:
            tensors = json.loads(begin[8 : 8 + length])
        except ValueError:
            raise UserError(f"{repository}/{name}: no safetensors file; choose another revision") from None
        tensors.pop("__metadata__", None)
        found = Header(8 + length, tensors)
        with plainly(repository.id, repository.asked):
            keep(_header_path(repository, name), json.dumps({"start": found.start, "tensors": tensors}))
    return found


def kept_row(repository: Repository, name: str, tensor: str, index: int) -> Path | None:
    """Where row ``index`` of a tensor is kept; None when it never was read."""
    path = _row_path(repository, name, tensor, index)
    return path if path.is_file() else None


def fetch_rows(repository: Repository, name: str, tensor: str, indices: Iterable[int]) -> None:
    """Read the rows of a tensor that are not kept from the hub, and keep each in a safetensors file of its own.

    Rows that lie close together come in one request, and requests run side by side. Raises NoRangesError, and what
    asking the hub raises.
    """
    missing = sorted({index for index in indices if kept_row(repository, name, tensor, index) is None})
    if not missing:
        return
    found = header(repository, name)
    about, size = found.tensors[tensor], found.row_bytes(tensor)
    start, spans = found.start + about["data_offsets"][0], _spans(missing, size)
    # The hub sends a file from elsewhere. It is asked where once, or it would count thousands of requests of one user.
    url = _location(repository, name) if len(spans) > 1 else None

    def bring(span: Sequence[int]) -> None:
        content = _read(repository, name, start + span[0] * size, start + (span[-1] + 1) * size, url)
        for index in span:
            values = content[(index - span[0]) * size :][:size]
            if len(values) != size:
                raise UserError(
                    f"{repository}/{name}: truncated before row {index} of {tensor}; choose another revision"
                )
            with plainly(repository.id, repository.asked):
                keep(
                    _row_path(repository, name, tensor, index),
                    small_file(found, tensor, about["shape"][1:], size) + values,
                )

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for _ in pool.map(bring, spans):
            pass


def _spans(indices: Sequence[int], size: int) -> list[list[int]]:
    """Ascending rows of ``size`` bytes, those together that one request reads."""
    spans: list[list[int]] = []
    for index in indices:
        near = spans and (index - spans[-1][-1] - 1) * size <= _GAP and (index + 1 - spans[-1][0]) * size <= _AT_ONCE
        if near:
            spans[-1].append(index)
        else:
            spans.append([index])
    return spans


def _location(repository: Repository, name: str) -> str:
    """Where the hub lets the content of a file be read from."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    with plainly(repository.id, repository.asked):
        return get_hf_file_metadata(hf_hub_url(repository.id, name, revision=repository.commit)).location


def small_file(header: Header, tensor: str, shape: list[int], size: int) -> bytes:
    """What stands before the values in a safetensors file that holds nothing but a part of ``tensor``."""
    about = {"dtype": header.tensors[tensor]["dtype"], "shape": shape, "data_offsets": [0, size]}
    text = json.dumps({tensor: about}).encode()
    return len(text).to_bytes(8, "little") + text


def _header_path(repository: Repository, name: str) -> Path:
    return repository.kept / "headers" / f"{name}.json"


def _row_path(repository: Repository, name: str, tensor: str, index: int) -> Path:
    return repository.kept / "rows" / name / f"{tensor}-{index}.safetensors"


def _read(repository: Repository, name: str, begin: int, end: int, url: str | None = None) -> bytes:
    """Bytes [begin, end) of a file, fewer where the file ends before."""
    with plainly(repository.id, repository.asked), response_to(repository, name, begin, end, url) as response:
        if response.status_code != 206:
            raise NoRangesError
        content: bytes = response.content if hasattr(response, "raw") else response.read()
        return content


@contextmanager
def response_to(repository: Repository, name: str, begin: int, end: int, url: str | None = None) -> Iterator[Any]:
    """The answer to a GET of bytes [begin, end), its body not read yet: a server without ranges sends the whole file.

    ``url`` is where the hub has said the content lies, by default the hub is asked.
    The status is 206 for the range and 200 for the whole file; others raise what huggingface_hub makes of them.
    """
    from huggingface_hub import constants, hf_hub_url

    utils: Any = import_module("huggingface_hub.utils")
    asked = hf_hub_url(repository.id, name, revision=repository.commit)
    url = url or asked
    # Without compression: a range of a compressed body would be bytes of that.
    headers = {**utils.build_hf_headers(), "Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
    if urlsplit(url).netloc != urlsplit(asked).netloc:
        # The token is for the hub alone.
        headers.pop("authorization", None)
    session, timeout = utils.get_session(), constants.HF_HUB_DOWNLOAD_TIMEOUT
    # Up to 0.36 huggingface_hub speaks through requests, from 1.0 on through httpx.
    if callable(session.stream):
        opened = session.stream("GET", url, headers=headers, timeout=timeout)
    else:
        opened = session.get(url, headers=headers, timeout=timeout, stream=True)
    with opened as response:
        utils.hf_raise_for_status(response)
        yield response
