"""``prolepsis train``: trained organisms made anew."""

import argparse
from pathlib import Path

from prolepsis.commands.bars import bars
from prolepsis.commands.command import OK, Command
from prolepsis.errors import UserError


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a trained organism, or one with -untrained for its twin")
    parser.add_argument("--seed", type=_seed, default=0, help="seed of weights and data (default 0)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write (default ./NAME)")


def _seed(text: str) -> int:
    """A seed that numpy and torch both take; raises UserError for one that is none."""
    if not (text.isdecimal() and int(text) < 2**32):
        raise UserError(f"seed {text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _run(chosen: argparse.Namespace) -> int:
    from prolepsis.organisms.train import run

    out = chosen.out or Path(chosen.name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; remove it or choose another with --out")
    with bars(f"training {chosen.name}"):
        about = run(chosen.name, out, chosen.seed)
    for score, value in about["scores"].items():
        print(f"{score:>20} {value:.3f}")
    print(f"{chosen.name} is in {out}")
    return OK


TRAIN = Command(
    "train",
    "Make a trained organism anew from its recipe.",
    "The same seed gives the same weights on the same machine; nothing is written when a score misses its bar.",
    _arguments,
    _run,
)
