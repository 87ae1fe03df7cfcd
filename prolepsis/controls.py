"""Control arms every experiment can run: matched directions, and the same measurement on control subjects."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch.nn.functional import normalize

from prolepsis.loading import load_subject
from prolepsis.subject import Subject

Tensor = torch.Tensor
Result = TypeVar("Result")

_memo: dict[tuple[str, str], object] = {}


def once(subject: Subject, measure: Callable[[Subject], Result]) -> Result:
    """``measure(subject)``, made once per subject: control subjects are measured in their own right too."""
    key = (subject.digest, f"{measure.__module__}.{measure.__qualname__}")
    if key not in _memo:
        _memo[key] = measure(subject)
    return _memo[key]  # type: ignore[return-value]


def control_arms(
    subject: Subject, measure: Callable[[Subject], Mapping[str, float]], controls: Mapping[str, str | None]
) -> dict[str, Mapping[str, float]]:
    """The very same measurement on control subjects: arm name → values, ``controls`` being arm name → subject id.

    Each control subject gets its own choice of site, features and dose. Arms without a control subject are absent.
    """
    return {
        name: once(load_subject(control, str(subject.device), subject.dtype), measure)
        for name, control in controls.items()
        if control is not None
    }


def mechanism_controls(subject: Subject) -> dict[str, str | None]:
    """The fair nulls for a mechanism: no training at all, and the same behaviour by another mechanism."""
    return {"untrained twin": subject.twin, "same behaviour": subject.same_behaviour}


def unembedding_direction(subject: Subject, token: int) -> Tensor:
    """Unit row [d] that raises the logit of ``token`` most, against the mean over the vocabulary."""
    unembedding = subject.unembedding.float()
    direction: Tensor = normalize(unembedding[token] - unembedding.mean(0), dim=0)
    return direction


def matched_random(vectors: Mapping[int, Tensor], direction: Tensor, seed: int) -> dict[int, Tensor]:
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
