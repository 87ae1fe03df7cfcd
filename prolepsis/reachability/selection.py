"""Names of places in a run, without tensors: what an edit touches, what is read, and how both are written.

    L23@31  L23..25@31        adds to resid_post of layer 23 (of layers 23 to 25) at position 31
    L23@0..30                 adds there at each of positions 0 to 30
    replace L4@7              that residual row replaced
    stream L4@7               that residual row replaced and every other row of the layer clean
    head L21:H5@31            that head's output z replaced at position 31
    freeze L21:H5             that head's pattern held at the clean run's
    block L21:H5 31->23       key 23 hidden from query 31 in that head
    hide L21 31->23           key 23 hidden from query 31 in all heads of that layer
    skip L3  skip L3..5       the layer is the identity

    logits@31                 next-token logits at position 31
    token+3                   the third token generated after the prompt
    L4@7  mid L4@7            resid_post, resid_mid of layer 4 at position 7
    L21:H5 31->23             the pattern entry of query 31 and key 23
    z L21:H5@31               that head's output at position 31

Layers, heads and positions count from 0; ``->`` may also be written ``→``.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prolepsis.errors import UserError
from prolepsis.names import Head

if TYPE_CHECKING:
    from prolepsis.edits import Edit


@dataclass(frozen=True)
class Added:
    """A vector added to resid_post(``layer``) at ``position``."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"L{self.layer}@{self.position}"


@dataclass(frozen=True)
class RowReplaced:
    """resid_post(``layer``) at ``position`` set to a value."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"replace L{self.layer}@{self.position}"


@dataclass(frozen=True)
class StreamReplaced:
    """resid_post(``layer``) at ``position`` set to a value, and every other row to its clean value."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"stream L{self.layer}@{self.position}"


@dataclass(frozen=True)
class HeadReplaced:
    """z of ``head`` at ``position`` set to a value."""

    head: Head
    position: int

    @property
    def layer(self) -> int:
        return self.head.layer

    def __str__(self) -> str:
        return f"head {self.head}@{self.position}"


@dataclass(frozen=True)
class Frozen:
    """The pattern of ``head`` held at the clean run's; its values still move."""

    head: Head

    @property
    def layer(self) -> int:
        return self.head.layer

    def __str__(self) -> str:
        return f"freeze {self.head}"


@dataclass(frozen=True)
class Blocked:
    """``key`` hidden from ``query`` in ``head``."""

    head: Head
    query: int
    key: int

    @property
    def layer(self) -> int:
        return self.head.layer

    def __str__(self) -> str:
        return f"block {self.head} {self.query}→{self.key}"


@dataclass(frozen=True)
class Hidden:
    """``key`` hidden from ``query`` in all heads of ``layer``."""

    layer: int
    query: int
    key: int

    def __str__(self) -> str:
        return f"hide L{self.layer} {self.query}→{self.key}"


@dataclass(frozen=True)
class Skipped:
    """``layer`` made the identity."""

    layer: int

    def __str__(self) -> str:
        return f"skip L{self.layer}"


Support = Added | RowReplaced | StreamReplaced | HeadReplaced | Frozen | Blocked | Hidden | Skipped


@dataclass(frozen=True)
class Logits:
    """Next-token logits at ``position``."""

    position: int

    def __str__(self) -> str:
        return f"logits@{self.position}"


@dataclass(frozen=True)
class Token:
    """The ``step``-th generated token after the prompt, counted from 1."""

    step: int

    def __str__(self) -> str:
        return f"token+{self.step}"


