"""The command line. A new subcommand is one more entry of ``COMMANDS``."""

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

from prolepsis import ledger, selection
from prolepsis.errors import UserError
from prolepsis.reach import reach
from prolepsis.selection import parse_edits, parse_readout
from prolepsis.truth import TRUTH, compare, found_in, read_truth
from prolepsis.wiring import open_wiring

OK, DIFFERENT, INTERRUPTED, OUR_BUG, USER_ERROR = 0, 1, 2, 3, 4

REACH_EXAMPLE = """\
worked example: in Gemma 2 2B, features are steered at the last of 32 tokens. Can the part of the edit in layers 23 to
25 change where head 5 of layer 21 looks, while the rest of it is there in both runs?

    $ prolepsis reach --wiring gemma-2-2b --tokens 32 --vary L23..25@31 --given L16..22@31 --read "L21:H5 31->31"
    no: every path starts at L23@31, above L21:H5 31→31

Can the whole edit?

    $ prolepsis reach --wiring gemma-2-2b --tokens 32 --vary L16..25@31 --read "L21:H5 31->31"
    yes: L20@31 → L21:H5 31→31

A path reads from the edit to the readout; "L21:H* 31→17" is any head of layer 21 moving something from the key 17 to
the query 31. How edits and readouts are written:
"""


@dataclass(frozen=True)
class Command:
    """A subcommand: what it says of itself, its arguments, and what it does with them; it returns the exit code."""

    name: str
    summary: str
    epilog: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


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


def _reach_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wiring", required=True, help="gemma-2-2b, llama-3.2-1b, a model folder or a config.json")
    parser.add_argument(
        "--tokens", required=True, type=_tokens, help="number of prompt tokens, or their ids: 32 or 1,17,4"
    )
    parser.add_argument(
        "--vary",
        required=True,
        nargs="+",
        action="extend",
        type=parse_edits,
        metavar="EDIT",
        help="edits that come, go or change their values",
    )
    parser.add_argument(
        "--given",
        default=[],
        nargs="+",
        action="extend",
        type=parse_edits,
        metavar="EDIT",
        help="edits that are there all the time and stay as they are",
    )
    parser.add_argument("--read", required=True, type=parse_readout, metavar="READOUT", help="what is read")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _tokens(text: str) -> int | tuple[int, ...]:
    try:
        return tuple(int(token) for token in text.split(",")) if "," in text else int(text)
    except ValueError:
        raise UserError(f"--tokens {text!r} is neither a number of tokens nor ids such as 1,17,4") from None


def _reach(chosen: argparse.Namespace) -> int:
    varied, given = tuple(chain(*chosen.vary)), tuple(chain(*chosen.given))
    found = reach(open_wiring(chosen.wiring), varied, chosen.read, given, tokens=chosen.tokens)
    if chosen.json:
        asked = {
            "wiring": chosen.wiring,
            "tokens": chosen.tokens,
            "varied": [str(edit) for edit in varied],
            "given": [str(edit) for edit in given],
            "readout": str(chosen.read),
        }
        print(json.dumps(asked | asdict(found), ensure_ascii=False))
    else:
        print(f"{'yes' if found.answer else 'no'}: {found.why}")
    return OK


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a trained organism, or one with -untrained for its twin")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data (default 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default ./NAME)")


def _train(chosen: argparse.Namespace) -> int:
    from prolepsis.organisms.train import run

    out = chosen.out or Path(chosen.name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; remove it or choose another with --out")
    about = run(chosen.name, out, chosen.seed, progress=sys.stderr.isatty())
    for score, value in about["scores"].items():
        print(f"{score:>20} {value:.3f}")
    print(f"{chosen.name} is in {out}")
    return OK


def _truth_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", type=Path, default=Path("reports/latest"), help="folder of a run (default reports/latest)"
    )


def _truth(chosen: argparse.Namespace) -> int:
    path = chosen.run / "report.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["claims"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: no report can be read there; name a folder that `make claims` wrote") from None
    truth = read_truth(TRUTH, {claim.key for claim in ledger.rows()})
    compared = compare(truth, found_in(rows))
    for line in compared.false:
        print(f"false: {line}")
    for line in compared.missed:
        print(f"missed: {line}")
    print(compared)
    return DIFFERENT if compared.false or compared.missed else OK


COMMANDS = (
    Command(
        "reach",
        "Say whether an edit can change a readout at all, from the wiring alone.",
        REACH_EXAMPLE + "\n" + (selection.__doc__ or "").partition("\n\n")[2],
        _reach_arguments,
        _reach,
    ),
    Command(
        "train",
        "Make a trained organism anew from its recipe.",
        "The same seed gives the same weights on the same machine; nothing is written when a score misses its bar.",
        _train_arguments,
        _train,
    ),
    Command(
        "truth",
        "Compare the verdicts of a run with what has to come out on subjects whose answer is known.",
        "False is a decided verdict that is not the true one; missed is one left open where something was to be seen.",
        _truth_arguments,
        _truth,
    ),
)
