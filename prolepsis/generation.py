"""Greedy and sampled generation under edits, with a KV cache."""

from collections.abc import Collection, Sequence

import torch
from transformers import DynamicCache

from prolepsis.edits import FreezePattern, ReplaceStream, Row
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.hooks import Pass, Read, applied
from prolepsis.plan import plan_rows
from prolepsis.subject import Subject

Tensor = torch.Tensor


@torch.no_grad()
def generate(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    stop: Collection[int] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Continue each prompt under its row of edits; returns the new tokens of each, a stop token included.

    ``prompts`` has one prompt per row, all of one length. Edits act at their position once, when that position is first
    run; what they write stays in the cache. Patterns are frozen and streams replaced for the prompt's positions only,
    and only where all prompts are the same: generated tokens have no clean run. ``temperature`` 0 is greedy; otherwise
    tokens are drawn with ``seed``. Raises UserError when prompts differ in length or the model does not take that many.
    """
    length = len(prompts[0])
    if len(prompts) != len(rows) or any(len(prompt) != length for prompt in prompts):
        raise UserError(f"{subject.id}: generation takes one prompt per row of edits, all of one length")
    total, limit = length + max_new_tokens, int(subject.config.max_position_embeddings)
    if total > limit:
        raise UserError(
            f"{subject.id}: {total} tokens are more than the model takes ({limit}); ask for fewer new tokens"
        )
    if any(isinstance(edit, ReplaceStream) and edit.position >= length for edits in rows for edit in edits):
        raise UserError(f"{subject.id}: a stream can be replaced at the prompt's positions only, 0 to {length - 1}")
    plan = plan_rows(subject, rows, total)
    state = Pass(plan, torch.tensor([list(prompt) for prompt in prompts], device=subject.device))
    if any(isinstance(edit, FreezePattern | ReplaceStream) for edits in rows for edit in edits):
        if any(list(prompt) != list(prompts[0]) for prompt in prompts):
            raise UserError(f"{subject.id}: frozen patterns and replaced streams need one prompt for all rows")
        state.clean = clean_run(subject, prompts[0]).held_by(plan)
    last_layer = subject.n_layers - 1
    state.read = Read(logits=(), resid_post=(last_layer,))
    generator = torch.Generator().manual_seed(seed)
    backbone = subject.model.get_submodule(subject.family.layers.rpartition(".")[0])
    # A cache built from the configuration crops sliding layers, and full-length masks then no longer fit.
    cache = DynamicCache()
    written: list[list[int]] = [[] for _ in rows]
    for _ in range(max_new_tokens):
        with applied(subject, state):
            backbone(input_ids=state.tokens[:, state.offset :], past_key_values=cache, use_cache=True)
        drawn = _draw(subject.unembed(state.resid_post[last_layer][:, -1]), temperature, generator)  # [B]
        for row, token in enumerate(drawn.tolist()):
            if not (written[row] and written[row][-1] in stop):
                written[row].append(token)
        if all(row[-1] in stop for row in written):
            break
        state.offset = state.tokens.shape[1]
        state.tokens = torch.cat([state.tokens, drawn[:, None].to(state.tokens)], dim=1)
    return written


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One token per row of ``logits`` [B, V]."""
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits.float() / temperature).softmax(-1).cpu(), 1, generator=generator)[:, 0]
