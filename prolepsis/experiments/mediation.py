"""What attention heads carry of an edit's effect: their outputs z at the reading position, exchanged between two runs.

An edit further back changes the next word by way of what heads move to the last position. Putting a head's clean z back
there, under the edit, shows what is lost without it (a natural indirect effect); putting its edited z into the clean
run shows what it does alone. z is pattern times values, so it can also be made of the clean pattern and the edited
values (only *where the head looks* is undone), or of the edited pattern and the clean values (only *what it moves*).
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import DynamicCache

from prolepsis.batching import in_batches, row_bytes
from prolepsis.controls import once
from prolepsis.edits import ReplaceHeadOutput, Row
from prolepsis.engine import CleanRun, Readings
from prolepsis.hooks import Pass, Read, applied
from prolepsis.names import Head
from prolepsis.plan import plan_rows
from prolepsis.reach import reach
from prolepsis.selection import Z, supports
from prolepsis.subject import Subject
from prolepsis.watching import watched

Tensor = torch.Tensor
Outputs = Mapping[Head, Tensor]
"""Head → z at the reading position [d_head]."""


def reached_heads(clean: CleanRun, edit: Row) -> tuple[Head, ...]:
    """The heads whose output at the last position the wiring lets ``edit`` change, layer by layer."""
    subject, last = clean.subject, len(clean.tokens) - 1
    seen = [subject.wiring.visible(layer, clean.tokens, 0).tobytes() for layer in range(subject.n_layers)]
    known, key = once(subject, _Reached).layers, (supports(edit), *seen)
    if key not in known:
        # Heads of one layer see the same, so that one of them answers for all.
        known[key] = [
            layer
            for layer in range(subject.n_layers)
            if reach(subject.wiring, supports(edit), Z(Head(layer, 0), last), tokens=clean.tokens).answer
        ]
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
        return {head: self._reads.z[head][0, self.last] for head in self.heads}

    @cached_property
    def edited_z(self) -> Outputs:
        """The outputs of the edited run."""
        return {head: self._reads.z[head][1, self.last] for head in self.heads}

    @cached_property
    def clean_pattern(self) -> Outputs:
        """Outputs of clean patterns and edited values: where the heads look is undone, what they find there is not."""
        return {head: self.pattern(0, head) @ self._reads.values[head][1] for head in self.heads}

    @cached_property
    def clean_values(self) -> Outputs:
        """Outputs of edited patterns and clean values: what the heads find is undone, where they look is not."""
        return {head: self.pattern(1, head) @ self._reads.values[head][0] for head in self.heads}

    def pattern(self, edited: int, head: Head) -> Tensor:
        """Attention of ``head`` from the last position [T], in the clean run (0) or the edited one (1)."""
        return self._reads.patterns[head, self.last][edited]

    def attention_change(self, position: int) -> dict[Head, float]:
        """Head → attention from the last position to ``position``, edited minus clean."""
        return {head: float((self.pattern(1, head) - self.pattern(0, head))[position]) for head in self.heads}

    @cached_property
    def _reads(self) -> Readings:
        """What is read inside the heads: row 0 of the clean run, row 1 of the edited one."""
        patterns = tuple((head, self.last) for head in self.heads)
        return self.clean.edit([[], self.edit], Read((), patterns=patterns, values=self.heads, z=self.heads))


def log_odds(asked: Sequence[tuple[Mediation, Sequence[Outputs]]], *, edited: bool) -> list[list[float]]:
    """Per mediation: log-odds of its token in nats without further ado, and with each of the outputs put in.

    Outputs are put into the edited runs, or into the clean ones. They change nothing before the last position, so all
    but the last token is run once per mediation and kept in a KV cache, prompts of equal length side by side.
    """
    by_length: dict[int, list[int]] = {}
    for index, (one, _) in enumerate(asked):
        by_length.setdefault(one.last, []).append(index)
    found: list[list[float]] = [[] for _ in asked]
    for indices in watched(list(by_length.values()), "lengths of prompts"):
        for index, odds in zip(indices, _side_by_side([asked[i] for i in indices], edited=edited), strict=True):
            found[index] = odds
    return found


@torch.no_grad()
def _side_by_side(asked: Sequence[tuple[Mediation, Sequence[Outputs]]], *, edited: bool) -> list[list[float]]:
    mediations = [one for one, _ in asked]
    subject, last = mediations[0].clean.subject, mediations[0].last
    backbone = subject.model.get_submodule(subject.family.layers.rpartition(".")[0])
    tokens = torch.tensor([one.clean.tokens for one in mediations], device=subject.device)  # [P, T]
    cache, before = DynamicCache(), [one.edit if edited else [] for one in mediations]
    with applied(subject, Pass(plan_rows(subject, before, last + 1), tokens[:, :last])):
        backbone(input_ids=tokens[:, :last], past_key_values=cache, use_cache=True)
    rows = [
        (index, [ReplaceHeadOutput(head, last, z) for head, z in outputs.items()])
        for index, (_, sets) in enumerate(asked)
        for outputs in ({}, *sets)
    ]
    owners = torch.tensor([index for index, _ in rows], device=subject.device)  # [B]
    top = subject.n_layers - 1

    def run(some: range) -> list[float]:
        part = slice(some.start, some.stop)
        own, kept = owners[part], copy.deepcopy(cache)
        kept.batch_select_indices(own)
        plan = plan_rows(subject, [edits for _, edits in rows[part]], last + 1)
        state = Pass(plan, tokens[own], read=Read((), resid_post=(top,)), offset=last)
        with applied(subject, state):
            backbone(input_ids=tokens[own, last:], past_key_values=kept, use_cache=True)
        logits = subject.unembed(state.resid_post[top])  # [B, 1, V]
        odds = logits.new_zeros(len(own), dtype=torch.float64)
        for index in sorted(set(own.tolist())):
            odds[own == index] = Readings(logits=logits[own == index]).log_odds(mediations[index].token)
        return [float(one) for one in odds]

    parts = in_batches(subject, len(rows), row_bytes(subject, last + 1, cached=True), run)
    found: list[list[float]] = [[] for _ in asked]
    for (index, _), odds in zip(rows, (one for part in parts for one in part), strict=True):
        found[index].append(odds)
    return found
