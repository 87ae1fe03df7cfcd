"""Generation under edits with a KV cache: greedily with :func:`generate`, drawn at random with :func:`sample`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from prolepsis.edits import Add, FreezePattern, ReplaceHeadOutput, ReplaceRow, ReplaceStream, Row
from prolepsis.engine import clean_run
from prolepsis.errors import Untested, UserError
from prolepsis.running.batching import in_batches, row_bytes
from prolepsis.running.hooks import Pass, Read, applied
from prolepsis.running.plan import Plan, plan_rows
from prolepsis.subject import OWN_TASK, Subject
from prolepsis.watching import watched

Tensor = torch.Tensor

DRAWN_AT_ONCE = 64
"""Rows whose next token is drawn at a time, since their distributions are in float64."""


@torch.no_grad()
def generate(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    stop: Collection[int] = (),
) -> list[list[int]]:
    """Continue each prompt greedily under its row of edits; returns the new tokens of each, a stop token included.

    ``prompts`` has one prompt per row, all of one length. Edits act at their position once, when that position is first
    run; what they write stays in the cache. Patterns are frozen and streams replaced for the prompt's positions only,
    and only where all prompts are the same: generated tokens have no clean run. Raises UserError when prompts differ in
    length or the model does not take that many.
    """
    length, total = _lengths(subject, prompts, rows, max_new_tokens)
    if any(isinstance(edit, ReplaceStream) and edit.position >= length for edits in rows for edit in edits):
        raise UserError(f"{subject.id}: a stream can be replaced at the prompt's positions only, 0 to {length - 1}")

    def run(some: range) -> list[list[int]]:
        part = slice(some.start, some.stop)
        return _generate(subject, prompts[part], rows[part], max_new_tokens, stop)

    parts = in_batches(subject, len(rows), row_bytes(subject, total, cached=True), run)
    return [line for part in parts for line in part]


def _generate(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    max_new_tokens: int,
    stop: Collection[int],
) -> list[list[int]]:
    """:func:`generate` on rows that are run together."""
    plan = plan_rows(subject, rows, len(prompts[0]) + max_new_tokens)
    state = Pass(plan, torch.tensor([list(prompt) for prompt in prompts], device=subject.device))
    if any(isinstance(edit, FreezePattern | ReplaceStream) for edits in rows for edit in edits):
        if any(list(prompt) != list(prompts[0]) for prompt in prompts):
            raise UserError(f"{subject.id}: frozen patterns and replaced streams need one prompt for all rows")
        state.clean = clean_run(subject, prompts[0]).held_by(plan)
    state.read = Read(logits=(), resid_post=(subject.n_layers - 1,))
    # A cache built from the configuration crops sliding layers, and full-length masks then no longer fit.
    cache = DynamicCache()
    written: list[list[int]] = [[] for _ in rows]
    for _ in watched(range(max_new_tokens), "tokens"):
        best = _next_logits(subject, state, cache).argmax(-1)  # [B]
        for row, token in enumerate(best.tolist()):
            if not (written[row] and written[row][-1] in stop):
                written[row].append(token)
        if all(row[-1] in stop for row in written):
            break
        state.offset = state.tokens.shape[1]
        state.tokens = torch.cat([state.tokens, best[:, None].to(state.tokens)], dim=1)
    return written


@dataclass(frozen=True)
class Samples:
    """What was drawn: ``lines`` by row and sample, and the ``logits`` [rows, V] of each row's first new token."""

    lines: list[list[list[int]]]
    logits: Tensor


@dataclass(frozen=True)
class _Branch:
    """The new tokens that some samples of one row have in common so far."""

    row: int
    line: tuple[int, ...]
    samples: tuple[int, ...]


@torch.no_grad()
def sample(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    *,
    n_samples: int,
    temperature: float,
    seed: int,
    max_new_tokens: int,
    stop: Collection[int] = (),
) -> Samples:
    """Continue each prompt ``n_samples`` times at ``temperature`` under its row of edits, a stop token included.

    ``prompts`` has one prompt per row, all of one length. All edits act at the prompts' last position: what comes
    before is run once for equal prompts, and samples are run together for as long as they are equal. What is drawn is
    fixed by ``seed``. Raises UserError where prompts differ in length, edits act
    elsewhere, or the model does not take that many tokens.
    """
    length, total = _lengths(subject, prompts, rows, max_new_tokens)
    _refuse_elsewhere(subject, rows, length - 1)
    generator = torch.Generator().manual_seed(seed)
    chances = torch.rand(len(rows), n_samples, max_new_tokens, generator=generator, dtype=torch.float64)

    def run(some: range) -> Samples:
        part = slice(some.start, some.stop)
        return _sample(subject, prompts[part], rows[part], chances[part], temperature=temperature, stop=stop)

    each = max(1, n_samples) * row_bytes(subject, total, cached=True)
    parts = in_batches(subject, len(rows), each, run)
    return Samples([line for part in parts for line in part.lines], torch.cat([part.logits for part in parts]))


