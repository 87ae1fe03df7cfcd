"""Which recorded outputs a folder holds, told by their contents, wherever in it they lie."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prolepsis.errors import Untested, UserError

Value = TypeVar("Value")

KINDS: Mapping[str, frozenset[str]] = {
    "pair sweep": frozenset({"clt_repo", "n_pairs", "results"}),
    "position sweep": frozenset({"clt_repo", "inject_feature", "sweep"}),
}
"""Kind of recording → the keys by which it is known."""
RECORDED = "recorded-"
"""What the id of a recording starts with; the preset's id follows."""
LARGEST = 64 * 2**20
"""Bytes beyond which a file is no recorded output; vocabularies and tokenizers of that size lie beside them."""


@dataclass(frozen=True)
class Recording:
    """What was recorded of one model and transcoder: kind → file."""

    id: str
    model: str
    transcoder: str
    files: Mapping[str, Path]

    def read(self, kind: str, take: Callable[[Any], Value]) -> Value:
        """What ``take`` finds in the file of ``kind``.

        Raises Untested when nothing of the kind was recorded, UserError naming the file when it lacks something.
        """
        if kind not in self.files:
            raise Untested(f"no {kind} was recorded for {self.id}")
        path = self.files[kind]
        try:
            return take(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a whole {kind} ({type(error).__name__}: {error}); get it again") from None

    @property
    def digest(self) -> str:
        """Identity of the recorded files."""
        whole = hashlib.sha256()
        for kind, path in sorted(self.files.items()):
            whole.update(kind.encode() + path.read_bytes())
        return whole.hexdigest()[:16]


def recordings(folder: Path) -> tuple[Recording, ...]:
    """The recordings in ``folder``, by model and transcoder; raises UserError when it holds none, or two of a kind."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the clone that holds the recorded outputs")
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(folder.rglob("*.json")):
        known = _known(path)
        if known is None:
            continue
        kind, model, transcoder = known
        files = found.setdefault((model, transcoder), {})
        if kind in files:
            raise UserError(
                f"{path}: a {kind} of {transcoder} is also in {files[kind]}; give a folder with one of them"
            )
        files[kind] = path
    if not found:
        raise UserError(f"{folder}: holds no recorded output; known are {' and '.join(f'{kind}s' for kind in KINDS)}")
    return tuple(Recording(_id(transcoder), model, transcoder, files) for (model, transcoder), files in found.items())


def _known(path: Path) -> tuple[str, str, str] | None:
    """(kind, model, transcoder) of a file, None for anything that is no recorded output."""
    if path.stat().st_size > LARGEST:
        return None
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if isinstance(contents, dict):
        for kind, keys in KINDS.items():
            if keys <= contents.keys():
                return kind, str(contents.get("model")), str(contents["clt_repo"])
    return None


def _id(transcoder: str) -> str:
    return f"{RECORDED}{transcoder.rpartition('/')[2].removeprefix('clt-').lower()}"
