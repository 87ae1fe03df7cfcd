"""Greedy and sampled generation under edits, with a KV cache."""

from collections.abc import Collection, Sequence

import torch
from transformers import DynamicCache

from prolepsis.edits import FreezePattern, ReplaceStream, Row
from prolepsis.engine import clean_run
from prolepsis.errors import UserError
from prolepsis.hooks import Pass, Read, applied, rows_of
from prolepsis.plan import plan_rows
from prolepsis.subject import Subject

Tensor = torch.Tensor


@torch.no_grad()
def generate(
    subject: Subject,
    tokens: Sequence[int],
    rows: Sequence[Row] = ((),),
    *,
    max_new_tokens: int,
    stop: Collection[int] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Continue ``tokens`` once per row of edits; returns the new tokens of each row, a stop token included.

    Edits act at their position once, when that position is first run; what they write stays in the cache. Patterns are
    frozen and streams replaced for the prompt's positions only: generated tokens have no clean run. ``temperature`` 0
    is greedy; otherwise tokens are drawn with ``seed``. Raises UserError when the model does not take that many tokens.
    """
    total = len(tokens) + max_new_tokens
    if total > int(subject.config.max_position_embeddings):
        raise UserError(
            f"{subject.id}: {total} tokens are more than the model takes "
            f"({subject.config.max_position_embeddings}); ask for fewer new tokens"
        )
    plan = plan_rows(subject, rows, total)
    needs_clean = any(isinstance(edit, FreezePattern | ReplaceStream) for edits in rows for edit in edits)
    clean = clean_run(subject, tokens) if needs_clean else None
    last_layer = subject.n_layers - 1
    state = Pass(
        plan,
        rows_of(tokens, len(rows), subject.device),
        None if clean is None else clean.held_by(plan),
        Read(logits=(), resid_post=(last_layer,)),
    )
    generator = torch.Generator().manual_seed(seed)
    backbone = subject.model.get_submodule(subject.family.layers.rpartition(".")[0])
    # A cache built from the configuration crops sliding layers, and full-length masks then no longer fit.
    cache = DynamicCache()
    written: list[list[int]] = [[] for _ in rows]
    for _ in range(max_new_tokens):
        with applied(subject, state):
            backbone(input_ids=state.tokens[:, state.offset :], past_key_values=cache, use_cache=True)
        logits = subject.unembed(state.resid_post[last_layer][:, -1:])[:, 0]  # [B, V]
        drawn = _draw(logits, temperature, generator)
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
