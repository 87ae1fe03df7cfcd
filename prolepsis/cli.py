"""The command line. A new subcommand is one more entry of ``COMMANDS``."""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from prolepsis.commands.claims import CLAIMS
from prolepsis.commands.command import INTERRUPTED, OUR_BUG, USER_ERROR
from prolepsis.commands.reach import REACH
from prolepsis.commands.runs import COMPARE, JUDGE, MERGE, TRUTH
from prolepsis.commands.train import TRAIN
from prolepsis.commands.transcoder import TRANSCODER
from prolepsis.errors import UserError

COMMANDS = (CLAIMS, REACH, TRAIN, TRANSCODER, TRUTH, JUDGE, COMPARE, MERGE)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line like every other user error."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns the exit code: 0 done, 1 not as it has to be, 2 interrupted, 3 our bug, 4 user error.
    """
    try:
        chosen = _parser().parse_args(arguments)
        return int(chosen.command.run(chosen))
    except UserError as error:
        print(f"prolepsis: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("prolepsis: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return OUR_BUG


def _parser() -> argparse.ArgumentParser:
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
