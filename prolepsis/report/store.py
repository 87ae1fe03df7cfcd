"""Measurements kept from run to run, so that a run that was cut short repeats nothing (no torch unless on a GPU).

A measurement is a pure function of the subject, its control subjects, the experiment, and the code and conditions it
runs under; it is found again only where all of these are the same. Files are written whole or not at all, so runs may
share a store.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import prolepsis
from prolepsis.atomic import write_atomically
from prolepsis.errors import unless_full
from prolepsis.experiments.measuring import Known
from prolepsis.measurement import Measurement
from prolepsis.report.devices import WHOLE
from prolepsis.report.storage import UNWRITTEN
from prolepsis.unfinished import Unfinished

if TYPE_CHECKING:
    from prolepsis.report.state import Case
    from prolepsis.subject import Subject

Stored = TypeVar("Stored", Measurement, Unfinished)

BEGUN = ".begun"
"""Ends the name of a measurement that is not finished."""
STORE = ".measurements"
"""Where a folder of reports keeps its measurements."""
SCREENS = ".screens"
"""Where it keeps which pairs of a data set a subject answers rightly."""
TAKEN_OVER, DAMAGED = "claims-taken-over", "claims-damaged"
ORGANISMS = Path(prolepsis.__file__).parent.parent / "fixtures" / "organisms"


class Store(Known):
    """Measurements in ``folder``, made under the same ``conditions``; with ``fresh`` they are made anew and replaced.

    One that still lacks what a twin is asked is kept as well, until it is finished. ``taken_over`` counts those that
    were found whole, ``damaged`` names the files that had to be dropped, ``unwritten`` says why some were not kept.
    """

    def __init__(self, folder: Path, conditions: str, *, fresh: bool = False) -> None:
        self._folder = folder / digest(conditions)
        self._fresh = fresh
        self.taken_over: set[tuple[str, str]] = set()
        self.damaged: list[str] = []
        self.unwritten: list[str] = []

    def measured(self, subject: "Subject", experiment: str, measure: Callable[[], Measurement]) -> Measurement:
        """The measurement of ``experiment`` on ``subject``: as it was stored, else made by ``measure`` and stored."""
        path = self._path(subject, experiment)
        if not self._fresh and (found := self._read(path, Measurement.from_json)) is not None:
            self.taken_over.add((subject.id, experiment))
            return found
        if not self._fresh and (begun := self._read(path.with_suffix(BEGUN), Unfinished.from_json)) is not None:
            raise begun
        try:
            made = measure()
        except Unfinished as begun:
            self._write(path.with_suffix(BEGUN), begun.to_json())
            raise
        self._write(path, made.to_json())
        return made

    def finished(self, subject: "Subject", experiment: str, finish: Callable[[], Measurement]) -> Measurement:
        """The measurement of ``experiment`` on ``subject`` as ``finish`` makes it, stored."""
        made, path = finish(), self._path(subject, experiment)
        self._write(path, made.to_json())
        path.with_suffix(BEGUN).unlink(missing_ok=True)
        return made

    def _path(self, subject: "Subject", experiment: str) -> Path:
        return self._folder / f"{digest(json.dumps([*_identity(subject), experiment]))}.json"

    def _write(self, path: Path, text: str) -> None:
        """Keep ``text`` for the next run; without room for it this one goes on."""
        with unless_full(self.unwritten.append):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, f"{digest(text)}\n{text}\n")

    def _read(self, path: Path, parse: Callable[[str], Stored]) -> Stored | None:
        """What is in a file, None where there is none; a file that is not as it was written is dropped."""
        try:
            kept_under, text, _ = path.read_text(encoding="utf-8").split("\n")
            if kept_under == digest(text):
                return parse(text)
        except FileNotFoundError:
            return None
        except ValueError:
            pass
        path.unlink(missing_ok=True)
        self.damaged.append(f"{path} was damaged and is measured again")
        return None


def notes_on(store: Store, case: "Case") -> list[tuple[str, str]]:
    """What a test says of the store in its properties: whether its measurement was found, and files dropped or lost."""
    found = (case.source.id, case.claim.experiment) in store.taken_over
    notes = [(TAKEN_OVER, " ".join(case.pin_key))] if found else []
    notes += [(DAMAGED, text) for text in store.damaged]
    notes += [(UNWRITTEN, text) for text in store.unwritten]
    store.damaged.clear()
    store.unwritten.clear()
    return notes


def conditions(device: str, dtype: str) -> str:
    """What a measurement depends on beside subject and experiment: the code, its libraries, device and dtype."""
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")]
    return json.dumps([_code(), *libraries, device, *_card(device), dtype])


def _card(device: str) -> Iterator[str]:
    """Which GPU a device is: what is drawn on one, as the weights of a twin are, follows from its multiprocessors too.

    Nothing for the CPU, nor for a GPU that cannot be used, of which the run hears when a subject is loaded.
    """
    if not device.startswith(WHOLE):
        return
    import torch

    with suppress(RuntimeError, AssertionError):
        card = torch.cuda.get_device_properties(device)
        yield f"{card.name}, {card.multi_processor_count} multiprocessors"


def _identity(subject: "Subject") -> Iterator[str]:
    """Digests of a subject and of the control subjects it names."""
    yield subject.digest
    for reference in (subject.twin, subject.same_behaviour, *subject.ladder):
        yield "none" if reference is None else _contents(reference)


@cache
def _contents(reference: str) -> str:
    """Digest of a control subject: of the files of its folder and of the one it is like.

    Planted ones are code, and one made in place follows from its subject.
    """
    folder = Path(reference) if Path(reference).is_dir() else ORGANISMS / reference
    if not folder.is_dir():
        return reference
    return _files(folder) + "".join(_files(like) for like in _liked_by(folder))


def _liked_by(folder: Path) -> Iterator[Path]:
    """The folder whose configuration an untrained subject shares, where there is one."""
    about = folder / "subject.json"
    weights = json.loads(about.read_text()).get("weights") if about.exists() else None
    if weights is not None:
        yield folder / weights["like"]


@cache
def _code() -> str:
    return _files(Path(prolepsis.__file__).parent, "*.py")


def _files(folder: Path, pattern: str = "*") -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        found.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


def digest(text: str) -> str:
    """What a text is kept under."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
