"""Kullback–Leibler divergences in nats, each by the definition its claims need."""

from collections.abc import Sequence

import torch

Tensor = torch.Tensor


def divergence(first: Tensor, second: Tensor) -> float:
    """KL(first ‖ second) between the distributions that logits [V] give, in float64."""
    p, q = first.double().log_softmax(-1), second.double().log_softmax(-1)
    return max(0.0, float((p.exp() * (p - q)).sum()))


def cut_kl(clean: Tensor, edited: Tensor) -> Tensor:
    """KL(clean ‖ edited) [B] for logits [V] and [B, V], over tokens of probability above 1e-10 in both.

    The cut is the paper's own.
    """
    p, q = clean.float().softmax(-1), edited.float().softmax(-1)
    kept = (p > 1e-10) & (q > 1e-10)
    return torch.where(kept, p * (p.clamp(min=1e-10) / q.clamp(min=1e-10)).log(), 0.0).sum(-1)


def lumped_kl(clean: Tensor, edited: Tensor, on_target: Sequence[int]) -> Tensor:
    """KL(clean ‖ edited) [B] of distributions [V] and [B, V], where all of ``on_target`` is one outcome."""
    others = torch.ones(len(clean), dtype=torch.bool, device=clean.device)
    others[list(on_target)] = False

    def lumped(p: Tensor) -> Tensor:
        return torch.cat([p[..., others], p[..., ~others].sum(-1, keepdim=True)], dim=-1).clamp(min=1e-30)

    p, q = lumped(clean), lumped(edited)  # [V'], [B, V']
    return (p * (p / q).log()).sum(-1)


def off_target_kl(clean: Tensor, edited: Tensor, on_target: Sequence[int]) -> float:
    """KL(clean ‖ edited) between distributions [V] over the tokens outside ``on_target``, renormalised."""
    kept = torch.ones(len(clean), dtype=torch.bool)
    kept[list(on_target)] = False
    p, q = clean[kept].clamp(min=1e-30), edited[kept].clamp(min=1e-30)
    p, q = p / p.sum(), q / q.sum()
    return float((p * (p / q).log()).sum())
