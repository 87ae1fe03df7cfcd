"""What comes before the first edit is as in a run without it: it is taken from there, not run once for every row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from prolepsis.edits import Blocking, Edit, FreezePattern, Row, Skip
from prolepsis.running.device_copies import on_device

if TYPE_CHECKING:
    from prolepsis.engine import CleanRun
    from prolepsis.running.hooks import Read

KeysAndValues = tuple[torch.Tensor, torch.Tensor]
"""Of one layer, each [1, heads, T, d_head]."""

CACHES = ("past_key_values", "past_key_value", "layer_past")
"""What layers call the cache of keys and values they are given."""
TOKENS_OF_A_CALL = 128
"""Tokens whose run through a layer takes longer than calling it once more."""


def first_positions(rows: Sequence[Row], read: "Read", n_tokens: int) -> list[int]:
    """Per row of edits the first position that has to be run: the first one that is edited or read.

    That is 0 for all where something is read inside a layer at every position.
    """
    if read.resid_mid or read.values or read.z:
        return [0] * len(rows)
    asked = [*read.logits, *(query for _, query in read.patterns)]
    latest = min((n_tokens - 1, *(position % n_tokens for position in asked)))
    return [min((latest, *map(_first_edited, row))) for row in rows]


def _first_edited(edit: Edit) -> int:
    """Skipped layers and frozen patterns are edited at every position."""
    if isinstance(edit, Skip | FreezePattern):
        return 0
    return edit.query if isinstance(edit, Blocking) else edit.position


def worth_sparing(first: int, n_rows: int) -> int:
    """The position from which a batch is run on whose rows have to be run from ``first`` on: that one, or 0.

    A row by itself is run whole: so it has the shape of the clean run, and equals it bit for bit where it may.
    """
    return first if n_rows > 1 else 0


def grouped(firsts: Sequence[int], rows: range) -> list[range]:
    """``rows`` in the batches that are worth running apart, where row r, in this order, is run from ``firsts[r]`` on.

    A batch is run from the first position of its first row on; tokens are spared where later rows begin anew.
    """
    spared = {cut: (rows.stop - cut) * (firsts[cut] - firsts[rows.start]) for cut in rows}
    cut = max(rows, key=spared.__getitem__)
    if spared[cut] <= TOKENS_OF_A_CALL:
        return [rows]
    return [*grouped(firsts, range(rows.start, cut)), *grouped(firsts, range(cut, rows.stop))]


def call_from(
    clean: "CleanRun", layer: int, first: int, n_rows: int, kept: Mapping[int, KeysAndValues]
) -> dict[str, Any]:
    """What ``layer`` is called with to run ``n_rows`` rows from ``first`` on, whose keys and values are ``kept``."""
    call = clean.calls[layer]
    if first == 0:
        return dict(call)
    keys, values = (part[:, :, :first].expand(n_rows, -1, -1, -1) for part in kept[layer])
    return {name: _from(name, value, first) for name, value in call.items()} | {clean.cache: _Before(keys, values)}


@dataclass(frozen=True, eq=False)
class _Before:
    """All that attention asks of a cache: the keys and values of what came before, with those of what is run."""

    keys: torch.Tensor
    values: torch.Tensor

    def update(self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any) -> KeysAndValues:
        """Both of them side by side, [B, heads, T, d_head]; nothing is kept for the rows of another batch."""
        return torch.cat([self.keys, keys], dim=-2), torch.cat([self.values, values], dim=-2)


def keys_and_values(clean: "CleanRun", layers: range) -> Mapping[int, KeysAndValues]:
    """Layer → keys and values of the clean run, on its device."""
    return {
        layer: (
            on_device(clean.subject, clean, ("keys", layer), clean.keys_and_values[layer][0]),
            on_device(clean.subject, clean, ("values", layer), clean.keys_and_values[layer][1]),
        )
        for layer in layers
    }


@contextmanager
def resumed(clean: "CleanRun", start: int, resid: torch.Tensor | None) -> Iterator[None]:
    """A model whose layers below ``start`` do nothing, so that this one reads ``resid`` [B, T, d]; as it was after.

    From layer 0 on nothing is handed on, and ``resid`` may be None.
    """
    subject = clean.subject
    handed_on = (resid,) if clean.tuples else resid
    below = [subject.layer(layer) for layer in range(start)]
    try:
        for module in below:
            module.forward = lambda *_, **__: handed_on
        yield
    finally:
        for module in below:
            del module.forward


def _from(name: str, value: Any, first: int) -> Any:
    """An argument of a layer without the positions before ``first``: positions, rotations, and a mask's queries."""
    if isinstance(value, tuple):
        return tuple(_from(name, part, first) for part in value)
    if name == "attention_mask":
        return None if value is None else value[..., first:, :]
    if not hasattr(value, "dim"):
        return value
    return value[first:] if value.dim() == 1 else value[:, first:]
