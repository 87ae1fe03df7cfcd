"""What attention heads carry of an edit's effect: their outputs z at the reading position, exchanged between two runs.

An edit further back changes the next word by way of what heads move to the last position. Putting a head's clean z back
there, under the edit, shows what is lost without it (a natural indirect effect); putting its edited z into the clean
run shows what it does alone. z is pattern times values, so it can also be made of the clean pattern and the edited
values (only *where the head looks* is undone), or of the edited pattern and the clean values (only *what it moves*).
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from transformers import DynamicCache

from prolepsis.edits import ReplaceHeadOutput, Row
from prolepsis.engine import CleanRun
from prolepsis.names import Head
from prolepsis.reach import reach_each
from prolepsis.reachability.selection import Z, supports
from prolepsis.running.batching import in_batches, row_bytes
from prolepsis.running.hooks import Pass, Read, applied, copies
from prolepsis.running.plan import plan_rows
from prolepsis.running.prefix import resumed
from prolepsis.running.prompt_batch import by_length
from prolepsis.running.readings import Readings
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor
Outputs = Mapping[Head, Tensor]
"""Head → z at the reading position [d_head]."""
STILL = 1e-4
"""Attention that changes by less does not change, in a dtype whose rounding is finer."""


def still(subject: Subject) -> float:
    """Attention of the subject that changes by less does not change: rounding of scores and weights moves it as far.

    In bfloat16 that is 0.008; changes in bundled subjects are up to 0.005 off those in float32.
    """
    return max(STILL, torch.finfo(subject.dtype).eps)


def reached_heads(clean: CleanRun, edit: Row) -> tuple[Head, ...]:
    """The heads whose output at the last position the wiring lets ``edit`` change, layer by layer."""
    subject, last = clean.subject, len(clean.tokens) - 1
    seen = [subject.wiring.visible(layer, clean.tokens, 0).tobytes() for layer in range(subject.n_layers)]
    known, key = subject.once(_Reached).layers, (supports(edit), *seen)
    if key not in known:
        # Heads of one layer see the same, so that one of them answers for all.
        outputs = [Z(Head(layer, 0), last) for layer in range(subject.n_layers)]
        found = reach_each(subject.wiring, supports(edit), outputs, tokens=clean.tokens)
        known[key] = [layer for layer, reached in enumerate(found) if reached.answer]
    return tuple(Head(layer, index) for layer in known[key] for index in range(subject.n_heads))


class _Reached:
    """Which layers' heads edits reach: (edited places, who sees whom by layer) → layers."""

    def __init__(self, _: Subject) -> None:
        self.layers: dict[tuple[object, ...], list[int]] = {}


@dataclass(frozen=True, eq=False, repr=False)
class Mediation:
    """A run that ``edit`` changes at other positions than the last, and the ``heads`` that may pass the change on.

    ``token`` is the word whose log-odds at the last position are followed.
    """

    clean: CleanRun
    edit: Row
    token: int
    heads: tuple[Head, ...]

    @property
    def last(self) -> int:
        """The reading position."""
        return len(self.clean.tokens) - 1

    @cached_property
    def clean_z(self) -> Outputs:
        """The outputs of the clean run."""
        return {head: self._reads.z[head][0] for head in self.heads}

    @cached_property
    def edited_z(self) -> Outputs:
        """The outputs of the edited run."""
        return {head: self._reads.z[head][1] for head in self.heads}

    @cached_property
    def clean_pattern(self) -> Outputs:
        """Outputs of clean patterns and edited values: where the heads look is undone, what they find there is not."""
        return self._attended(0, 1)

    @cached_property
    def clean_values(self) -> Outputs:
        """Outputs of edited patterns and clean values: what the heads find is undone, where they look is not."""
        return self._attended(1, 0)

    def _attended(self, looking: int, found: int) -> Outputs:
        """Outputs where heads look as in one run and find what the other has: 0 is the clean one, 1 the edited one."""
        if not self.heads:
            return {}
        patterns = torch.stack([self.pattern(looking, head) for head in self.heads])  # [heads, T]
        values = torch.stack([self._reads.values[head][found] for head in self.heads])  # [heads, T, d_head]
        return dict(zip(self.heads, (patterns[:, None] @ values)[:, 0], strict=True))

    def pattern(self, edited: int, head: Head) -> Tensor:
        """Attention of ``head`` from the last position [T], in the clean run (0) or the edited one (1)."""
        return self._reads.patterns[head, self.last][edited]

    def attention_change(self, position: int) -> dict[Head, float]:
        """Head → attention from the last position to ``position``, edited minus clean."""
        if not self.heads:
            return {}
        seen = torch.stack([self._reads.patterns[head, self.last][:, position] for head in self.heads])  # [heads, 2]
        return dict(zip(self.heads, (seen[:, 1] - seen[:, 0]).tolist(), strict=True))

    @cached_property
    def _reads(self) -> Readings:
        """What is read inside the heads, z at the last position: row 0 of the clean run, row 1 of the edited one."""
        patterns = tuple((head, self.last) for head in self.heads)
        read = self.clean.edit([[], self.edit], Read((), patterns=patterns, values=self.heads, z=self.heads))
        return replace(read, z=copies(read.z, [z[:, self.last] for z in read.z.values()]))


def log_odds(asked: Sequence[tuple[Mediation, Sequence[Outputs]]], *, edited: bool) -> list[list[float]]:
    """Per mediation: log-odds of its token in nats without further ado, and with each of the outputs put in.

    Outputs are put into the edited runs, or into the clean ones. They change nothing before the last position and below
    their layers, so these are run once per mediation, prompts of equal length side by side.
    """
    found: list[list[float]] = [[] for _ in asked]
    for indices in _alike([one for one, _ in asked]):
        for index, odds in zip(indices, _side_by_side([asked[i] for i in indices], edited=edited), strict=True):
            found[index] = odds
    return found


