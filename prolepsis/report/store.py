"""Measurements kept from run to run, so that a run that was cut short repeats nothing (imports no torch).

A measurement is a pure function of the subject, its control subjects, the experiment, and the code and conditions it
runs under; it is found again only where all of these are the same. Files are written whole or not at all, so runs may
share a store.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import prolepsis
from prolepsis.atomic import write_atomically
from prolepsis.measurement import Measurement

if TYPE_CHECKING:
    from prolepsis.report.state import Case
    from prolepsis.subject import Subject

STORE = ".measurements"
"""Where a folder of reports keeps its measurements."""
SCREENS = ".screens"
"""Where it keeps which pairs of a data set a subject answers rightly."""
TAKEN_OVER, DAMAGED = "claims-taken-over", "claims-damaged"
ORGANISMS = Path(prolepsis.__file__).parent.parent / "fixtures" / "organisms"


class Store:
    """Measurements in ``folder``, made under the same ``conditions``; with ``fresh`` they are made anew and replaced.

    ``taken_over`` counts those that were found, ``damaged`` names the files that had to be dropped.
    """

    def __init__(self, folder: Path, conditions: str, *, fresh: bool = False) -> None:
        self._folder = folder / _digest(conditions)
        self._fresh = fresh
        self.taken_over: set[tuple[str, str]] = set()
        self.damaged: list[str] = []

    def measured(self, subject: "Subject", experiment: str, measure: Callable[[], Measurement]) -> Measurement:
        """The measurement of ``experiment`` on ``subject``: as it was stored, else made by ``measure`` and stored."""
        path = self._folder / f"{_digest(json.dumps([*_identity(subject), experiment]))}.json"
        found = None if self._fresh else self._read(path)
        if found is not None:
            self.taken_over.add((subject.id, experiment))
            return found
        made = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        text = made.to_json()
        write_atomically(path, f"{_digest(text)}\n{text}\n")
        return made

    def _read(self, path: Path) -> Measurement | None:
        """The measurement in a file, None where there is none; a file that is not as it was written is dropped."""
        try:
            digest, text, _ = path.read_text(encoding="utf-8").split("\n")
            if digest == _digest(text):
                return Measurement.from_json(text)
        except FileNotFoundError:
            return None
        except ValueError:
            pass
        path.unlink(missing_ok=True)
        self.damaged.append(f"{path} was damaged and is measured again")
        return None


def notes_on(store: Store, case: "Case") -> list[tuple[str, str]]:
    """What a test says of the store in its properties: whether its measurement was found, and files just dropped."""
    found = (case.source.id, case.claim.experiment) in store.taken_over
    notes = [(TAKEN_OVER, " ".join(case.pin_key))] if found else []
    notes += [(DAMAGED, text) for text in store.damaged]
    store.damaged.clear()
    return notes


def conditions(device: str, dtype: str) -> str:
    """What a measurement depends on beside subject and experiment: the code, its libraries, device and dtype."""
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")]
    return json.dumps([_code(), *libraries, device, dtype])


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
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
