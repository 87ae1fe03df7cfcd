"""Interventions as frozen values; an edit says what is changed and where, never how.

Use ``Add`` to steer, ``ReplaceRow`` to interchange a residual row, ``ReplaceStream`` to ask what one row alone carries
upwards, ``ReplaceHeadOutput`` to mediate through a head, ``FreezePattern`` to hold where a head looks but not what it
moves, ``BlockEdge`` to stop one token from seeing another in one head, ``HideKeys`` in all of a layer's (attention
knockout), and ``Skip`` to take layers out. At one layer the order is Skip, Replace, Add. Adds to one row sum; two
replacements of one row are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from prolepsis.errors import UserError
from prolepsis.names import Head

Tensor = torch.Tensor


def _check(what: str, vector: Tensor, **indices: int) -> None:
    """Refuse what no model could take: negative indices, and vectors that are not one row."""
    for name, value in indices.items():
        if value < 0:
            raise UserError(f"{what}: {name} {value} is negative; count {name}s from 0")
    if vector.dim() != 1:
        raise UserError(f"{what}: expected one row [d], got shape {list(vector.shape)}")


@dataclass(frozen=True, eq=False)
class Add:
    """Adds ``vector`` [d] to resid_post(``layer``) at ``position``."""

    layer: int
    position: int
    vector: Tensor

    def __post_init__(self) -> None:
        _check(f"Add at L{self.layer}@{self.position}", self.vector, layer=self.layer, position=self.position)


@dataclass(frozen=True, eq=False)
class ReplaceRow:
    """Sets resid_post(``layer``) at ``position`` to ``value`` [d]."""

    layer: int
    position: int
    value: Tensor

    def __post_init__(self) -> None:
        _check(f"ReplaceRow at L{self.layer}@{self.position}", self.value, layer=self.layer, position=self.position)


@dataclass(frozen=True, eq=False)
class ReplaceStream:
    """Sets resid_post(``layer``) at ``position`` to ``value`` [d] and every other row to its clean value.

    This cuts every path from edits below; it is what patching a whole activation tensor does.
    """

    layer: int
    position: int
    value: Tensor

    def __post_init__(self) -> None:
        _check(f"ReplaceStream at L{self.layer}@{self.position}", self.value, layer=self.layer, position=self.position)


@dataclass(frozen=True, eq=False)
class ReplaceHeadOutput:
    """Sets the output z of ``head`` at ``position`` to ``value`` [d_head], usually taken from another run."""

    head: Head
    position: int
    value: Tensor

    def __post_init__(self) -> None:
        _check(f"ReplaceHeadOutput {self.head}@{self.position}", self.value, position=self.position)

    @property
    def layer(self) -> int:
        return self.head.layer


@dataclass(frozen=True)
class FreezePattern:
    """Holds the attention patterns of ``heads`` at those of the clean run of the same tokens; values still move."""

    heads: tuple[Head, ...]


@dataclass(frozen=True)
class BlockEdge:
    """Hides ``key`` from ``query`` in ``head``; the pattern renormalises over what is still visible."""

    head: Head
    query: int
    key: int

    def __post_init__(self) -> None:
        if not 0 <= self.key <= self.query:
            raise UserError(f"BlockEdge {self.head}: key {self.key} is not among positions 0 to query {self.query}")

    @property
    def layer(self) -> int:
        return self.head.layer


@dataclass(frozen=True)
class HideKeys:
    """Hides ``keys`` from ``query`` in all heads of ``layer``; patterns renormalise over what is still visible."""

    layer: int
    query: int
    keys: tuple[int, ...]

    def __post_init__(self) -> None:
        for key in self.keys:
            if not 0 <= key <= self.query:
                raise UserError(f"HideKeys at L{self.layer}: key {key} is not among positions 0 to query {self.query}")


@dataclass(frozen=True)
class Skip:
    """Makes each of ``layers`` the identity."""

    layers: tuple[int, ...]


Edit = Add | ReplaceRow | ReplaceStream | ReplaceHeadOutput | FreezePattern | BlockEdge | HideKeys | Skip
Row = Sequence[Edit]
Blocking = BlockEdge | HideKeys
"""Edits by which a query sees less."""


def layers_of(edit: Edit) -> tuple[int, ...]:
    """The layers an edit acts in."""
    if isinstance(edit, Skip):
        return edit.layers
    if isinstance(edit, FreezePattern):
        return tuple(sorted({head.layer for head in edit.heads}))
    return (edit.layer,)


def heads_of(edit: Edit) -> tuple[Head, ...]:
    """The heads an edit acts on, none for residual edits."""
    if isinstance(edit, FreezePattern):
        return edit.heads
    if isinstance(edit, ReplaceHeadOutput | BlockEdge):
        return (edit.head,)
    return ()
