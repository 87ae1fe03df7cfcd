"""TOML files that are a list of tables of one kind, read with the line each starts at (imports no torch)."""

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
