"""Which recorded outputs a folder holds, told by their contents, wherever in it they lie."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from prolepsis.archive.kinds import BROKEN, KINDS, PAPER, Kind
from prolepsis.errors import Untested, UserError

Value = TypeVar("Value")

RECORDED = "recorded-"
"""What the id of a recording starts with; the preset's id follows."""
LARGEST = 64 * 2**20
"""Bytes beyond which a file is no recorded output; vocabularies and tokenizers of that size lie beside them."""
NAMED = 8
"""How many files that are no recordings are named; the rest are counted."""


@dataclass(frozen=True)
class Recording:
    """What was recorded of one model and transcoder: kind → file, and kind → why its file cannot be read.

    ``preset`` is the id of the preset it is a recording of. An ``extra`` recording holds a second file of one kind
    and nothing else.
    """

    id: str
    preset: str
    model: str
    transcoder: str
    files: Mapping[str, Path]
    broken: Mapping[str, str] = field(default_factory=dict)
    extra: bool = False

    def read(self, kind: str, parse: Callable[[Any], Value]) -> Value:
        """What ``parse`` finds in the file of ``kind``; raises Untested when there is none, or a broken one."""
        if kind in self.files:
            return parse(json.loads(self.files[kind].read_text(encoding="utf-8")))
        raise Untested(self.broken.get(kind, f"no {kind} was recorded for {self.id}"))

    @property
    def digest(self) -> str:
        """Identity of the recorded files."""
        whole = hashlib.sha256()
        for kind, path in sorted(self.files.items()):
            whole.update(kind.encode() + path.read_bytes())
        return whole.hexdigest()[:16]


@dataclass(frozen=True)
class Archive:
    """The recordings of a folder, and a line for each file, or set of files, that was passed over."""

    recordings: tuple[Recording, ...]
    skipped: tuple[str, ...]


def open_archive(folder: Path) -> Archive:
    """What ``folder`` holds, by model and transcoder; the paper's transcoders are there even with no file.

    A second whole file of a kind becomes an extra recording; the first is the one with the shortest name, as variants
    of a run have its name and more. A broken file, one that is there twice and one of no known kind are skipped and
    named. Raises UserError when there is no file of any known kind.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give the clone that holds the recorded outputs")
    found, skipped, others = _Found(), list[str](), list[str]()
    for path in sorted(folder.rglob("*.json"), key=lambda path: (len(path.name), path)):
        name = str(path.relative_to(folder))
        try:
            contents = _contents(path)
        except (OSError, ValueError, RecursionError) as error:
            skipped.append(f"{name}: cannot be read as JSON ({error}); skipped")
            continue
        kind = next((kind for kind in KINDS if kind.knows(contents)), None)
        if kind is None:
            others.append(name)
        else:
            skipped += found.take(kind, name, path, contents)
    if not found.presets:
        raise UserError(f"{folder}: holds no recorded output; known are {', '.join(kind.name for kind in KINDS)}")
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        skipped.append(f"of no known kind and skipped: {', '.join(others[:NAMED])}{more}")
    return Archive(tuple(found.recordings()), tuple(skipped))


def _contents(path: Path) -> Any:
    """The contents of a JSON file, None for what is too large to be a recording or no file at all."""
    if not path.is_file() or path.stat().st_size > LARGEST:
        return None
    return json.loads(path.read_text(encoding="utf-8"))


class _Found:
    """Files as they are come upon, by the preset they are recordings of."""

    def __init__(self) -> None:
        self.presets: dict[str, tuple[str, str]] = {}
        self.whole: dict[tuple[str, str], list[Path]] = {}
        self.broken: dict[tuple[str, str], str] = {}
        self.seen: dict[bytes, str] = {}

    def take(self, kind: Kind, name: str, path: Path, contents: Any) -> Iterable[str]:
        """Keep a file of a known kind; yields why it was skipped, if it was."""
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in self.seen:
            yield f"{name}: the same file as {self.seen[digest]}; skipped"
            return
        self.seen[digest] = name
        model, transcoder, fault = "", "", None
        try:
            model, transcoder = kind.owner(contents)
            kind.parse(contents)
        except BROKEN as error:
            fault = f"{name}: not a whole {kind.name} ({type(error).__name__}: {error}); get it again"
            yield f"{fault}; skipped"
        if not transcoder:
            return
        preset = _preset(transcoder)
        self.presets.setdefault(preset, (model, transcoder))
        if fault is None:
            self.whole.setdefault((preset, kind.name), []).append(path)
        else:
            self.broken[preset, kind.name] = fault

    def recordings(self) -> Iterable[Recording]:
        """A recording per preset, then the extra ones; the paper's own presets whether anything was found or not."""
        for transcoder, (model, _) in PAPER.items():
            self.presets.setdefault(_preset(transcoder), (model, transcoder))
        taken = {f"{RECORDED}{preset}" for preset in self.presets}
        for preset, (model, transcoder) in self.presets.items():
            files = {kind: paths[0] for (of, kind), paths in self.whole.items() if of == preset}
            broken = {kind: fault for (of, kind), fault in self.broken.items() if of == preset}
            yield Recording(f"{RECORDED}{preset}", preset, model, transcoder, files, broken)
        for (preset, kind), paths in self.whole.items():
            for path in paths[1:]:
                name = _unused(f"{RECORDED}{preset}-{_slug(path.stem, preset)}", taken)
                yield Recording(name, preset, *self.presets[preset], {kind: path}, extra=True)


def _preset(transcoder: str) -> str:
    return transcoder.rpartition("/")[2].lower().removeprefix("clt-")


def _slug(stem: str, preset: str) -> str:
    """A file's name as part of an id, without what the id has already."""
    return re.sub("[^a-z0-9.]+", "-", stem.lower().removeprefix(preset)).strip("-") or "more"


def _unused(name: str, taken: set[str]) -> str:
    """``name``, or that with the first number that makes it new; it is then taken."""
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name}-{number}"
    taken.add(free)
    return free
