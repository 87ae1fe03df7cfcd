"""Counterfactual pairs of prompts as a data set holds them: rows read from a file (imports no torch).

A row is an object with

    "original_prompt", "counterfactual_prompt"        a fact, a blank line, and instructions
    "gt_original_target", "gt_counterfactual_target"  the answers

A file is a JSON list of rows, a row of JSON on each line, or a table of these columns, as csv or parquet.
"""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from prolepsis.errors import Untested, UserError

BLANK_LINE = "\n\n"
SPLIT = "test"
"""The split of a data set that is asked, as it stands in its files' names."""
FIELDS = ("original_prompt", "counterfactual_prompt", "gt_original_target", "gt_counterfactual_target")


@dataclass(frozen=True)
class FactRow:
    """Two prompts and their answers, original first."""

    prompts: tuple[str, str]
    answers: tuple[str, str]

    @property
    def facts(self) -> tuple[str, ...]:
        """The prompts up to their first blank line."""
        return tuple(prompt.partition(BLANK_LINE)[0] for prompt in self.prompts)

    @property
    def gives_answer(self) -> bool:
        """Whether a fact holds its own answer, which could be copied from there."""
        return any(
            re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", fact, re.IGNORECASE)
            for fact, answer in zip(self.facts, self.answers, strict=True)
        )

    @property
    def differs_in_length(self) -> bool:
        """Whether the facts differ in their number of words, so that positions do not correspond."""
        original, other = (len(fact.split()) for fact in self.facts)
        return original != other


def parse(contents: Any) -> tuple[FactRow, ...]:
    """A list of rows; raises ValueError or KeyError for one that lacks a prompt or an answer."""
    return tuple(_row(number, entry) for number, entry in enumerate(contents, 1))


def _row(number: int, entry: Any) -> FactRow:
    texts = [entry[name] for name in FIELDS]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"row {number} has an empty prompt or answer")
    original, other, answer, other_answer = map(str.strip, texts)
    return FactRow((original, other), (answer, other_answer))


def distinct(rows: Iterable[FactRow]) -> tuple[FactRow, ...]:
    """The first row of each pair of prompts."""
    found: dict[tuple[str, str], FactRow] = {}
    for row in rows:
        found.setdefault(row.prompts, row)
    return tuple(found.values())


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """The data set a subject is asked, called ``name``; ``path`` is its file, None where it is not on this machine.

    What a subject answers is kept in the folder ``cache``, and for as long as this is held in ``memo``, which the
    subject's untrained twin shares.
    """

    name: str
    path: Path | None
    cache: Path | None = None
    memo: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """Identity of the content, empty where there is none."""
        return "" if self.path is None else hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]

    @cached_property
    def rows(self) -> tuple[FactRow, ...]:
        """All rows; raises Untested where the file is missing or cannot be read here, UserError where it is broken."""
        if self.path is None:
            raise Untested(
                f"not on this machine: the data set {self.name}; get it with "
                f"`hf download {self.name} --repo-type dataset`, or give a file of its rows as `pairs` in a preset"
            )
        return read_rows(self.path)


def find(name: str, base: Path, cache: Path | None) -> Counterfactuals:
    """The data set ``name``: a file, or a folder with one, under ``base``, or a repository in Hugging Face's cache.

    Raises UserError for a folder with no file of the split, or several, and for a name that can be neither.
    """
    found: Path | None = base / name
    if not (base / name).exists():
        found = _cached(name)
    elif (base / name).is_dir():
        found = base / name / file_of_split(_files_in(base / name), base / name)
    return Counterfactuals(name, found, cache)


def _cached(name: str) -> Path | None:
    """The file of the split in the cache; None where none is there, as after a transfer that was cut short."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, repo_type="dataset", local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise UserError(f"pairs: {name} is neither a file nor a data set on Hugging Face") from None
    names = _files_in(folder)
    return folder / file_of_split(names, folder) if _of_split(names) else None


def _files_in(folder: Path) -> list[str]:
    """The names of the files below ``folder`` that can be read."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _of_split(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if Path(name).suffix in READERS and SPLIT in Path(name).stem)


def file_of_split(names: Iterable[str], where: object) -> str:
    """The one file of the split among ``names``; raises UserError where there is none in ``where``, or several."""
    found = _of_split(names)
    if len(found) != 1:
        several = ", ".join(Path(name).name for name in found) or "none"
        raise UserError(f"{where}: one file with {SPLIT!r} in its name is needed, found {several}; name it as `pairs`")
    return found[0]


def read_rows(path: Path) -> tuple[FactRow, ...]:
    """The rows of a file; raises UserError naming what is wrong, Untested where a table cannot be read here."""
    if path.suffix not in READERS:
        raise UserError(f"{path}: pairs are read from {', '.join(READERS)}; save them as one of these")
    try:
        rows = parse(READERS[path.suffix](path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except KeyError as error:
        raise UserError(f"{path}: a row has no {error}; needed are {', '.join(FIELDS)}") from None
    except (ValueError, TypeError, AttributeError, OSError) as error:
        # pyarrow's errors are of these types too.
        raise UserError(f"{path}: holds no counterfactual pairs ({str(error).splitlines()[0]})") from None
    if not rows:
        raise UserError(f"{path}: holds no rows; get it again")
    return rows


def _json(path: Path) -> Any:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list):
        raise ValueError("no list of rows")
    return found


def _lines(path: Path) -> Iterator[Any]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _csv(path: Path) -> Iterator[Any]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _parquet(path: Path) -> Any:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        raise Untested(f"{path}: a parquet file is read by pyarrow; get it with `pip install pyarrow`") from None
    return parquet.read_table(path, columns=list(FIELDS)).to_pylist()


READERS: dict[str, Callable[[Path], Iterable[Any]]] = {
    ".parquet": _parquet,
    ".jsonl": _lines,
    ".json": _json,
    ".csv": _csv,
}
"""Suffix → how rows are read."""
