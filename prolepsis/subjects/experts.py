"""Mixtures of experts evaluated row by row alike, so that what one row is routed to moves no bit of another.

transformers multiplies each expert with the rows routed to it. How many those are depends on every row of the batch,
and a product of another shape rounds in another way. Here every expert sees all rows, and a row takes what its router
gives it: more products, but each of a shape that follows from the batch alone.
"""

from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

from prolepsis.errors import UserError

Tensor = torch.Tensor


def evaluate_densely(mixture: Any) -> None:
    """Let a GPT-OSS ``mixture`` of experts compute what it computes already, but with every expert on every row.

    Raises UserError for weights that are stored packed.
    """
    if not torch.is_floating_point(getattr(mixture.experts, "gate_up_proj", torch.empty(0, dtype=torch.uint8))):
        raise UserError("the weights of its experts are packed (MXFP4); load them unpacked, in a floating-point type")
    mixture.forward = partial(_forward, mixture)


def _forward(mixture: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
    """What the mixture adds [B, T, d], and the weight of every expert for every row [B·T, E]."""
    rows = hidden_states.reshape(-1, hidden_states.shape[-1])
    weights = _weights(mixture.router, rows)
    out = torch.zeros_like(rows)
    for expert in range(weights.shape[1]):
        out = out + weights[:, expert, None] * _expert(mixture.experts, expert, rows)
    return out.view(hidden_states.shape), weights


def _weights(router: Any, rows: Tensor) -> Tensor:
    """The softmax over the experts a row is routed to, 0 for the others, [N, E]."""
    logits = linear(rows, router.weight, router.bias)
    best, chosen = torch.topk(logits, router.top_k, dim=-1)
    return torch.zeros_like(logits).scatter(-1, chosen, best.softmax(-1))


def _expert(experts: Any, expert: int, rows: Tensor) -> Tensor:
    """One expert's output [N, d]: gates and values lie in turn in its first product, both clamped."""
    first = rows @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert]
    gate = first[:, ::2].clamp(max=experts.limit)
    value = first[:, 1::2].clamp(-experts.limit, experts.limit)
    gated = (value + 1) * gate * torch.sigmoid(experts.alpha * gate)
    out: Tensor = gated @ experts.down_proj[expert] + experts.down_proj_bias[expert]
    return out
