"""``prolepsis reach``: whether an edit can change a readout."""

import argparse
import json
from dataclasses import asdict
from itertools import chain

from prolepsis.commands.command import OK, Command
from prolepsis.errors import UserError
from prolepsis.reach import reach
from prolepsis.reachability import selection
from prolepsis.reachability.selection import parse_edits, parse_readout
from prolepsis.reachability.wiring import open_wiring

LONGEST = 8192
"""Tokens that are followed: time and memory grow with their square."""
EXAMPLE = """\
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


def _arguments(parser: argparse.ArgumentParser) -> None:
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
        found = tuple(int(token) for token in text.split(",")) if "," in text else int(text)
    except ValueError:
        raise UserError(f"--tokens {text!r} is neither a number of tokens nor ids such as 1,17,4") from None
    n = found if isinstance(found, int) else len(found)
    if n > LONGEST:
        raise UserError(f"--tokens: {n} are too many to go through; ask of at most {LONGEST} tokens")
    return found


def _run(chosen: argparse.Namespace) -> int:
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


REACH = Command(
    "reach",
    "Say whether an edit can change a readout at all, from the wiring alone.",
    EXAMPLE + "\n" + (selection.__doc__ or "").partition("\n\n")[2],
    _arguments,
    _run,
)
