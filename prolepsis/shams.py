"""Shams: what the wiring lets no edit change is measured all the same, and must not move by a bit."""

from collections.abc import Sequence

import torch

from prolepsis.edits import Row
from prolepsis.engine import CleanRun
from prolepsis.reach import reach
from prolepsis.reachability.selection import Logits, Pattern, Readout, ResidMid, ResidPost, Token, Z, supports
from prolepsis.running.generation import generate
from prolepsis.running.hooks import Read

Tensor = torch.Tensor


def moved_log_odds(clean: CleanRun, rows: Sequence[Row], token: int) -> list[float]:
    """By how many nats each row of edits moves the log-odds of ``token`` from those of the clean row in its place."""
    moved: list[float] = (clean.edit(rows).log_odds(token) - clean.unedited(rows).log_odds(token)).tolist()
    return moved


def reach_row(
    clean: CleanRun,
    varied: Row,
    readout: Readout,
    *,
    given: Row = (),
    name: str | None = None,
    claimed: bool = True,
    item: str | None = None,
) -> dict[str, object]:
    """One row of a measurement's ``reach``: whether the wiring lets ``varied`` edits change ``readout``.

    Where it does not, the readout is measured once with and without them, and ``moved`` says whether any bit of it
    differs: a sham that must not move. ``given`` edits are present in both runs. ``claimed`` says that the claim is
    about this readout, ``item`` that the row speaks for that item alone; ``name`` is how a sentence calls the row,
    the edits and the readout unless given.
    """
    answer = reach(clean.subject.wiring, supports(varied), readout, supports(given), tokens=clean.tokens)
    row: dict[str, object] = {
        "name": name or f"{', '.join(map(str, supports(varied)))} → {readout}",
        "claimed": claimed,
        "reachable": answer.answer,
        "why": answer.why,
    }
    if item is not None:
        row["item"] = item
    if not answer.answer:
        # A batch of one row has the shape of the clean run, so that equality is to be had bit for bit.
        row["moved"] = not torch.equal(_read(clean, (*given, *varied), readout), _read(clean, given, readout))
    return row


def _read(clean: CleanRun, row: Row, readout: Readout) -> Tensor:
    """The value of ``readout`` under one row of edits; a generated token stands for all up to its own."""
    match readout:
        case Token(step):
            written = generate(clean.subject, [clean.tokens], [row], max_new_tokens=step)
            return torch.tensor(written[0])
        case Logits(position):
            return clean.edit([row], Read(logits=(position,))).all_logits[0, 0]
        case ResidPost(layer, position):
            return clean.edit([row], Read(logits=(), resid_post=(layer,))).resid_post[layer][0, position]
        case ResidMid(layer, position):
            return clean.edit([row], Read(logits=(), resid_mid=(layer,))).resid_mid[layer][0, position]
        case Pattern(head, query, key):
            return clean.edit([row], Read(logits=(), patterns=((head, query),))).patterns[head, query][0, key]
        case Z(head, position):
            return clean.edit([row], Read(logits=(), z=(head,))).z[head][0, position]
