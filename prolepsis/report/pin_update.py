"""Pins the verdicts of a run: edits ``expected.toml`` as text, so that everything else in it stays as it was."""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prolepsis.atomic import write_atomically
from prolepsis.report.pins import FIELDS, HEADER, Key, Row, can_pin, key_of

NUMBER = re.compile(r"[-−]?\d[\d.,]*(e[-−+]?\d+)?")


@dataclass
class _Block:
    """One ``[[expected]]`` table: the comments and blank lines above it, and its own lines."""

    above: str
    table: str

    @property
    def key(self) -> Key:
        return Key(*(self.fields[name] for name in FIELDS[:4]))

    @property
    def fields(self) -> dict[str, str]:
        entry: dict[str, str] = tomllib.loads(self.table)["expected"][0]
        return entry


def update_pins(path: Path, rows: Iterable[Row]) -> list[Key]:
    """Write the verdicts of ``rows`` into a file that :func:`prolepsis.report.pins.read_pins` accepts.

    Only the keys in ``rows`` are touched. The text, order and comments of the others stay, and so does the reason of a
    pin whose verdict is met for a reason of the same words, whatever its figures are here. An untested row changes
    nothing. Returns the keys that stay unpinned for lack of margin.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    blocks, rest = _split(text)
    by_key = {block.key: block for block in blocks}
    new: list[str] = []
    unpinned: list[Key] = []
    for row in sorted((row for row in rows if row["verdict"] != "untested"), key=key_of):
        key = key_of(row)
        block = by_key.get(key)
        if not can_pin(row):
            unpinned.append(key)
            if block is not None:
                block.table = ""
        elif block is None:
            new.append(_table(row))
        elif block.fields["verdict"] != row["verdict"] or _words(block.fields["reason"]) != _words(row["reason"]):
            block.table = _table(row)
    kept = "".join(block.above + block.table for block in blocks) + rest
    if new and kept.strip():
        kept = kept.rstrip("\n") + "\n\n"
    updated = kept + "\n".join(new)
    if updated != text:
        write_atomically(path, updated)
    return unpinned


def _split(text: str) -> tuple[list[_Block], str]:
    """The tables of the file in order, and what follows the last one."""
    blocks: list[_Block] = []
    above: list[str] = []
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if HEADER.match(line):
            blocks.append(_Block("".join(above), line))
            above = []
        elif bare and not bare.startswith("#") and blocks:
            blocks[-1].table += "".join(above) + line
            above = []
        else:
            above.append(line)
    return blocks, "".join(above)


def _words(reason: str) -> str:
    """A reason without its figures, which differ a little from machine to machine."""
    return NUMBER.sub("", reason)


def _table(row: Row) -> str:
    fields = zip(FIELDS, (*key_of(row), row["verdict"], row["reason"]), strict=True)
    return "[[expected]]\n" + "".join(f"{name} = {_quoted(value)}\n" for name, value in fields)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's differ from it in one character only."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
