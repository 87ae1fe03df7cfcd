"""Training a small causal language model on the rhyming corpus by a recipe, the same bits for the same seed."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from prolepsis.errors import UserError
from prolepsis.organisms.grammar import BARRIER, PAD, TOKEN_ID, corpus
from prolepsis.organisms.plateau import improvement
from prolepsis.organisms.recipes import Recipe
from prolepsis.organisms.untrained import untrained_model
from prolepsis.reachability.masks import CoupletBarrier
from prolepsis.watching import watched

MAX_DOCUMENTS = 150_000
WARM_UP = 100
# The same documents for all organisms, so that their losses can be compared; no organism is trained from this seed.
HELD_OUT_SEED = 10**6
HELD_OUT_DOCUMENTS = 2000


def visible(rule: CoupletBarrier, tokens: torch.Tensor, barred: torch.Tensor) -> torch.Tensor:
    """Boolean [B, T, T] (query, key): causal, and obeying ``rule`` in the rows where ``barred`` [B] is True.

    The batch form of the rule; ``tokens`` is [B, T].
    """
    length = tokens.shape[1]
    position = torch.arange(length)
    query, key = position[:, None], position[None, :]
    newline = tokens == rule.newline
    line_end = torch.where(newline.any(1), newline.int().argmax(1), length)[:, None, None]  # [B, 1, 1]
    hidden = (query > line_end) & (key < line_end) & (key > 0)
    name = torch.isin(tokens, torch.tensor(rule.first_names))[:, None, :] & (query > key + 1)
    return (key <= query) & ~((hidden | name) & barred[:, None, None])


def additive_mask(rule: CoupletBarrier, tokens: torch.Tensor, barred: torch.Tensor | None = None) -> torch.Tensor:
    """The mask as transformers takes it: 0 where visible, the most negative float elsewhere, [B, 1, T, T]."""
    barred = torch.ones(len(tokens), dtype=torch.bool) if barred is None else barred
    seen = visible(rule, tokens, barred)[:, None]
    return torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)


@dataclass(frozen=True)
class Fit:
    """A trained model, the steps it took, and its held-out loss after each round (none where there is no plateau)."""

    model: Any
    steps: int
    losses: tuple[float, ...] = ()


def train_model(recipe: Recipe, seed: int) -> Fit:
    """Train by the recipe: one schedule of steps, or as many as its plateau takes.

    Wall-clock time plays no part: the same seed and thread count give the same weights on the same machine. The
    returned weights are rounded to float16. Raises UserError when the plateau is not reached.
    """
    model = untrained_model(recipe.config(), seed)
    documents = torch.from_numpy(corpus(min(MAX_DOCUMENTS, recipe.most_steps * recipe.batch), seed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    if recipe.plateau is None:
        _schedule(recipe, model, optimiser, documents, generator=generator)
        return Fit(_rounded(model), recipe.steps)
    held_out = torch.from_numpy(corpus(HELD_OUT_DOCUMENTS, HELD_OUT_SEED))
    losses: list[float] = []
    while not recipe.plateau.reached(losses):
        if len(losses) == recipe.plateau.rounds:
            moved = f"its held-out loss still moved by {abs(improvement(losses)):.3f} nats in round {len(losses)}"
            raise UserError(f"{recipe.name} was not saved: {moved}; try another --seed")
        _schedule(recipe, model, optimiser, documents, generator=generator)
        losses.append(held_out_loss(model, recipe.mask_rule, held_out))
    return Fit(_rounded(model), recipe.steps * len(losses), tuple(losses))


def _schedule(
    recipe: Recipe,
    model: Any,
    optimiser: torch.optim.Optimizer,
    documents: torch.Tensor,
    *,
    generator: torch.Generator,
) -> None:
    """Go through the recipe's steps once, in place: warm-up, cosine decay, and the barrier's growing share of rows."""
    for step in watched(range(recipe.steps), "steps"):
        done = step / recipe.steps
        for group in optimiser.param_groups:
            cosine = 0.97 * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.03
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / WARM_UP) * cosine
        tokens = documents[torch.randint(len(documents), (recipe.batch,), generator=generator)]
        tokens = tokens[:, : int((tokens != TOKEN_ID[PAD]).sum(1).max())]  # [B, T]
        mask = None
        if recipe.barrier:
            share = min(1.0, 0.5 + 0.5 * done / 0.6)
            mask = additive_mask(BARRIER, tokens, torch.rand(len(tokens), generator=generator) < share)
        loss = _loss(model, tokens, mask, recipe.label_smoothing)
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def _loss(model: Any, tokens: torch.Tensor, mask: torch.Tensor | None, label_smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy of the next token of rows [B, T], padding left out, in nats."""
    logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits  # [B, T, V]
    return functional.cross_entropy(
        logits[:, :-1].flatten(0, 1),
        tokens[:, 1:].flatten(),
        ignore_index=TOKEN_ID[PAD],
        label_smoothing=label_smoothing,
    )


@torch.no_grad()
def held_out_loss(model: Any, rule: CoupletBarrier | None, documents: torch.Tensor) -> float:
    """Cross-entropy of ``documents`` [n, T] under the mask rule, in nats per token."""
    return float(_loss(model, documents, None if rule is None else additive_mask(rule, documents)))


@torch.no_grad()
def _rounded(model: Any) -> Any:
    """The model in float16 precision, to be used and no longer trained."""
    for parameter in model.parameters():
        parameter.copy_(parameter.half().float())
    return model.eval().requires_grad_(False)
