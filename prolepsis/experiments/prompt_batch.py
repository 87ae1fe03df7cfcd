"""Many prompts side by side: what is read from unedited runs of different texts of one length."""

from collections.abc import Iterator, Sequence

import torch

from prolepsis.engine import TOKENS_PER_BATCH
from prolepsis.hooks import Pass, Read, applied
from prolepsis.plan import Plan
from prolepsis.subject import Subject

Tensor = torch.Tensor


def passes(subject: Subject, prompts: Sequence[Sequence[int]], read: Read) -> Iterator[Pass]:
    """What ``read`` asks for inside the layers, batch by batch; ``prompts`` are token ids of one length T."""
    backbone = subject.model.get_submodule(subject.family.layers.rpartition(".")[0])
    tokens = torch.tensor([list(prompt) for prompt in prompts], device=subject.device)
    for batch in torch.split(tokens, max(1, TOKENS_PER_BATCH[subject.device.type] // tokens.shape[1])):
        state = Pass(Plan(len(batch), {}), batch, read=read)
        with torch.no_grad(), applied(subject, state, own_masks=subject.mask_rule is not None):
            backbone(input_ids=batch, use_cache=False)
        yield state


def resid_mid_of(subject: Subject, prompts: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Tensor]:
    """resid_mid of ``layers``, each [prompts, T, d]; ``prompts`` are token ids of one length T."""
    found = [state.resid_mid for state in passes(subject, prompts, Read(logits=(), resid_mid=tuple(layers)))]
    return {layer: torch.cat([each[layer] for each in found]) for layer in layers}
