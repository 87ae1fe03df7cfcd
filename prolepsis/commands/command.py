"""What a subcommand is, and the exit codes of the command line."""

import argparse
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from prolepsis.errors import UserError

OK, DIFFERENT, INTERRUPTED, OUR_BUG, USER_ERROR = 0, 1, 2, 3, 4

UNCUT = 10_000
"""Columns of an output that is no terminal: a pipe gets whole lines."""


@dataclass(frozen=True)
class Command:
    """A subcommand: what it says of itself, its arguments, and what it does with them; it returns the exit code."""

    name: str
    summary: str
    epilog: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def columns() -> int:
    """How wide the output is."""
    return shutil.get_terminal_size((UNCUT, 24)).columns


def count(text: str) -> int:
    """A number of things, for argparse; raises UserError for one that is none."""
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"{text!r} is not a whole number above 0")
    return int(text)