def moved_by_own_outputs(mediations: Sequence[Mediation]) -> list[float]:
    """Per mediation: by how many nats its clean run moves with the outputs of its heads put back into it.

    They are read in a pass of the very shape they are put back in, so that nothing is to move, in any dtype: a product
    of another shape rounds otherwise.
    """
    found = [0.0] * len(mediations)
    for indices in _alike(mediations):
        moved = _Prompts([mediations[i] for i in indices], edited=False).moved_by_own_outputs()
        for index, nats in zip(indices, moved, strict=True):
            found[index] = nats
    return found


def _alike(mediations: Sequence[Mediation]) -> Iterable[list[int]]:
    """Which of them are run side by side: those whose prompts have equal length."""
    return watched(by_length(range(len(mediations)), lambda index: mediations[index].last), "lengths of prompts")


class _Prompts:
    """Mediations on prompts of one length, with all but the last token run, and the last token run without ado.

    ``plain`` are the log-odds that gives.
    """

    @torch.no_grad()
    def __init__(self, mediations: Sequence[Mediation], *, edited: bool) -> None:
        self.mediations, self.clean, self.last = mediations, mediations[0].clean, mediations[0].last
        self.subject = self.clean.subject
        self.tokens = torch.tensor([one.clean.tokens for one in mediations], device=self.subject.device)  # [P, T]
        self.cache = DynamicCache()
        edits = [one.edit if edited else [] for one in mediations]
        self._run(Pass(plan_rows(self.subject, edits, self.last + 1), self.tokens[:, : self.last]), self.cache)
        whole = self._unedited(Read((), tuple(range(self.subject.n_layers))))
        self.resid = whole.resid_post
        """resid_post of the last token by layer, [P, 1, d]."""
        self.plain = self._odds(range(len(mediations)), whole)

    @torch.no_grad()
    def odds(self, owners: Sequence[int], rows: Sequence[Row], start: int) -> list[float]:
        """Log-odds with edits of the last token in layers from ``start`` on, each of the mediation owning it."""
        return self._odds(owners, self._last_token(owners, rows, start, Read((), (self.subject.n_layers - 1,))))

    @torch.no_grad()
    def moved_by_own_outputs(self) -> list[float]:
        """By how many nats each moves with the outputs of all its heads put back as they are."""
        every, top = range(len(self.mediations)), self.subject.n_layers - 1
        heads = tuple(dict.fromkeys(head for one in self.mediations for head in one.heads))
        whole = self._unedited(Read((), (top,), z=heads))
        rows = [
            [ReplaceHeadOutput(head, self.last, whole.z[head][row, 0]) for head in one.heads]
            for row, one in enumerate(self.mediations)
        ]
        put_back = self.odds(every, rows, min((head.layer for head in heads), default=top))
        return [odds - before for odds, before in zip(put_back, self._odds(every, whole), strict=True)]

    def _unedited(self, read: Read) -> Pass:
        """The last token of every mediation without ado."""
        every = range(len(self.mediations))
        return self._last_token(every, [[] for _ in every], 0, read)

    def _last_token(self, owners: Sequence[int], rows: Sequence[Row], start: int, read: Read) -> Pass:
        own = torch.tensor(owners, device=self.subject.device)  # [B]
        plan = plan_rows(self.subject, rows, self.last + 1)
        state = Pass(plan, self.tokens[own], read=read, offset=self.last)
        cache = copy.copy(self.cache)
        layers: list[Any] = [copy.copy(layer) for layer in cache.layers]
        for layer in layers[start:]:
            layer.batch_select_indices(own)
        cache.layers = layers
        with resumed(self.clean, start, self.resid[start - 1][own] if start else None):
            self._run(state, cache)
        return state

    def _run(self, state: Pass, cache: DynamicCache) -> None:
        with applied(self.subject, state):
            self.subject.backbone(input_ids=state.tokens[:, state.offset :], past_key_values=cache, use_cache=True)

    def _odds(self, owners: Sequence[int], state: Pass) -> list[float]:
        logits = self.subject.unembed(state.resid_post[self.subject.n_layers - 1])  # [B, 1, V]
        found: list[float] = Readings(logits).log_odds([self.mediations[index].token for index in owners]).tolist()
        return found


def _side_by_side(asked: Sequence[tuple[Mediation, Sequence[Outputs]]], *, edited: bool) -> list[list[float]]:
    prompts = _Prompts([one for one, _ in asked], edited=edited)
    subject, last = prompts.subject, prompts.last
    rows = [(index, outputs) for index, (_, sets) in enumerate(asked) for outputs in sets]
    starts = [min((head.layer for head in outputs), default=subject.n_layers - 1) for _, outputs in rows]
    # Rows that begin in about the same layer are run together, from that layer on.
    order = sorted(range(len(rows)), key=starts.__getitem__)

    def run(some: range) -> list[float]:
        chosen = [rows[order[at]] for at in some]
        edits = [[ReplaceHeadOutput(head, last, z) for head, z in outputs.items()] for _, outputs in chosen]
        return prompts.odds([index for index, _ in chosen], edits, starts[order[some.start]])

    parts = in_batches(subject, len(rows), row_bytes(subject, last + 1, cached=True), run)
    odds = dict(zip(order, (one for part in parts for one in part), strict=True))
    found = [[one] for one in prompts.plain]
    for row, (index, _) in enumerate(rows):
        found[index].append(odds[row])
    return found
