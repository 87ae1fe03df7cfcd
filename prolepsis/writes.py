"""What is added to the residual stream at one position, layer by layer, as the features of a transcoder write it."""

from collections.abc import Mapping

import torch

from prolepsis.edits import Add, Row

Tensor = torch.Tensor
Writes = Mapping[int, Tensor]
"""What is added per layer, a vector [d]."""


def summed(*parts: Writes) -> dict[int, Tensor]:
    """What several writes add together, by layer."""
    total: dict[int, Tensor] = {}
    for part in parts:
        for layer, vector in part.items():
            total[layer] = total[layer] + vector if layer in total else vector
    return {layer: total[layer] for layer in sorted(total)}


def write_at(position: int, writes: Writes, scale: float = 1.0) -> Row:
    """The edits that add ``writes``, ``scale`` times, at ``position``; none where the scale is 0."""
    if not scale:
        return []
    return [Add(layer, position, vector if scale == 1 else scale * vector) for layer, vector in sorted(writes.items())]
