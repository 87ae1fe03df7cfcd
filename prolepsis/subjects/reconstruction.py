"""Does a transcoder read where it says? How well it reconstructs its model's MLPs from each place it could read."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch.nn.functional import cosine_similarity

from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.layouts.layout import INPUT_HOOKS
from prolepsis.running.hooks import Read
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor

PLACES = (*INPUT_HOOKS, "hook_resid_pre")
"""Where a transcoder may read, and, as a place nobody means, the stream before the attention."""
LEAST = 0.3
"""Mean cosine below which nothing is reconstructed: what random features make comes to about 0."""


@dataclass(frozen=True)
class Reconstruction:
    """Place → mean cosine per layer of reconstructed and true MLP outputs, over all tokens but the first."""

    declared: str
    cosines: dict[str, list[float]]

    @property
    def best(self) -> str | None:
        """The place from which the mean over layers is largest; None where that is below :data:`LEAST`."""
        best = max(self.cosines, key=lambda place: sum(self.cosines[place]))
        return best if fmean(self.cosines[best]) >= LEAST else None


@torch.no_grad()
def reconstruction(subject: Subject, texts: Sequence[str]) -> Reconstruction:
    """Reconstruct the MLP outputs of ``subject`` on ``texts`` from every one of :data:`PLACES`.

    The first token is left out: its activations are of another size in most models. Raises UserError without a
    transcoder or without any other token.
    """
    if subject.transcoder is None:
        raise UserError(f"{subject.id}: it has no transcoder to check")
    inputs: dict[str, list[Tensor]] = {place: [] for place in PLACES}
    outputs: list[Tensor] = []
    for text in watched(texts, "texts"):
        read, true = _inputs_and_outputs(subject, subject.encode(text))
        outputs.append(true)
        for place in PLACES:
            inputs[place].append(read[place])
    true = torch.cat(outputs, dim=1)  # [L, N, d]
    if true.shape[1] == 0:
        raise UserError(f"{subject.id}: the texts have no token after the first; give longer ones")
    found = {}
    for place, rows in watched(list(inputs.items()), "places"):
        made = subject.transcoder.reconstruct(torch.cat(rows, dim=1))
        found[place] = cosine_similarity(made.to(true), true, dim=-1)
    return Reconstruction(subject.transcoder.input_hook, {place: c.mean(1).tolist() for place, c in found.items()})


def _inputs_and_outputs(subject: Subject, tokens: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
    """What could be read at each place, and the MLP outputs; each [L, T - 1, d]."""
    layers = range(subject.n_layers)
    clean, outputs = clean_run(subject, tokens), []

    def keep(_: Any, __: Any, out: Any) -> None:
        # A mixture of experts returns its routing beside its output.
        outputs.append((out[0] if isinstance(out, tuple) else out)[0, 1:])

    handles = [subject.part(layer, "mlp_out").register_forward_hook(keep) for layer in layers]
    try:
        mid = clean.read(Read(logits=(), resid_mid=tuple(layers))).resid_mid
    finally:
        for handle in handles:
            handle.remove()
    rows = torch.stack([mid[layer][0, 1:] for layer in layers])
    read: dict[str, Tensor] = {
        hook: torch.stack([subject.read_at(hook, at, rows[at]) for at in layers]) for hook in INPUT_HOOKS
    }
    return read | {"hook_resid_pre": clean.resid[:-1, 1:]}, torch.stack(outputs)
