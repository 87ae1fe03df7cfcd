"""Many prompts side by side: what is read from unedited runs of different texts."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from prolepsis.running.batching import TOKENS_PER_BATCH, in_batches, row_bytes
from prolepsis.running.hooks import Pass, Read, applied
from prolepsis.running.plan import Plan
from prolepsis.subject import Subject

Tensor = torch.Tensor
Item = TypeVar("Item")


def by_length(items: Iterable[Item], length: Callable[[Item], int]) -> list[list[Item]]:
    """The items whose prompts have equal ``length`` together: so they are run side by side."""
    alike: dict[int, list[Item]] = {}
    for item in items:
        alike.setdefault(length(item), []).append(item)
    return list(alike.values())


@torch.no_grad()
def passes(subject: Subject, prompts: Sequence[Sequence[int]], read: Read) -> list[Pass]:
    """What ``read`` asks for inside the layers, batch by batch; ``prompts`` are token ids of one length T."""
    tokens = torch.tensor([list(prompt) for prompt in prompts], device=subject.device)

    def run(rows: range) -> Pass:
        batch = tokens[rows.start : rows.stop]
        state = Pass(Plan(len(batch), {}), batch, read=read)
        with applied(subject, state, own_masks=subject.mask_rule is not None):
            subject.backbone(input_ids=batch, use_cache=False)
        return state

    n_tokens, n_streams = tokens.shape[1], len(read.resid_post) + len(read.resid_mid)
    each = row_bytes(subject, n_tokens, n_logits=0, n_streams=n_streams)
    return in_batches(subject, len(tokens), each, run, max(1, TOKENS_PER_BATCH[subject.device.type] // n_tokens))


def resid_mid_of(subject: Subject, prompts: Sequence[Sequence[int]], layers: Sequence[int]) -> dict[int, Tensor]:
    """resid_mid of ``layers``, each [prompts, T, d]; ``prompts`` are token ids of one length T."""
    found = [state.resid_mid for state in passes(subject, prompts, Read(logits=(), resid_mid=tuple(layers)))]
    return {layer: torch.cat([each[layer] for each in found]) for layer in layers}


@torch.no_grad()
def last_states(subject: Subject, prompts: Sequence[Sequence[int]]) -> Tensor:
    """resid_post of the last layer at the last token of each prompt, [prompts, d]; equal lengths run side by side."""
    states = torch.empty(len(prompts), subject.d_model, dtype=subject.dtype, device=subject.device)
    last = subject.n_layers - 1
    for alike in by_length(range(len(prompts)), lambda index: len(prompts[index])):
        found = passes(subject, [prompts[index] for index in alike], Read(logits=(), resid_post=(last,)))
        states[alike] = torch.cat([state.resid_post[last][:, -1] for state in found])
    return states
