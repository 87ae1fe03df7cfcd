"""Directions that edits are held against: that of a token, and random ones matched to what an edit writes."""

import torch
from torch.nn.functional import normalize

from prolepsis.subject import Subject
from prolepsis.writes import Writes

Tensor = torch.Tensor


def unembedding_direction(subject: Subject, token: int) -> Tensor:
    """Unit row [d] that raises the logit of ``token`` most, against the mean over the vocabulary."""
    direction: Tensor = normalize(subject.unembedding[token].float() - subject.once(_mean_unembedding), dim=0)
    return direction


def _mean_unembedding(subject: Subject) -> Tensor:
    """The mean row [d] of the unembedding in float32, without a copy of all rows on a GPU."""
    return subject.unembedding.mean(0, dtype=torch.float32)


def matched_random(vectors: Writes, direction: Tensor, seed: int) -> dict[int, Tensor]:
    """Random vectors with the norm of each of ``vectors`` [d] and its projection on the unit row ``direction``.

    One random direction serves all layers, as one feature does. Layers whose vector is zero stay zero.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(direction), generator=generator).to(direction)
    noise = normalize(noise - (noise @ direction) * direction, dim=0)
    matched = {}
    for layer, vector in vectors.items():
        along = vector.float() @ direction
        across = (vector.float().norm() ** 2 - along**2).clamp(min=0).sqrt()
        matched[layer] = along * direction + across * noise
    return matched


def random_row(like: Tensor, seed: int) -> Tensor:
    """A random row [d] with the norm of ``like``."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(like), generator=generator).to(like)
    row: Tensor = like.norm() * normalize(noise, dim=0)
    return row