@dataclass(frozen=True)
class ResidPost:
    """resid_post(``layer``) at ``position``."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"L{self.layer}@{self.position}"


@dataclass(frozen=True)
class ResidMid:
    """resid_mid(``layer``) at ``position``: after attention, before the MLP."""

    layer: int
    position: int

    def __str__(self) -> str:
        return f"mid L{self.layer}@{self.position}"


@dataclass(frozen=True)
class Pattern:
    """The weight with which ``query`` attends to ``key`` in ``head``."""

    head: Head
    query: int
    key: int

    @property
    def layer(self) -> int:
        return self.head.layer

    def __str__(self) -> str:
        return f"{self.head} {self.query}→{self.key}"


@dataclass(frozen=True)
class Z:
    """The output of ``head`` at ``position``, before the output projection."""

    head: Head
    position: int

    @property
    def layer(self) -> int:
        return self.head.layer

    def __str__(self) -> str:
        return f"z {self.head}@{self.position}"


Readout = Logits | Token | ResidPost | ResidMid | Pattern | Z


def supports(edits: Iterable["Edit"]) -> tuple[Support, ...]:
    """What ``edits`` touch, without their tensors."""
    from prolepsis import edits as kinds

    found: list[Support] = []
    for edit in edits:
        match edit:
            case kinds.Add(layer=layer, position=position):
                found.append(Added(layer, position))
            case kinds.ReplaceRow(layer=layer, position=position):
                found.append(RowReplaced(layer, position))
            case kinds.ReplaceStream(layer=layer, position=position):
                found.append(StreamReplaced(layer, position))
            case kinds.ReplaceHeadOutput(head=head, position=position):
                found.append(HeadReplaced(head, position))
            case kinds.FreezePattern(heads=heads):
                found.extend(map(Frozen, heads))
            case kinds.BlockEdge(head=head, query=query, key=key):
                found.append(Blocked(head, query, key))
            case kinds.HideKeys(layer=layer, query=query, keys=keys):
                found.extend(Hidden(layer, query, key) for key in keys)
            case kinds.Skip(layers=layers):
                found.extend(map(Skipped, layers))
    return tuple(found)


_LAYER, _RANGE = r"L(?P<layer>\d+)", r"L(?P<layer>\d+)(?:\.\.(?P<last>\d+))?"
_HEAD = r"(?P<head>L\d+:H\d+)"
_AT, _EDGE = r" *@ *(?P<at>\d+)", r" +(?P<query>\d+) *(?:->|→) *(?P<key>\d+)"
_TO = r"(?:\.\.(?P<to>\d+))?"


def _layers(match: re.Match[str]) -> range:
    return _upwards(match, "layer", "last", "layers")


def _positions(match: re.Match[str]) -> range:
    return _upwards(match, "at", "to", "positions")


def _upwards(match: re.Match[str], first_name: str, last_name: str, what: str) -> range:
    first = int(match[first_name])
    last = int(match[last_name] or first)
    if last < first:
        raise UserError(f"{match[0]!r}: {what} {first}..{last} run downwards; write the lower one first")
    return range(first, last + 1)


_EDITS: dict[str, Callable[[re.Match[str]], tuple[Support, ...]]] = {
    _RANGE + _AT + _TO: lambda m: tuple(Added(layer, at) for at in _positions(m) for layer in _layers(m)),
    "replace +" + _RANGE + _AT: lambda m: tuple(RowReplaced(layer, int(m["at"])) for layer in _layers(m)),
    "stream +" + _RANGE + _AT: lambda m: tuple(StreamReplaced(layer, int(m["at"])) for layer in _layers(m)),
    "skip +" + _RANGE: lambda m: tuple(Skipped(layer) for layer in _layers(m)),
    "head +" + _HEAD + _AT: lambda m: (HeadReplaced(Head.parse(m["head"]), int(m["at"])),),
    "freeze +" + _HEAD: lambda m: (Frozen(Head.parse(m["head"])),),
    "block +" + _HEAD + _EDGE: lambda m: (Blocked(Head.parse(m["head"]), int(m["query"]), int(m["key"])),),
    "hide +" + _LAYER + _EDGE: lambda m: (Hidden(int(m["layer"]), int(m["query"]), int(m["key"])),),
}

_READOUTS: dict[str, Callable[[re.Match[str]], Readout]] = {
    "logits" + _AT: lambda m: Logits(int(m["at"])),
    r"token *\+ *(?P<step>\d+)": lambda m: Token(int(m["step"])),
    _LAYER + _AT: lambda m: ResidPost(int(m["layer"]), int(m["at"])),
    "mid +" + _LAYER + _AT: lambda m: ResidMid(int(m["layer"]), int(m["at"])),
    "z +" + _HEAD + _AT: lambda m: Z(Head.parse(m["head"]), int(m["at"])),
    _HEAD + _EDGE: lambda m: Pattern(Head.parse(m["head"]), int(m["query"]), int(m["key"])),
}


def parse_edits(text: str) -> tuple[Support, ...]:
    """The supports one selection stands for, a range of layers giving several; UserError for anything else."""
    for form, made_from in _EDITS.items():
        match = re.fullmatch(form, text.strip())
        if match is not None:
            return made_from(match)
    raise UserError(
        f"edit {text!r} is none of: L23@31, L23..25@31, L23@0..30, replace L4@7, stream L4@7, head L21:H5@31, "
        "freeze L21:H5, block L21:H5 31->23, hide L21 31->23, skip L3"
    )


def parse_readout(text: str) -> Readout:
    """The readout one selection stands for; UserError for anything else."""
    for form, made_from in _READOUTS.items():
        match = re.fullmatch(form, text.strip())
        if match is not None:
            return made_from(match)
    raise UserError(f"readout {text!r} is none of: logits@31, token+3, L4@7, mid L4@7, z L21:H5@31, L21:H5 31->23")