def _sample(
    subject: Subject,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    chances: Tensor,
    *,
    temperature: float,
    stop: Collection[int],
) -> Samples:
    """:func:`sample` on rows that are run together; ``chances`` [rows, samples, new tokens] are in [0, 1)."""
    (n_samples, max_new_tokens), length = chances.shape[1:], len(prompts[0])
    total = length + max_new_tokens
    tokens, cache = _before_last(subject, prompts)
    last_row = Read(logits=(), resid_post=(subject.n_layers - 1,))
    state = Pass(plan_rows(subject, rows, total), tokens, read=last_row, offset=length - 1)
    first = _next_logits(subject, state, cache)
    lines: list[list[list[int]]] = [[[] for _ in range(n_samples)] for _ in rows]
    branches = [_Branch(row, (), tuple(range(n_samples))) for row in range(len(rows))]
    for step in range(max_new_tokens if n_samples else 0):
        logits = _next_logits(subject, state, cache) if step else first
        drawn = _drawn(logits, temperature, chances[[branch.row for branch in branches], :, step])
        grown = [(at, new) for at, branch in enumerate(branches) for new in _grow(branch, drawn[at])]
        for _, branch in grown:
            for index in branch.samples:
                lines[branch.row][index] = list(branch.line)
        going = [(at, branch) for at, branch in grown if branch.line[-1] not in stop]
        if not going or step == max_new_tokens - 1:
            break
        branches, parents = [branch for _, branch in going], torch.tensor([at for at, _ in going])
        cache.batch_select_indices(parents.to(subject.device))
        added = torch.tensor([[branch.line[-1]] for branch in branches], device=subject.device)
        state = Pass(
            Plan(len(branches), {}),
            torch.cat([state.tokens[parents], added], dim=1),
            read=last_row,
            offset=length + step,
        )
    return Samples(lines, first)


def _lengths(
    subject: Subject, prompts: Sequence[Sequence[int]], rows: Sequence[Row], max_new_tokens: int
) -> tuple[int, int]:
    """The length all prompts have, and that with the new tokens; raises Untested where the model takes fewer."""
    length = len(prompts[0])
    if len(prompts) != len(rows) or any(len(prompt) != length for prompt in prompts):
        raise UserError(f"{subject.id}: generation takes one prompt per row of edits, all of one length")
    total, limit = length + max_new_tokens, int(subject.config.max_position_embeddings)
    if total > limit:
        raise Untested(
            f"{subject.id}: {total} tokens, {max_new_tokens} of them new, are more than the model takes ({limit}); "
            f"shorten the prompt, or {OWN_TASK}"
        )
    return length, total


def _refuse_elsewhere(subject: Subject, rows: Sequence[Row], last: int) -> None:
    for edit in (edit for edits in rows for edit in edits):
        if not isinstance(edit, Add | ReplaceRow | ReplaceHeadOutput) or edit.position != last:
            raise UserError(f"{subject.id}: samples take edits of the prompts' last position alone, which is {last}")


def _before_last(subject: Subject, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, DynamicCache]:
    """The prompts [B, T], and a cache of all but their last tokens; equal prompts are run once."""
    cache, distinct = DynamicCache(), list(dict.fromkeys(map(tuple, prompts)))
    each = torch.tensor(distinct, device=subject.device)
    owners = torch.tensor([distinct.index(tuple(prompt)) for prompt in prompts], device=subject.device)
    if each.shape[1] > 1:
        with applied(subject, Pass(Plan(len(each), {}), each[:, :-1])):
            subject.backbone(input_ids=each[:, :-1], past_key_values=cache, use_cache=True)
        cache.batch_select_indices(owners)
    return each[owners], cache


def _next_logits(subject: Subject, state: Pass, cache: DynamicCache) -> Tensor:
    """Run the tokens that are not in the cache yet; the logits [B, V] after the last one."""
    with applied(subject, state):
        subject.backbone(input_ids=state.tokens[:, state.offset :], past_key_values=cache, use_cache=True)
    return subject.unembed(state.resid_post[subject.n_layers - 1][:, -1])


def _drawn(logits: Tensor, temperature: float, chances: Tensor) -> list[list[int]]:
    """For logits [B, V] the tokens at which the cumulative distribution passes ``chances`` [B, n]."""
    found = torch.cat(
        [
            torch.searchsorted((some.double() / temperature).softmax(-1).cumsum(-1), own.to(some.device), right=True)
            for some, own in zip(torch.split(logits, DRAWN_AT_ONCE), torch.split(chances, DRAWN_AT_ONCE), strict=True)
        ]
    )
    # Rounding may leave the last sum below 1.
    tokens: list[list[int]] = found.clamp(max=logits.shape[-1] - 1).tolist()
    return tokens


def _grow(branch: _Branch, drawn: Sequence[int]) -> list[_Branch]:
    """The branches that ``drawn``, one token per sample of the row, makes of one."""
    by_token: dict[int, list[int]] = {}
    for index in branch.samples:
        by_token.setdefault(drawn[index], []).append(index)
    return [_Branch(branch.row, (*branch.line, token), tuple(own)) for token, own in by_token.items()]
