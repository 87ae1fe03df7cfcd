"""What a subcommand is, and the exit codes of the command line."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from prolepsis.errors import UserError

OK, DIFFERENT, INTERRUPTED, OUR_BUG, USER_ERROR = 0, 1, 2, 3, 4


@dataclass(frozen=True)
class Command:
    """A subcommand: what it says of itself, its arguments, and what it does with them; it returns the exit code."""

    name: str
    summary: str
    epilog: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def count(text: str) -> int:
    """A number of things, for argparse; raises UserError for one that is none."""
    if not (text.isdecimal() and int(text) > 0):
        raise UserError(f"{text!r} is not a whole number above 0")
    return int(text)
