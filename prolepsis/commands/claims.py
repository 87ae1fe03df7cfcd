"""``prolepsis claims``: what stands in the ledger (imports no torch)."""

import argparse
import re
import shutil
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import get_args

from prolepsis import ledger
from prolepsis.commands.command import OK, Command, columns
from prolepsis.errors import UserError
from prolepsis.ledger import Claim, Tier, Variant
from prolepsis.report.pins import read_pins

EXPECTED = ledger.LEDGER.parent / "expected.toml"
SHORT = {"property": "prop", "organism": "org", "archive": "arch"}
"""Tiers whose names are cut so that three of them fit in a column."""
READABLE = 24
"""Columns a statement needs; on narrower terminals other columns are left out, the last first."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="list|show")
    every = actions.add_parser("list", help="one line for each claim", description="Print one line for each claim.")
    every.add_argument("--family", help="only this family: q2, intervals, …")
    every.add_argument("--tier", choices=get_args(Tier), help="only what is measured in this tier")
    every.add_argument("--variant", choices=get_args(Variant), help="as the paper ran it, or as it should be asked")
    every.add_argument("--source", metavar="TEXT", help="only claims of other papers whose name holds this text")
    every.set_defaults(action=_list)
    one = actions.add_parser("show", help="all about one claim", description="Print all that is known of one claim.")
    one.add_argument("id", metavar="ID", help="as in the list: B06")
    one.add_argument("--variant", choices=get_args(Variant), help="only this variant (default: each there is)")
    one.set_defaults(action=_show)


def _run(chosen: argparse.Namespace) -> int:
    for line in chosen.action(chosen):
        print(line)
    return OK


def _list(chosen: argparse.Namespace) -> Iterator[str]:
    every = ledger.rows()
    _check("family", chosen.family, sorted({claim.family for claim in every}), exact=True)
    _check("source", chosen.source, sorted({claim.source for claim in every if claim.source}), exact=False)
    claims = [
        claim
        for claim in ledger.rows(chosen.family, chosen.variant, chosen.tier)
        if chosen.source is None or chosen.source.casefold() in claim.source.casefold()
    ]
    if not claims:
        yield "no claim is all of this"
    yield from lines(claims, columns())


def _check(what: str, asked: str | None, known: Sequence[str], *, exact: bool) -> None:
    """Raises UserError when no row has the ``asked`` family or source."""
    if asked is None or any(asked == name if exact else asked.casefold() in name.casefold() for name in known):
        return
    raise UserError(f"no claim has {what} {asked!r}; there are {', '.join(known)}")


def lines(claims: Sequence[Claim], width: int) -> list[str]:
    """One line per claim, none wider than ``width``: id, variant, tiers, kind, family, and the statement cut to fit."""
    cells = [
        (claim.id, claim.variant, ",".join(SHORT.get(tier, tier) for tier in claim.tiers), claim.kind, claim.family)
        for claim in claims
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    while len(widths) > 1 and width - sum(widths) - len(widths) < READABLE:
        widths.pop()
    room = max(1, width - sum(widths) - len(widths))
    return [
        " ".join([*(text.ljust(columns) for text, columns in zip(row, widths, strict=False)), _cut(claim, room)])[
            :width
        ]
        for row, claim in zip(cells, claims, strict=True)
    ]


def _cut(claim: Claim, room: int) -> str:
    return claim.statement if len(claim.statement) <= room else claim.statement[: room - 1].rstrip() + "…"


def _show(chosen: argparse.Namespace) -> Iterator[str]:
    from prolepsis.commands.claim_text import describe

    every = ledger.rows()
    found = [claim for claim in every if claim.id == chosen.id and chosen.variant in (None, claim.variant)]
    if not found:
        raise UserError(_unknown(chosen.id, chosen.variant, every))
    pins = read_pins(EXPECTED, {claim.key for claim in every})
    width = shutil.get_terminal_size().columns
    for number, claim in enumerate(found):
        if number:
            yield ""
        yield from describe(claim, every, pins, width)


def _unknown(asked: str, variant: str | None, every: Sequence[Claim]) -> str:
    """What to say of an id that no row has, or none in this variant."""
    variants = [claim.variant for claim in every if claim.id == asked]
    if variants:
        return f"claim {asked} has no variant {variant}; it is there as {' and '.join(variants)}"
    ids = list(dict.fromkeys(claim.id for claim in every))
    padded = re.sub(r"\d+", lambda digits: digits[0].zfill(2), asked.upper())
    near = get_close_matches(padded, [name.upper() for name in ids], cutoff=0.5)
    named = ", ".join(name for match in near for name in ids if name.upper() == match)
    return f"no claim {asked!r}; " + (f"near it: {named}" if named else "prolepsis claims list names them all")


CLAIMS = Command(
    "claims",
    "List the claims of the ledger, or show all about one.",
    "prolepsis claims list --family q2        what is asked about the planning site\n"
    "prolepsis claims list --source arXiv     what other papers say\n"
    "prolepsis claims show B06                published values, criterion, controls, pinned verdicts, how to run it",
    _arguments,
    _run,
)
