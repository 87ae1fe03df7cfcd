"""Which transcoder features are active where, and what a weighted set of features writes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch

from prolepsis.engine import CleanRun
from prolepsis.names import Feature
from prolepsis.running.prompt_batch import by_length, resid_mid_of
from prolepsis.subject import Subject, transcoder_of

Tensor = torch.Tensor
Spot = tuple[tuple[int, ...], int]
"""The token ids of a prompt, and a position in it."""


@dataclass(eq=False)
class Activity:
    """Feature activations and decoder rows of one subject, each computed or read once."""

    subject: Subject
    _active: dict[Spot, Tensor] = field(default_factory=dict, repr=False)
    _rows: dict[Feature, Tensor] = field(default_factory=dict, repr=False)

    def at(self, clean: CleanRun, position: int) -> Tensor:
        """Activations [L, F] of all features at ``position`` of an unedited run."""
        return self.of((clean.tokens, position))

    def of(self, spot: Spot) -> Tensor:
        """Activations [L, F] of all features at one place of an unedited prompt."""
        self.read([spot])
        return self._active[spot].to_dense()

    @torch.no_grad()
    def read(self, spots: Iterable[Spot]) -> None:
        """Compute activations at many places at once, so that each layer's encoder is read once for all of them."""
        layers, parts = range(self.subject.n_layers), []
        asked = (spot for spot in dict.fromkeys(spots) if spot not in self._active)
        groups = by_length(asked, lambda spot: len(spot[0]))
        for group in groups:
            prompts, positions = zip(*group, strict=True)
            mid = resid_mid_of(self.subject, prompts, layers)
            parts.append(torch.stack([mid[layer][range(len(prompts)), positions] for layer in layers]))  # [L, n, d]
        if not parts:
            return
        rows = torch.cat(parts, 1)  # [L, N, d]
        # Few of a large transcoder's features are active anywhere.
        active = [self.subject.features(layer, rows[layer]).cpu().to_sparse() for layer in layers]
        self._active |= dict(zip(chain(*groups), torch.stack(active, 1), strict=True))

    def writes(self, weights: Mapping[Feature, float]) -> dict[int, Tensor]:
        """What features write with these weights: layer, from the features' own to the last → vector [d]."""
        missing = [feature for feature in weights if feature not in self._rows]
        self._rows |= transcoder_of(self.subject).rows_of(missing)
        total: dict[int, Tensor] = {}
        for layer in sorted({feature.layer for feature in weights}):
            features = [feature for feature in weights if feature.layer == layer]
            rows = torch.stack([self._rows[feature] for feature in features])  # [n, L - l, d]
            written = torch.tensordot(torch.tensor([weights[feature] for feature in features]).to(rows), rows, 1)
            for at, vector in enumerate(written, start=layer):
                total[at] = total[at] + vector if at in total else vector
        return total


def weights_of(activations: Tensor) -> dict[Feature, float]:
    """The features of ``activations`` [L, F] that are not zero, and their values."""
    places = activations.nonzero()
    values = activations[tuple(places.T)].tolist()
    return {Feature(layer, index): value for (layer, index), value in zip(places.tolist(), values, strict=True)}
