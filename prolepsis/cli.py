"""The command line. A new subcommand is one more entry of a group of ``COMMANDS``."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

from prolepsis.commands.claims import CLAIMS
from prolepsis.commands.command import DIFFERENT, INTERRUPTED, OUR_BUG, USER_ERROR
from prolepsis.commands.completion import COMPLETION
from prolepsis.commands.converge import CONVERGE
from prolepsis.commands.correct import CORRECT
from prolepsis.commands.doctor import DOCTOR
from prolepsis.commands.history import HISTORY
from prolepsis.commands.lens import LENS
from prolepsis.commands.patch import PATCH
from prolepsis.commands.reach import REACH
from prolepsis.commands.report import REPORT
from prolepsis.commands.rhymes import RHYMES
from prolepsis.commands.route import ROUTE
from prolepsis.commands.run import RUN
from prolepsis.commands.runs import COMPARE, JUDGE, MERGE, TRUTH
from prolepsis.commands.scan import SCAN
from prolepsis.commands.screen import SCREEN
from prolepsis.commands.skip import SKIP
from prolepsis.commands.sweep import SWEEP
from prolepsis.commands.train import TRAIN
from prolepsis.commands.transcoder import TRANSCODER
from prolepsis.errors import Untested, UserError, no_room

VERIFYING = (CLAIMS, RUN, TRUTH, JUDGE, REPORT, COMPARE, HISTORY, MERGE)
EXPERIMENTS = (SWEEP, ROUTE, PATCH, CORRECT, CONVERGE, LENS, SKIP, SCAN, RHYMES, SCREEN)
TOOLS = (DOCTOR, REACH, TRAIN, TRANSCODER, COMPLETION)
COMMANDS = (*VERIFYING, *EXPERIMENTS, *TOOLS)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line like every other user error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 not as it has to be or untested, 2 interrupted, 3 our bug, 4 user error.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # An output that has no letter for a character has room for its number.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        code, said = USER_ERROR, str(error)
    except Untested as missing:
        code, said = DIFFERENT, f"untested: {missing}"
    except KeyboardInterrupt:
        code, said = INTERRUPTED, "interrupted"
    except BrokenPipeError:
        # Whoever read the output has seen enough of it.
        _write_no_more()
        return DIFFERENT
    except Exception as error:
        full = no_room(error)
        if full is None:
            traceback.print_exc()
            return OUR_BUG
        _write_no_more()
        code, said = USER_ERROR, full
    print(f"prolepsis: {said}", file=sys.stderr)
    return code


def _run(arguments: Sequence[str]) -> int:
    """Run the command; what it printed is written when this returns or raises."""
    try:
        chosen = command_parser().parse_args(_passed_on(arguments))
        return int(chosen.command.run(chosen))
    finally:
        # Else the interpreter would try it at its end, and complain where it cannot be.
        if sys.stdout is not None:
            sys.stdout.flush()


def _write_no_more() -> None:
    """Let what is still buffered go nowhere, or the interpreter would complain of it at its end."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _passed_on(arguments: Sequence[str]) -> list[str]:
    """The arguments, those of ``run`` marked as none of ours; its --help is."""
    command, *rest = [*arguments] or [""]
    if command == RUN.name and rest and rest[0] not in ("-h", "--help"):
        return [command, "--", *rest]
    return [*arguments]


def command_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(prog="prolepsis", description="Ask of a paper's claims what they could have said otherwise.")
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        added = subcommands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(added)
        added.set_defaults(command=command)
    return parser
