"""When a training has come to rest: a round of it leaves the held-out loss where it was (imports no torch)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plateau:
    """Train in rounds, until one changes the lowest held-out loss by less than ``tolerance`` (nats per token).

    A round is a whole schedule, from warm-up to the end of the cosine decay (warm restarts: Loshchilov & Hutter 2017),
    so losses are compared, and weights kept, only where they are annealed. A plateau and no value, since models that
    cannot learn the same come to rest at different losses. What has not come to rest after ``rounds`` is refused.
    """

    tolerance: float
    rounds: int

    def reached(self, losses: Sequence[float]) -> bool:
        """Whether training ends after rounds with these held-out losses; one that rose is no rest either."""
        return len(losses) > 1 and abs(improvement(losses)) < self.tolerance


def improvement(losses: Sequence[float]) -> float:
    """By how much the last of several losses is below the lowest one before; negative where it is above."""
    *before, last = losses
    return min(before) - last
