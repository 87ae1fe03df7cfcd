"""Edited runs as a paper describes them: what is varied, what is read, and what is said of it (imports no torch).

A statement "A responds to B" or "nothing changes under B" is data: the edits B, those that are there in both runs, and
the readouts A. Whether the wiring lets them respond is then computed, never written down.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from prolepsis.errors import UserError
from prolepsis.names import Head
from prolepsis.reach import check_places, reach_each
from prolepsis.reachability.selection import (
    Added,
    Readout,
    RowReplaced,
    Skipped,
    StreamReplaced,
    Support,
    parse_edits,
    parse_readout,
)
from prolepsis.reachability.wiring import Wiring, open_wiring

_ANY_HEAD = re.compile(r"L(\d+)(?:\.\.(\d+))?:H\*(.*)")
_OF_NO_HEAD = Added | RowReplaced | StreamReplaced | Skipped


@dataclass(frozen=True)
class EditedRun:
    """One edited run, and what is said to respond in it and what to stay still.

    ``wiring`` names a model of the paper, ``tokens`` counts its prompt. ``varied`` are the edits that come and go,
    ``given`` those that are there either way; ``responds`` and ``still`` are readouts. All are written as in
    :mod:`prolepsis.reachability.selection`; a readout "L17..25:H* 30->23" is any head of each of layers 17 to 25.
    """

    label: str
    wiring: str
    tokens: int
    varied: tuple[str, ...]
    given: tuple[str, ...]
    responds: tuple[str, ...]
    still: tuple[str, ...]

    def check(self) -> None:
        """Raises UserError for what is no edit, no readout, or not there in this model and prompt."""
        if not self.varied or not (self.responds or self.still):
            raise UserError("nothing is varied or nothing is read; give varied, and responds or still")
        edits = _edits((*self.varied, *self.given))
        if "H*" in "".join((*self.responds, *self.still)) and not all(isinstance(e, _OF_NO_HEAD) for e in edits):
            raise UserError("H* is any head, but an edit is about one of them; read heads by their index")
        readouts = [readout for _, readout in _readouts((*self.responds, *self.still))]
        check_places(self._wiring, edits, readouts, tokens=self.tokens)

    def rows(self) -> list[dict[str, object]]:
        """A row of reach for each readout, as :class:`prolepsis.measurement.Measurement` holds them."""
        read = [(*one, True) for one in _readouts(self.responds)] + [(*one, False) for one in _readouts(self.still)]
        found = reach_each(
            self._wiring, _edits(self.varied), [one for _, one, _ in read], _edits(self.given), tokens=self.tokens
        )
        before = f"{self.label}: " if self.label else ""
        return [
            {
                "name": f"{before}{', '.join(self.varied)} → {name}",
                "claimed": claimed,
                "reachable": answer.answer,
                "why": before + (answer.why.replace(":H0 ", ":H* ") if ":H* " in name else answer.why),
            }
            for (name, _, claimed), answer in zip(read, found, strict=True)
        ]

    @cached_property
    def _wiring(self) -> Wiring:
        return open_wiring(self.wiring)


def _edits(texts: Sequence[str]) -> list[Support]:
    return [edit for text in texts for edit in parse_edits(text)]


def _readouts(texts: Sequence[str]) -> list[tuple[str, Readout]]:
    """Each readout with its name; where no edit singles out a head, the first of a layer stands for any."""
    found = []
    for text in texts:
        match = _ANY_HEAD.fullmatch(text.strip())
        if match is None:
            readout = parse_readout(text)
            found.append((str(readout), readout))
            continue
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"readout {text!r}: layers {first}..{last} run downwards; write the lower one first")
        for layer in range(first, last + 1):
            readout = parse_readout(f"{Head(layer, 0)}{match[3]}")
            found.append((str(readout).replace(":H0", ":H*"), readout))
    return found
