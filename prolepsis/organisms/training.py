"""Training a small causal language model on the rhyming corpus by a recipe, the same bits for the same seed."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from prolepsis.masks import CoupletBarrier
from prolepsis.organisms.grammar import BARRIER, PAD, TOKEN_ID, corpus
from prolepsis.organisms.recipes import Recipe
from prolepsis.organisms.untrained import untrained_model

MAX_DOCUMENTS = 150_000
WARM_UP = 100

Tick = Callable[[], None]


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


def train_model(recipe: Recipe, seed: int, tick: Tick = lambda: None) -> Any:
    """Train by the recipe's fixed number of steps (AdamW, warm-up, cosine decay); ``tick`` is called after each.

    Wall-clock time plays no part: the same seed and thread count give the same weights on the same machine. The
    returned weights are rounded to float16.
    """
    model = untrained_model(recipe.config(), seed)
    documents = torch.from_numpy(corpus(min(MAX_DOCUMENTS, recipe.steps * recipe.batch), seed))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(recipe.steps):
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
        logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits  # [B, T, V]
        loss = functional.cross_entropy(
            logits[:, :-1].flatten(0, 1),
            tokens[:, 1:].flatten(),
            ignore_index=TOKEN_ID[PAD],
            label_smoothing=recipe.label_smoothing,
        )
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        tick()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    return model.eval().requires_grad_(False)
