"""The tokens a direction points at most: its largest cosines with every row of a vocabulary, exactly."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

Tensor = torch.Tensor

BLOCK = 128
"""Cosines whose largest is looked at before they are."""
HALVES_ON = frozenset({"cuda"})
"""Devices that multiply float16 many times faster than float32."""
ASTRAY = 2**-8
"""What a cosine of two unit rows in float16 is off at most.

Rounding both factors and the result takes 2**-10 + 2**-11, whatever the width, and summing in float32 d * 2**-24 at
most, where a GPU does (:mod:`prolepsis.subjects.precision`); this is twice as much for d up to 6 000.
"""
ROWS_AT_ONCE = 1 << 13
"""Rows of a vocabulary that are brought to unit length at a time."""
LEFT_OVER = 64
"""Cosines beyond eight times those asked for that are computed again."""


def computed_again(k: int) -> int:
    """How many cosines of a direction are computed in float32 where the ``k`` largest in float16 are not trusted."""
    return 8 * k + LEFT_OVER


@dataclass(frozen=True)
class Vocabulary:
    """The directions of a vocabulary: rows of an unembedding [V, d], of any length.

    ``units`` are the same rows at unit length, in float16 on devices where that is much faster, else in float32.
    """

    rows: Tensor
    units: Tensor

    @classmethod
    def of(cls, unembedding: Tensor) -> "Vocabulary":
        """The vocabulary whose words an unembedding [V, d] writes."""
        dtype = torch.float16 if unembedding.device.type in HALVES_ON else torch.float32
        units = torch.empty_like(unembedding, dtype=dtype)
        for kept, made in zip(torch.split(units, ROWS_AT_ONCE), _unit_rows(unembedding), strict=True):
            kept.copy_(made)
        return cls(unembedding, units)

    def nearest(self, directions: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """Per row of ``directions`` [n, d] its ``k`` largest cosines with a token, and those tokens.

        Both [n, k], the largest first; cosines are of float32, on every device.
        """
        directions = normalize(directions.to(self.rows.device).float(), dim=-1)
        if self.units.dtype == torch.float32:
            cosines = directions @ self.units.T  # [n, V]
            return cosines.max(-1, keepdim=True) if k == 1 else largest(cosines, k)
        return self._refined(directions, k)

    def pointing_at(self, directions: Tensor, tokens: Tensor, least: float) -> tuple[Tensor, Tensor]:
        """Per row of ``directions`` [n, d] its largest cosine, and the token it is with, if that may count.

        It counts where it is ``least`` or more and with one of ``tokens``. Both [n]; cosines that do not may be 0. Only
        directions that are near one of ``tokens`` are held against all.
        """
        few = self.units[tokens]
        units = normalize(directions.to(few.device).float(), dim=-1).to(few.dtype)
        close = ((units @ few.T).amax(-1).float() >= least - ASTRAY).nonzero()[:, 0]
        cosine, token = directions.new_zeros(len(directions)), tokens.new_zeros(len(directions))
        if len(close):
            found, at = self.nearest(directions[close])
            cosine[close], token[close] = found[:, 0], at[:, 0]
        return cosine, token

    def _refined(self, directions: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """What sorting all cosines gives, from those that are among the largest in float16 too.

        No token whose cosine there is smaller than the k-th by more than both may be off is among the k nearest.
        """
        near, places = largest(directions.half() @ self.units.T, min(len(self.rows), computed_again(k)))
        missed = near[:, -1].float() >= near[:, k - 1].float() - 2 * ASTRAY
        cosines = torch.bmm(normalize(self.rows[places].float(), dim=-1), directions[..., None])[..., 0]
        found, order = cosines.topk(k, dim=-1)
        tokens = places.gather(1, order)
        if near.shape[1] < len(self.rows) and missed.any():
            cosines = torch.cat([directions[missed] @ units.T for units in _unit_rows(self.rows)], dim=1)
            found[missed], tokens[missed] = largest(cosines, k)
        return found, tokens


def _unit_rows(rows: Tensor) -> Iterator[Tensor]:
    """The rows at unit length in float32, a block of them after the other."""
    for block in torch.split(rows, ROWS_AT_ONCE):
        yield normalize(block.float(), dim=-1)


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest of each row [n, V] in order and where they stand, both [n, k]; exact, and fast for large V.

    No value above the ``k`` largest can lie outside the ``k`` blocks with the largest maxima, so only these are sorted.
    """
    n, size = values.shape
    blocks = size // BLOCK
    if blocks <= k:
        return values.topk(k, dim=-1)
    split = values[:, : blocks * BLOCK].view(n, blocks, BLOCK)
    chosen = split.amax(-1).topk(k, dim=-1).indices  # [n, k]
    inside = chosen[..., None] * BLOCK + torch.arange(BLOCK, device=values.device)  # [n, k, BLOCK]
    rest = torch.arange(blocks * BLOCK, size, device=values.device).expand(n, -1)
    places = torch.cat([inside.flatten(1), rest], dim=1)
    found, order = values.gather(1, places).topk(k, dim=-1)
    return found, places.gather(1, order)
