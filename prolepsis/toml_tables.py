"""TOML files that are a list of tables of one kind, and tables read field by field (imports no torch)."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

from prolepsis.errors import UserError


def read_tables(path: Path, kind: str, shown: str) -> list[tuple[int, dict[str, Any]]]:
    """The ``[[kind]]`` tables of a file, each with its line; ``shown`` is what messages call the file.

    Raises UserError of the form ``file:line: what is wrong and its cure``; OSError where the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        plain = tomllib.loads(text)
    except UnicodeDecodeError:
        raise UserError(f"{shown}:1: is not UTF-8 text; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        raise UserError(f"{shown}:{at[1] if at else text.count(chr(10)) + 1}: is not valid TOML: {error}") from None
    header = re.compile(rf"\s*\[\[\s*{kind}\s*\]\]")
    lines = [number for number, line in enumerate(text.splitlines(), 1) if header.match(line)]
    tables = plain.get(kind, [])
    if set(plain) - {kind} or not isinstance(tables, list) or len(lines) != len(tables):
        raise UserError(f"{shown}:1: holds something other than [[{kind}]] tables; write each entry as one")
    return list(zip(lines, tables, strict=True))


class Fault(Exception):
    """What is wrong with a table and how to cure it; its reader makes it a UserError with the table's place."""


class Table:
    """A TOML table read field by field, each refused by a :class:`Fault`; what is not asked for is refused at the end.

    ``what`` begins the message, where the table is part of another: "published 2: ".
    """

    def __init__(self, plain: Any, what: str = "") -> None:
        if not isinstance(plain, dict):
            raise Fault(f"{what}is {plain!r}; write it as a table")
        self.plain, self.what, self.asked = plain, what, set[str]()

    def text(self, field: str, default: str | None = None) -> str:
        value = self._take(field, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise Fault(f"{self.what}{field} is {value!r}; give a text in quotes")
        return value

    def one_of(self, field: str, choices: tuple[str, ...], default: str | None = None) -> Any:
        value = self._take(field, default)
        if value not in choices:
            raise Fault(f"{self.what}{field} is {value!r}; choose one of {', '.join(choices)}")
        return value

    def number(self, field: str, *, optional: bool = False) -> Any:
        value = self._take(field, None, optional=optional)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Fault(f"{self.what}{field} is {value!r}; give a finite number")
        return float(value)

    def count(self, field: str) -> int | None:
        value = self._take(field, None, optional=True)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise Fault(f"{self.what}{field} is {value!r}; give a whole number ≥ 0")
        return value

    def items(self, field: str, *, optional: bool = True) -> list[Any]:
        value = self._take(field, [] if optional else None)
        if not isinstance(value, list) or not (value or optional):
            raise Fault(f"{self.what}{field} is {value!r}; give a list in square brackets")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts; empty where the field is absent."""
        found = self.items(field)
        for text in found:
            if not isinstance(text, str) or not text.strip():
                raise Fault(f"{self.what}{field} holds {text!r}; give texts in quotes")
        return tuple(found)

    def names(self, field: str) -> tuple[str, ...]:
        """A list of texts, none twice; empty where the field is absent."""
        found = self.texts(field)
        for name in found:
            if found.count(name) > 1:
                raise Fault(f"{self.what}{field} names {name!r} twice; remove one")
        return found

    def table(self, field: str, *, optional: bool = False) -> Any:
        """A table within this one, as it stands in the file; None where it is left out."""
        return self._take(field, None, optional=optional)

    def done(self) -> None:
        unknown = sorted(set(self.plain) - self.asked)
        if unknown:
            raise Fault(f"{self.what}{unknown[0]} is not a field; known: {', '.join(sorted(self.asked))}")

    def _take(self, field: str, default: Any = None, *, optional: bool = False) -> Any:
        self.asked.add(field)
        if field not in self.plain and default is None and not optional:
            raise Fault(f"{self.what}{field} is missing; give it")
        return self.plain.get(field, default)
