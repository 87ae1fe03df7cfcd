"""Which transcoder features are active where, and what a weighted set of features writes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from prolepsis.engine import CleanRun
from prolepsis.experiments.vocabulary_scan import transcoder_of
from prolepsis.hooks import Read
from prolepsis.names import Feature
from prolepsis.subject import Subject

Tensor = torch.Tensor


@dataclass(eq=False)
class Activity:
    """Feature activations and decoder rows of one subject, each computed or read once."""

    subject: Subject
    _inputs: dict[tuple[int, ...], Tensor] = field(default_factory=dict)
    _rows: dict[Feature, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def at(self, clean: CleanRun, position: int) -> Tensor:
        """Activations [L, F] of all features at ``position`` of an unedited run."""
        if clean.tokens not in self._inputs:
            layers = tuple(range(self.subject.n_layers))
            read = clean.read(Read(logits=(), resid_mid=layers)).resid_mid
            self._inputs[clean.tokens] = torch.cat([read[layer] for layer in layers])  # [L, T, d]
        rows = self._inputs[clean.tokens][:, position]
        transcoder = transcoder_of(self.subject)
        return torch.stack([transcoder.encode(layer, row) for layer, row in enumerate(rows)]).cpu()

    def writes(self, weights: Mapping[Feature, float]) -> dict[int, Tensor]:
        """What features write with these weights: layer, from the features' own to the last → vector [d]."""
        total: dict[int, Tensor] = {}
        for feature, weight in weights.items():
            if feature not in self._rows:
                self._rows[feature] = transcoder_of(self.subject).rows(feature)
            for layer, row in enumerate(self._rows[feature], start=feature.layer):
                total[layer] = total[layer] + weight * row if layer in total else weight * row
        return total


def weights_of(activations: Tensor) -> dict[Feature, float]:
    """The features of ``activations`` [L, F] that are not zero, and their values."""
    found = activations.nonzero().tolist()
    return {Feature(layer, index): float(activations[layer, index]) for layer, index in found}
