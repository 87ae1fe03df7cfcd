"""What is read from a batch of edited rows, and batches put together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from prolepsis.names import Head

Tensor = torch.Tensor

INSIDE = ("resid_post", "resid_mid", "patterns", "values", "z")
"""The readouts other than logits."""
DOUBLES_AT_ONCE = 1 << 24
"""Numbers that are turned into float64 at a time."""


@dataclass
class Readings:
    """What was read from a batch of B rows on T tokens; every tensor has the rows as its first axis.

    ``logits`` [B, positions asked, V] after the final softcap, ``resid_post``/``resid_mid`` by layer [B, T, d],
    ``patterns`` by (head, query) [B, T], ``values`` and ``z`` by head [B, T, d_head]; z is pattern times values.
    """

    logits: Tensor | None = None
    resid_post: dict[int, Tensor] = field(default_factory=dict)
    resid_mid: dict[int, Tensor] = field(default_factory=dict)
    patterns: dict[tuple[Head, int], Tensor] = field(default_factory=dict)
    values: dict[Head, Tensor] = field(default_factory=dict)
    z: dict[Head, Tensor] = field(default_factory=dict)

    @property
    def all_logits(self) -> Tensor:
        """Logits [B, positions asked, V]; raises ValueError when none were asked for."""
        if self.logits is None:
            raise ValueError("no logits were read; ask for them in Read(logits=…)")
        return self.logits

    @property
    def last_logits(self) -> Tensor:
        """Logits [B, V] of the last position asked for."""
        return self.all_logits[:, -1]

    def probabilities(self) -> Tensor:
        """Next-token probabilities [B, V]: float32 softmax of the last position asked for."""
        return self.last_logits.float().softmax(-1)

    def log_odds(self, token: int | Sequence[int]) -> Tensor:
        """Log-odds ln p/(1-p) of ``token`` in nats [B], in float64 from the logits, so that it never saturates.

        ``token`` is one for all rows, or one for each of them.
        """
        logits = self.last_logits
        tokens = torch.tensor(token, device=logits.device).expand(len(logits))  # [B]
        some = max(1, DOUBLES_AT_ONCE // logits.shape[-1])
        parts = zip(torch.split(logits, some), torch.split(tokens, some), strict=True)
        return torch.cat([log_odds(rows, of) for rows, of in parts])


def joined(parts: list[Readings], order: Sequence[int], device: torch.device) -> Readings:
    """One batch out of its chunks, whose rows stand in ``order``."""
    sorted_places = sorted(range(len(order)), key=order.__getitem__)
    in_order = sorted_places == list(range(len(order)))
    places = torch.tensor(sorted_places, device=device)

    def in_place(rows: Tensor) -> Tensor:
        return rows if in_order else rows[places]

    def all_of(name: str) -> dict[Any, Tensor]:
        return {key: in_place(_whole([getattr(part, name)[key] for part in parts])) for key in getattr(parts[0], name)}

    logits = [part.logits for part in parts if part.logits is not None]
    return Readings(in_place(_whole(logits)) if logits else None, **{name: all_of(name) for name in INSIDE})


def _whole(chunks: list[Tensor]) -> Tensor:
    """One chunk by itself is not copied: it may be the largest tensor there is."""
    return chunks[0] if len(chunks) == 1 else torch.cat(chunks)


def log_odds(logits: Tensor, tokens: Tensor) -> Tensor:
    """Log-odds ln p/(1-p) in nats [B] of one of ``tokens`` [B] per row of ``logits`` [B, V], in float64."""
    # The only copy that is made: logits may be the largest tensor there is.
    others = logits.to(torch.float64, copy=True)
    asked = others.gather(1, tokens[:, None])
    return asked[:, 0] - others.scatter_(1, tokens[:, None], float("-inf")).logsumexp(-1)
